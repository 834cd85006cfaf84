"""Findings of the fits: estimates, conclusions, predictions, ablations."""
