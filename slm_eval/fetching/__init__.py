"""How weights get here, whole and right; what other code calls is in ``slm_eval/weights.py``."""
