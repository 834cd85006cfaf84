"""The table of trained models, checked, and the points that laws are fitted to."""
