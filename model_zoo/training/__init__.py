"""The loop (``train.py``), and what it is made of: configuration, averages, checkpoints, logs and scores."""
