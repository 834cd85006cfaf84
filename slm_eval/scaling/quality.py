"""How wrong a fit is, and how wrong laws without N and D are: an error alone does not say whether a law was found.

On runs like the paper's a constant already has a mean relative error of 7 %, and a power law in C alone 3 %.
"""

from __future__ import annotations

import numpy as np

from slm_eval.scaling.points import Floats, Points


def mean_relative_error(fitted: Floats, measured: Floats) -> float:
    """Mean of |fitted / measured - 1|: the paper's MRE."""
    return float(np.mean(np.abs(fitted / measured - 1)))


def constant_error(points: Points) -> float:
    """Mean relative error of the constant that has the least: a median weighted by 1 / value."""
    order = np.argsort(points.value)
    value = points.value[order]
    cumulative = np.cumsum(1 / value)
    best = value[np.searchsorted(cumulative, cumulative[-1] / 2)]
    return mean_relative_error(np.full_like(value, best), value)


def power_of_compute_error(points: Points) -> float:
    """Mean relative error of value = a C^b, fitted by least absolute deviations of logarithms; C is N D up to a factor.

    A line of least absolute deviations passes through two of the points, and iterated weighting finds it closely.
    """
    x = np.log(points.N) + np.log(points.D)
    design, target = np.stack([np.ones_like(x), x - x.mean()], axis=1), np.log(points.value)
    weight = np.ones_like(x)
    for _ in range(50):
        solution = np.linalg.lstsq(design * weight[:, None], target * weight, rcond=None)[0]
        weight = 1 / np.sqrt(np.maximum(np.abs(design @ solution - target), 1e-6))
    return mean_relative_error(np.exp(design @ solution), points.value)
