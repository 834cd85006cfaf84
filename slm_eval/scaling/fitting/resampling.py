"""Resamples of a bootstrap: points, whole budgets, or the seeds of each point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats
from slm_eval.base.errors import UsageError, unknown_name
from slm_eval.scaling.fitting.clustering import FEWEST_BUDGETS
from slm_eval.scaling.runs.points import Points

AUTO = "auto"
UNITS = ("point", "budget", "seed")
# Resamples that cannot be fitted are drawn again, so often at most.
ATTEMPTS = 100


@dataclass(frozen=True)
class Resamples:
    """``weights`` (K, n) and ``values`` (K, n), or (1, n) where they are the same; ``redrawn``: draws thrown away."""

    weights: Floats
    values: Floats
    redrawn: int


def resample(points: Points, unit: str, count: int, least: int, rng: np.random.Generator) -> Resamples:
    """Return ``count`` resamples of the points.

    - "point": points with replacement: what other runs of the same plan would have said.
    - "budget": whole budgets with replacement: wider, where budgets have something in common beyond the law.
    - "seed": the runs of each point with replacement: training noise alone. Seeds of one point are no points of their
      own, and k of them show (k - 1) / k of their variance.

    Args:
        least: points that a resample needs, of two budgets at least; others are drawn again.

    Raises:
        UsageError: an unknown unit; no point with two seeds; fewer than three budgets; hardly a resample can be fitted.
    """
    if unit not in UNITS:
        raise unknown_name("unit of a bootstrap", unit, UNITS)
    if unit == "seed":
        return Resamples(np.broadcast_to(points.weights, (count, points.n)), _means_of_seeds(points, count, rng), 0)
    _, budget = np.unique(points.budget, return_inverse=True)
    drawn = budget if unit == "budget" else np.arange(points.n)
    n_drawn = int(drawn.max()) + 1
    if unit == "budget" and n_drawn < FEWEST_BUDGETS:
        raise UsageError(
            f"a bootstrap of budgets needs at least {FEWEST_BUDGETS}, and there are {n_drawn}; resample points instead"
        )
    kept: list[Floats] = []
    n_kept = n_tried = 0
    for _ in range(ATTEMPTS):
        times = rng.multinomial(n_drawn, np.full(n_drawn, 1 / n_drawn), size=count)[:, drawn]
        enough = ((times > 0).sum(axis=1) >= least) & _two_budgets(times, budget)
        kept.append(times[enough] * points.weights)
        n_tried += count
        n_kept += int(enough.sum())
        if n_kept >= count:
            weights = np.concatenate(kept)[:count]
            return Resamples(weights, points.value[None], round((n_tried - n_kept) * count / n_kept))
    raise UsageError(
        f"of {n_tried} resamples {n_kept} had the {least} points of two budgets that the law needs: add runs"
    )


def _two_budgets(times: npt.NDArray[np.int64], budget: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    in_budget = np.stack([(times[:, budget == label] > 0).any(axis=1) for label in np.unique(budget)])
    return in_budget.sum(axis=0) >= 2


def _means_of_seeds(points: Points, count: int, rng: np.random.Generator) -> Floats:
    if points.runs.max() == 1:
        raise UsageError("a bootstrap of seeds needs points with two seeds or more, and every (N, D) came once")
    values = np.empty((count, points.n))
    for point, n_runs in enumerate(points.runs):
        of_point = points.point_of_run == point
        value, weight = points.value_of_run[of_point], points.weight_of_run[of_point]
        drawn = rng.integers(n_runs, size=(count, n_runs))
        values[:, point] = (value[drawn] * weight[drawn]).sum(axis=1) / weight[drawn].sum(axis=1)
    return values
