"""From runs to the points that a law is fitted to: checked, and seeds of one (N, D) averaged, as in section 4.2."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats
from slm_eval.base.errors import UsageError

# Steps and batches are whole numbers, so the C of runs of one planned budget differs by a few per cent, and that of
# planned budgets by more than this share.
SAME_BUDGET = 0.1
# What a bootstrap draws together where no budgets are named: as ``SAME_BUDGET``, so at most a factor of 2 in C. Where C
# is spread without gaps, runs that share something may lie farther apart than a parabola allows: of 50 sweeps like that
# of Epoch, E was held by 0.68, 0.90, 0.96, 0.92 and 0.86 of the 95 % intervals for factors of 1.21, 1.6, 2, 3 and 4.
DRAWN_TOGETHER = 2**0.5 - 1


@dataclass(frozen=True)
class Points:
    """Points to be fitted: one entry per (N, D), in order of first appearance.

    Attributes:
        N, D, value: shape (n,). The value is the mean over the runs of the point.
        weights: shape (n,), mean weight of its runs: seeds do not make a point weigh more.
        runs: shape (n,), how many runs were averaged.
        budget: shape (n,), which points share a budget, as far as a bootstrap is concerned.
        notes: sentences on what was found: rows that repeat others.
        point_of_run, value_of_run, weight_of_run: shape (R,), the runs behind the means.
    """

    N: Floats
    D: Floats
    value: Floats
    weights: Floats
    runs: npt.NDArray[np.intp]
    budget: npt.NDArray[np.intp]
    notes: tuple[str, ...]
    point_of_run: npt.NDArray[np.intp]
    value_of_run: Floats
    weight_of_run: Floats

    @property
    def n(self) -> int:
        return self.N.size

    def part(self, keep: npt.NDArray[np.bool_]) -> Points:
        """Return the points where ``keep`` (n,) is true, in the same order."""
        place = np.cumsum(keep) - 1
        runs = keep[self.point_of_run]
        return Points(
            self.N[keep], self.D[keep], self.value[keep], self.weights[keep], self.runs[keep], self.budget[keep],
            self.notes, place[self.point_of_run[runs]], self.value_of_run[runs], self.weight_of_run[runs],
        )  # fmt: skip


def gather(
    N: npt.ArrayLike,
    D: npt.ArrayLike,
    value: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    what: str = "loss",
    budget: npt.ArrayLike | None = None,
) -> Points:
    """Return the points of runs: ``N``, ``D``, ``value``, ``weights`` and ``budget`` have one entry per run.

    Runs share a budget where their entries of ``budget`` are equal; None tells budgets by N D, see ``DRAWN_TOGETHER``.

    A row that repeats N, D and value exactly is the same run twice (two seeds do not agree to the last digit); it
    counts once, and a note says so.

    Raises:
        UsageError: lengths differ, nothing came, or an entry is not a finite number above 0 (weights: 0 leaves out).
    """
    weights = np.ones(np.size(N)) if weights is None else weights
    N, D, value, weights = columns(**{"N": N, "D": D, what: value, "weights": weights}, may_be_zero="weights")
    _, label = np.unique(np.zeros(N.size) if budget is None else np.asarray(budget), return_inverse=True)
    if label.size != N.size:
        raise UsageError(f"columns of runs differ in length: {N.size} N, {label.size} budget")
    rows = np.stack([N, D, value, weights, label], axis=1)
    rows = rows[rows[:, 3] > 0]
    if not len(rows):
        raise UsageError("there are no runs to fit a law to")
    rows, notes = _without_repeated(rows, what)
    _, first, point = np.unique(rows[:, :2], axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    point = np.argsort(order)[point.ravel()]
    runs = np.bincount(point)
    weight = np.bincount(point, rows[:, 3])
    mean = np.bincount(point, rows[:, 2] * rows[:, 3]) / weight
    sizes = rows[np.sort(first)]
    label = budgets(sizes[:, 0] * sizes[:, 1], DRAWN_TOGETHER)[0] if budget is None else sizes[:, 4].astype(np.intp)
    return Points(
        sizes[:, 0], sizes[:, 1], mean, weight / runs, runs, label, notes,
        point_of_run=point, value_of_run=rows[:, 2], weight_of_run=rows[:, 3],
    )  # fmt: skip


def _without_repeated(rows: Floats, what: str) -> tuple[Floats, tuple[str, ...]]:
    """Return the rows whose N, D and value no row before has, and a note where others were left out."""
    _, first = np.unique(rows[:, :3], axis=0, return_index=True)
    repeated = len(rows) - first.size
    note = f"{repeated} of {len(rows)} rows repeat N, D and {what} of another to the last digit: counted once"
    return rows[np.sort(first)], (note,) if repeated else ()


def widest_budget(tolerance: float = SAME_BUDGET) -> float:
    """Return the largest ratio of C within a budget: each run lies within ``tolerance`` of its middle.

    The loss falls with C, so where C rises with N in a budget, the vertex of a parabola lies too far right: at worst by
    about ln(ratio) / ((alpha + beta) ln(N_max / N_min)) in ln N. With a ratio of 1.21 and sizes over 1.5 decades it is
    9 % on Chinchilla's law, no more than parabolas err without it.
    """
    return (1 + tolerance) ** 2


def budgets(C: npt.ArrayLike, tolerance: float = SAME_BUDGET) -> tuple[npt.NDArray[np.intp], Floats]:
    """Return which runs share a budget, label 0 being the smallest, and the geometric mean C of each label.

    Runs are parted at the widest step of C until no step is above ``tolerance`` and no budget is wider than
    ``widest_budget``. Where C is spread continuously, steps alone would chain all runs to one budget.
    """
    C = np.asarray(C, dtype=np.float64)
    order = np.argsort(C, kind="stable")
    log_c = np.log(C[order])
    steps = np.diff(log_c)
    rounding = 1 + 1e-9
    step, width = np.log1p(tolerance) * rounding, np.log(widest_budget(tolerance)) * rounding
    begins = np.zeros(C.size, dtype=np.intp)
    begins[1:] = steps > step
    parts = [(int(part[0]), int(part[-1])) for part in np.split(np.arange(C.size), np.flatnonzero(begins)) if part.size]
    while parts:
        first, last = parts.pop()
        if log_c[last] - log_c[first] > width:
            before = first + int(steps[first:last].argmax())
            begins[before + 1] = 1
            parts += [(first, before), (before + 1, last)]
    label = np.empty(C.size, dtype=np.intp)
    label[order] = np.cumsum(begins)
    return label, np.exp(np.bincount(label, np.log(C)) / np.bincount(label))


def columns(may_be_zero: str | None = None, **values: npt.ArrayLike) -> list[Floats]:
    """Return columns of runs as float64, checked: of one length, and finite numbers above 0.

    Raises:
        UsageError: names the column, the first entry that is wrong (counted from 0), and how many are.
    """
    arrays = {name: _column(name, column, name == may_be_zero) for name, column in values.items()}
    if len({array.size for array in arrays.values()}) > 1:
        sizes = ", ".join(f"{array.size} {name}" for name, array in arrays.items())
        raise UsageError(f"columns of runs differ in length: {sizes}")
    return list(arrays.values())


def _column(name: str, values: npt.ArrayLike, may_be_zero: bool) -> Floats:
    try:
        array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError):
        raise UsageError(f"{name} has an entry that is not a number") from None
    if array.ndim != 1:
        raise UsageError(f"{name}: expected a plain column of numbers, got {array.ndim} dimensions")
    bad = ~np.isfinite(array) | (array < 0 if may_be_zero else array <= 0)
    if bad.any():
        where = int(np.flatnonzero(bad)[0])
        rest = f" ({int(bad.sum())} such entries)" if bad.sum() > 1 else ""
        limit = "not below 0" if may_be_zero else "above 0"
        raise UsageError(f"{name}[{where}] is {array[where]:g}{rest}; expected a finite number {limit}")
    return array
