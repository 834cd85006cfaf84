"""Predictors of opinion scores: observers whose observation is ``{"scores": {...}}``."""
