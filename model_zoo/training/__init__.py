"""What ``model_zoo/train.py`` is made of: its configuration, averages, checkpoints, logs and scores."""
