"""Errors of a fit, and of laws without N and D: an error alone does not say whether a law was found.

On runs like the paper's a constant already has a mean relative error of 7 %, and a power law in C alone 3 %.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from slm_eval.base.arrays import Floats
from slm_eval.scaling.runs.points import Points


def mean_relative_error(fitted: Floats, measured: Floats) -> float:
    """Return the mean of |fitted / measured - 1|: the paper's MRE."""
    return float(np.mean(np.abs(fitted / measured - 1)))


def constant_error(points: Points) -> float:
    """Return the mean relative error of the constant that has the least: a median weighted by 1 / value."""
    order = np.argsort(points.value)
    value = points.value[order]
    cumulative = np.cumsum(1 / value)
    best = value[np.searchsorted(cumulative, cumulative[-1] / 2)]
    return mean_relative_error(np.full_like(value, best), value)


def fit_power_of_compute(points: Points) -> Callable[[Points], Floats]:
    """Fit value = a C^b, with C = N D up to a factor, by least absolute deviations of logarithms.

    A line of least absolute deviations passes through two of the points, and iterated weighting comes close to it.
    """
    x = _log_compute(points)
    middle = x.mean()
    design, target = np.stack([np.ones_like(x), x - middle], axis=1), np.log(points.value)
    weight = np.ones_like(x)
    for _ in range(50):
        level, slope = np.linalg.lstsq(design * weight[:, None], target * weight, rcond=None)[0]
        weight = 1 / np.sqrt(np.maximum(np.abs(level + slope * design[:, 1] - target), 1e-6))
    return lambda others: np.exp(level + slope * (_log_compute(others) - middle))


def power_of_compute_error(points: Points) -> float:
    """Return the mean relative error of the power law in C alone that fits best."""
    return mean_relative_error(fit_power_of_compute(points)(points), points.value)


def _log_compute(points: Points) -> Floats:
    return np.log(points.N) + np.log(points.D)
