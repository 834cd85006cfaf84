"""Signs that values behave as isoFLOPs should, section 4: an optimum in each budget, and better with compute.

Nothing here knows of a law: it is what the runs show by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slm_eval.base.arrays import Floats
from slm_eval.scaling.findings.report import Behaviour
from slm_eval.scaling.fitting.isoflop import LEAST_SIZES, IsoflopMinimum, isoflop_minima
from slm_eval.scaling.runs.points import widest_budget
from slm_eval.scaling.runs.table import Runs


def minima_of_budgets(runs: Runs, values: Floats, *, lower_is_better: bool) -> list[IsoflopMinimum]:
    """Return the vertex of a parabola through each budget, or why there is none.

    Args:
        values: shape (points,), NaN where not measured.
    """
    means = runs.means()
    measured = ~np.isnan(values) & (values > 0)
    if not measured.any():
        return []
    minima = isoflop_minima(
        means.N[measured], means.D[measured], values[measured], means.C[measured], budget=means.budget[measured],
        lower_is_better=lower_is_better, tolerance=runs.tolerance,
    )  # fmt: skip
    return list(minima)


def behaviour(runs: Runs, values: Floats, *, lower_is_better: bool) -> Behaviour:
    """Return how many budgets have an optimum between their sizes, and how often more compute was better.

    Args:
        values: shape (points,), NaN where not measured.
    """
    minima = minima_of_budgets(runs, values, lower_is_better=lower_is_better)
    means = runs.means()
    sign = 1.0 if lower_is_better else -1.0
    measured = ~np.isnan(values)
    of_budgets = [measured & (means.budget == index) for index in range(runs.budgets.size)]
    best = [(sign * values[points]).min() for points in of_budgets if points.any()]
    return Behaviour(
        budgets=len(minima),
        interior=sum(minimum.N is not None and not minimum.edge for minimum in minima),
        steps=len(best) - 1 if best else 0,
        improved=int((np.diff(best) < 0).sum()),
    )


def scattered(sizes: Sequence[int]) -> bool:
    """Return whether compute hardly comes in budgets, by the number of sizes of each: most cannot show an optimum."""
    return sum(size < LEAST_SIZES for size in sizes) > len(sizes) / 2


def remarks_on_budgets(runs: Runs) -> list[str]:
    """Return a sentence for each way in which the runs are in no budgets."""
    means = runs.means()
    sizes = np.bincount(means.budget)
    alone = int((sizes[means.budget] < LEAST_SIZES).sum())
    of_budgets = [means.C[means.budget == index] for index in range(sizes.size)]
    low, high = (np.array([end(compute) for compute in of_budgets]) for end in (np.min, np.max))
    widest = widest_budget(runs.tolerance) * (1 + 1e-9)
    remarks = []
    if scattered(sizes.tolist()):
        remarks.append(
            f"most of the {sizes.size} budgets have fewer than {LEAST_SIZES} sizes: their isoFLOPs say little"
        )
    if alone:
        why = "" if runs.named else f" with C within {runs.tolerance:.0%} of a common middle"
        remarks.append(f"{alone} of {means.N.size} points belong to no budget, which takes {LEAST_SIZES} sizes{why}")
    if runs.named and (high > low * widest).any():
        remarks.append(
            f"C differs by a factor of up to {(high / low).max():.3g} within budgets as named: vertices of parabolas "
            "move with it"
        )
    if not runs.named and (low[1:] <= high[:-1] * (1 + runs.tolerance)).any():
        remarks.append(
            f"C is spread without gaps: budgets were cut so that it differs by at most {widest - 1:.0%} within one; "
            "a column 'budget' names those that were planned"
        )
    return remarks
