"""Bounds on how far beyond the runs a law is carried: said beyond a decade, refused beyond three.

An interval is that of the law that was fitted, and does not know whether the law goes on. The paper fits three decades
of compute, so three more are as long as all that was seen; no run of it tests them.
"""

from __future__ import annotations

FAR = 10.0  # from here on it is said that intervals know nothing of whether the law holds
FARTHEST = 1e3  # as a multiple of the largest, or a share of the smallest


def factor_outside(value: float, low: float, high: float) -> float:
    """Return by which factor a value lies outside of a range; 1 within it."""
    return max(value / high, low / value, 1.0)
