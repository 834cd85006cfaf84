"""Runs on a known surface: the paper's ten budgets, 15 sizes within 1.2 decades of the optimum, relative noise."""

from __future__ import annotations

import numpy as np

from slm_eval.base.arrays import Floats
from slm_eval.scaling import PUBLISHED, MetricLaw

BUDGETS = np.array([1e18, 3e18, 6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21])
# A pJSD-like metric on the same surface.
METRIC = MetricLaw.from_sigmoid(PUBLISHED, low=0.15, high=0.60, L0=0.0075, k=900)


def grid(sizes: int = 15, span: float = 1.2) -> tuple[Floats, Floats, Floats]:
    """N, D and C, each of shape (10 * sizes,), smallest budget first."""
    best = PUBLISHED.optimal(BUDGETS).N
    N = (best[:, None] * 10 ** np.linspace(-span, span, sizes)).ravel()
    C = np.repeat(BUDGETS, sizes)
    return N, C / (6 * N), C


def noise(size: int, seed: int, sd: float = 0.01) -> Floats:
    return np.exp(sd * np.random.default_rng(seed).standard_normal(size))
