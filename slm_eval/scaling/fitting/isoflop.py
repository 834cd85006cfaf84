"""IsoFLOP curves by themselves: a parabola per budget, as a check on a law that is fitted to all budgets at once.

A parabola in ln N is right at its bottom only. Through noise-free losses of the published law, at sizes within a factor
10^w of the optimum, its minimum lies at 0.99, 0.97, 0.91 and 0.82 of N* for w of 0.3, 0.6, 1 and 1.5: look at these
minima, and take N* from the law.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats
from slm_eval.scaling.law import FLOPS_PER_TOKEN
from slm_eval.scaling.runs.points import SAME_BUDGET, Points, budgets, columns, gather, widest_budget

# A parabola has three coefficients.
LEAST_SIZES = 3


@dataclass(frozen=True)
class IsoflopMinimum:
    """The parabola value = best + curvature/2 (ln N - ln N*)² through the runs of one budget.

    Attributes:
        C: geometric mean of the runs' compute.
        spread: largest over smallest C of them.
        n: sizes.
        N_best: the size among the runs with the best value.
        N, D, r, value: at the vertex; None where there is no optimum of the right kind.
        curvature: d²value / d(ln N)², positive for a valley; None with fewer than three sizes.
        edge: the best size is the smallest or the largest, or the vertex lies outside: the budget's sizes do not
            bracket an optimum.
        problem: a sentence, where N is None, ``edge`` is true, or C differs too much within the budget.
    """

    C: float
    spread: float
    n: int
    N_best: float
    N: float | None = None
    D: float | None = None
    r: float | None = None
    value: float | None = None
    curvature: float | None = None
    edge: bool = False
    problem: str | None = None


def isoflop_minima(
    N: npt.ArrayLike,
    D: npt.ArrayLike,
    value: npt.ArrayLike,
    C: npt.ArrayLike | None = None,
    *,
    budget: npt.ArrayLike | None = None,
    lower_is_better: bool = True,
    tolerance: float = SAME_BUDGET,
) -> tuple[IsoflopMinimum, ...]:
    """Return the optimum of each budget by a parabola through its runs, smallest budget first.

    Args:
        N, D, value: one entry per run: a loss, or any metric. Seeds of one (N, D) are averaged.
        C: compute per run, to tell budgets by; None is 6ND.
        budget: one per run, a number or a name: which of them share a budget. None tells budgets by C.
        lower_is_better: False looks for the summit of a metric of which more is better.
        tolerance: runs whose C lies within this share of a common middle are of one budget, see ``points.budgets``.

    Raises:
        UsageError: see ``points.gather``.
    """
    N, D, value, C = columns(N=N, D=D, value=value, C=FLOPS_PER_TOKEN * np.multiply(N, D) if C is None else C)
    label, _ = budgets(C, tolerance) if budget is None else (np.asarray(budget), None)
    minima = []
    for name in np.unique(label):
        members = label == name
        points = gather(N[members], D[members], value[members], what="value")
        minima.append(_minimum(points, C[members], widest_budget(tolerance), lower_is_better))
    return tuple(sorted(minima, key=lambda minimum: minimum.C))


def _minimum(points: Points, compute: Floats, widest: float, lower_is_better: bool) -> IsoflopMinimum:
    """Return the vertex of one budget, or why there is none."""
    order = np.argsort(points.N)
    N, value = points.N[order], points.value[order]
    best = int(value.argmin() if lower_is_better else value.argmax())
    C, spread = math.exp(np.log(compute).mean()), float(compute.max() / compute.min())
    minimum = partial(IsoflopMinimum, C=C, spread=spread, n=N.size, N_best=float(N[best]))
    if np.unique(N).size < LEAST_SIZES:
        return minimum(problem=f"{N.size} sizes only: a parabola needs {LEAST_SIZES}")
    middle = np.log(N).mean()
    bend, slope, level = np.polyfit(np.log(N) - middle, value, 2)
    curvature = 2 * float(bend)
    if curvature == 0 or (curvature > 0) != lower_is_better:
        shape = "valley" if lower_is_better else "summit"
        return minimum(curvature=curvature, problem=f"no {shape}: the curve bends the other way")
    step = -float(slope) / curvature
    if abs(step) > np.ptp(np.log(N)):
        return minimum(curvature=curvature, edge=True, problem="the vertex is farther away than the sizes are apart")
    vertex = math.exp(middle + step)
    edge = best in (0, N.size - 1) or not N[0] < vertex < N[-1]
    D = math.exp(np.log(points.N * points.D).mean()) / vertex
    problem = None
    if edge:
        problem = "the sizes do not bracket the optimum: the best is the smallest or largest, or the vertex outside"
    elif spread > widest * (1 + 1e-9):
        problem = f"C differs by a factor of {spread:.3g} within this budget, which moves the vertex"
    return minimum(
        N=vertex, D=D, r=D / vertex, value=float(level) - curvature * step**2 / 2, curvature=curvature,
        edge=edge, problem=problem,
    )  # fmt: skip
