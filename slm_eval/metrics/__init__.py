"""Metric families, one file each."""
