"""What the fits say: estimates, conclusions, predictions, ablations."""
