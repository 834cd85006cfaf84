"""Deterministic solvers of the probability-flow equation, as tables: at which steps, and with which coefficients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model_zoo.cdslm.schedule import Schedule
from slm_eval.base.arrays import Floats
from slm_eval.base.errors import UsageError

SOLVERS = ("ddim", "dpmpp_2m")


def trailing_indices(n_schedule: int, n: int) -> list[int]:
    """Return the n of T = n_schedule indices to evaluate at, falling: round(T (n - j) / n) - 1. The first is always T -
    1.

    The step after an index is the next in the list, never T // n away from it, so n need not divide T.

    Raises:
        UsageError: n is larger than T.
    """
    if n > n_schedule:
        raise UsageError(f"the schedule has {n_schedule} steps, {n} cannot be taken; ask for at most {n_schedule}")
    return [round(n_schedule * (n - j) / n) - 1 for j in range(n)]


def coefficients(schedule: Schedule, indices: Sequence[int], solver: str) -> Floats:
    """Return one row (alpha, sigma, cos, sin, second) for each step; float64 (n, 5).

    With x0' = alpha x - sigma v and the angle phi = atan2(sigma, alpha), a step by delta = phi - phi_next is

        x_next = cos(delta) x - sin(delta) v + second (x0' - x0' of the step before).

    DDIM with eta = 0 (arXiv 2010.02502) has second = 0. DPM-Solver++(2M) (arXiv 2211.01095, algorithm 2) adds the
    second-order term: second = (sin(delta) / sigma) h / (2 h_before), h the step in lambda = ln(alpha / sigma). It is 0
    where h or h_before is infinite or missing: in the first and the last step, and in the one after zero SNR.
    """
    alpha, sigma = schedule.alpha[indices], schedule.sigma[indices]
    next_alpha, next_sigma = np.append(alpha[1:], 1.0), np.append(sigma[1:], 0.0)
    sin = sigma * next_alpha - alpha * next_sigma
    second = np.zeros_like(sin)
    if solver == "dpmpp_2m":
        h = np.diff(schedule.log_snr[indices], append=np.inf) / 2
        usable = np.isfinite(h[1:]) & np.isfinite(h[:-1])
        second[1:][usable] = (sin / sigma)[1:][usable] * h[1:][usable] / (2 * h[:-1][usable])
    return np.stack([alpha, sigma, alpha * next_alpha + sigma * next_sigma, sin, second], axis=1)
