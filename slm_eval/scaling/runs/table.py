"""The table of runs: a row for each trained model, read and checked, in an order that does not depend on the file's.

    N,D,C,seed,loss,pjsd.5@2,audiobox.CU@2
    14437392,11544097999,1e18,0,0.00751,0.412,4.73

N parameters, D training frames (features, not hours), C = 6ND training FLOPs. C, seed, budget and metrics may be
absent; an empty cell is a metric that was not measured, or a run of no budget. Metrics are named by their keys, with
``@guidance`` where a model was sampled with several. What is wrong is said with its row, the header being row 1.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats
from slm_eval.base.errors import UsageError
from slm_eval.scaling.runs.cells import MetricColumn, metric_column, number, over_seeds, read_cells, why_unused
from slm_eval.scaling.runs.points import budgets as budgets_of
from slm_eval.scaling.runs.units import explain_compute, implausible_units

NEEDED = ("N", "D", "loss")
NAMES = ("seed", "budget")  # columns of any text
KNOWN = ("N", "D", "C", "loss", *NAMES)
# What people call them elsewhere, without case and underscores.
_ALIASES = {
    "N": ("n", "params", "parameters", "nparams", "modelsize", "size"),
    "D": ("d", "tokens", "frames", "trainingtokens", "ntokens", "data", "datasetsize"),
    "loss": ("loss", "valloss", "validationloss", "evalloss"),
}
TOLERANCE = 0.1  # relative, of C against 6ND: sizes and durations of a budget are rounded


@dataclass(frozen=True)
class Runs:
    """All runs, ordered by compute, N and seed.

    Attributes:
        source: where they came from, for people.
        N, D, C, loss: shape (runs,); C is 6ND where the table has no column C.
        seed: of each run, as text; "" where the table has none.
        budgets: FLOPs of each compute budget, ascending; shape (budgets,).
        budget: which one each run belongs to; shape (runs,).
        named: whether the table has a column that names budgets; else they follow from C.
        tolerance: how far from the middle of its budget the C of a run may lie, where budgets follow from C.
        metrics: name of a column -> values, NaN where not measured; shape (runs,).
        columns: name -> what is known of that metric.
        warnings: what is odd, but may be meant; one line each.
    """

    source: str
    N: Floats
    D: Floats
    C: Floats
    seed: tuple[str, ...]
    loss: Floats
    budgets: Floats
    budget: npt.NDArray[np.intp]
    metrics: dict[str, Floats]
    columns: dict[str, MetricColumn]
    named: bool = False
    tolerance: float = TOLERANCE
    warnings: tuple[str, ...] = ()

    def means(self) -> Means:
        """Return one point for each N and D: the mean over its seeds, as in the paper."""
        pairs, rows = np.unique(np.stack([self.budget, self.N, self.D]), axis=1, return_inverse=True)
        rows = rows.reshape(-1)
        log_c = np.bincount(rows, np.log(self.C)) / np.bincount(rows)
        loss, loss_sd, seeds = over_seeds(self.loss, rows, pairs.shape[1])
        metrics = {name: over_seeds(values, rows, pairs.shape[1]) for name, values in self.metrics.items()}
        return Means(
            budget=pairs[0].astype(np.intp),
            N=pairs[1],
            D=pairs[2],
            C=np.exp(log_c),
            loss=loss,
            loss_sd=loss_sd,
            n_seeds=seeds,
            metrics={name: averaged[0] for name, averaged in metrics.items()},
            metrics_sd={name: averaged[1] for name, averaged in metrics.items()},
            of_run=rows,
        )


@dataclass(frozen=True)
class Means:
    """Means over seeds, ordered by budget, N and D.

    Attributes:
        budget: index into ``Runs.budgets``; shape (points,), as all that follow.
        loss_sd: over seeds; NaN for one seed.
        n_seeds: how many losses were averaged.
        metrics, metrics_sd: by name of the column; NaN where no seed was measured, and for the sd of one.
        of_run: the point of each run; shape (runs,).
    """

    budget: npt.NDArray[np.intp]
    N: Floats
    D: Floats
    C: Floats
    loss: Floats
    loss_sd: Floats
    n_seeds: npt.NDArray[np.intp]
    metrics: dict[str, Floats]
    metrics_sd: dict[str, Floats]
    of_run: npt.NDArray[np.intp]


def read_runs(
    path: Path,
    extra: Mapping[str, bool] | None = None,
    *,
    frame_rate: float = 80.0,
    tolerance: float = TOLERANCE,
    log_base: str = "e",
) -> Runs:
    """Read a CSV (also with semicolons or tabs) of runs.

    Args:
        extra: name -> whether higher is better, for metrics whose names are no keys of slm-eval.
        frame_rate: frames per second of D, by which wrong units are recognised.
        tolerance: relative, of C against 6ND, and of the runs of one budget among each other.
        log_base: that of pJSD: "e" for nats, "2" for bits.

    Raises:
        UsageError: what is wrong, in which row, and how to fix it.
    """
    header, lines = read_cells(path)
    columns, ignored = _columns(header, extra or {}, path, log_base)
    rows = [row for row, _ in lines]
    given = {name: _numbers(header.index(name), name, lines, path) for name in columns}
    seeds, names = ([cells[header.index(name)] if name in header else "" for _, cells in lines] for name in NAMES)
    # What is wrong is refused by row, before rows are ordered.
    for name in KNOWN:
        if name in columns:
            _refuse_not_positive(given[name], name, rows, path)
    if "C" in given:
        explain_compute(given, rows, path, frame_rate, tolerance)
    _refuse_duplicates(given, seeds, rows, path)
    _refuse_two_budgets(given, names, rows, path)
    warnings = (*ignored, *implausible_units(given["N"], given["D"], frame_rate))
    metrics = {name: column for name, column in columns.items() if column is not None}
    named_budgets = names if "budget" in header else None
    return _ordered(path.name, given, seeds, named_budgets, metrics, tolerance, warnings)


def _numbers(place: int, name: str, lines: list[tuple[int, list[str]]], path: Path) -> Floats:
    """Return a column of numbers; only metrics may have empty cells."""
    needed = name in KNOWN
    return np.array([number(cells[place], f"{path}, row {row}: {name}", needed=needed) for row, cells in lines])


def _ordered(
    source: str,
    given: dict[str, Floats],
    seeds: list[str],
    names: list[str] | None,
    metrics: dict[str, MetricColumn],
    tolerance: float,
    warnings: tuple[str, ...],
) -> Runs:
    """Return the runs by compute, N and seed; budgets by ``names``, where the table has them, or by compute."""
    pairs = given["N"] * given["D"]
    order = sorted(range(len(seeds)), key=lambda row: (pairs[row], given["N"][row], seeds[row]))
    compute = given.get("C", 6.0 * given["N"] * given["D"])[order]
    budget = budgets_of(compute, tolerance)[0] if names is None else _named_budgets([names[i] for i in order], compute)
    return Runs(
        source=source,
        N=given["N"][order],
        D=given["D"][order],
        C=compute,
        seed=tuple(seeds[row] for row in order),
        loss=given["loss"][order],
        budgets=np.array([np.median(compute[budget == index]) for index in range(budget.max() + 1)]),
        budget=budget,
        metrics={name: given[name][order] for name in metrics},
        columns=metrics,
        named=names is not None,
        tolerance=tolerance,
        warnings=warnings,
    )


def _columns(
    header: list[str], extra: Mapping[str, bool], path: Path, log_base: str
) -> tuple[dict[str, MetricColumn | None], list[str]]:
    """Return the columns that are read, name -> its metric, or None; and a line for each that is not."""
    for name in NEEDED:
        if name not in header:
            near = [other for other in header if other.lower().replace("_", "") in _ALIASES[name]]
            near = near or difflib.get_close_matches(name, header, n=1, cutoff=0.6)
            hint = f"if {near[0]!r} holds it, rename it" if near else f"there are: {', '.join(header)}"
            raise UsageError(f"{path} has no column {name!r}; {hint}")
    metrics = {name: metric_column(name, extra, log_base) for name in header if name not in KNOWN}
    columns: dict[str, MetricColumn | None] = {name: None for name in KNOWN if name in header and name not in NAMES}
    columns |= {name: metric for name, metric in metrics.items() if metric is not None}
    return columns, why_unused([name for name, metric in metrics.items() if metric is None])


def _named_budgets(names: list[str], compute: Floats) -> npt.NDArray[np.intp]:
    """Return the budget of each run by its name, 0 for the smallest median C; a run without one is alone."""
    alone = [name or f"\0{index}" for index, name in enumerate(names)]
    unique, label = np.unique(alone, return_inverse=True)
    middle = [np.median(compute[label == index]) for index in range(unique.size)]
    return np.argsort(np.argsort(middle, kind="stable"))[label]


def _refuse_not_positive(values: Floats, column: str, rows: list[int], path: Path) -> None:
    for value, row in zip(values, rows, strict=True):
        if value <= 0:
            hint = "; laws are of losses above 0: add a constant that you state" if column == "loss" else ""
            raise UsageError(f"{path}, row {row}: {column} is {value:g}, expected a number above 0{hint}")


def _refuse_duplicates(given: dict[str, Floats], seeds: list[str], rows: list[int], path: Path) -> None:
    first: dict[tuple[float, float, str], int] = {}
    for n, d, seed, row in zip(given["N"], given["D"], seeds, rows, strict=True):
        before = first.setdefault((n, d, seed), row)
        if before != row:
            which = f"seed {seed}" if seed else "no seed"
            hint = "remove one" if seed else "number them in a column 'seed', or remove one"
            raise UsageError(f"{path}: rows {before} and {row} have the same N, D and {which}; {hint}")


def _refuse_two_budgets(given: dict[str, Floats], names: list[str], rows: list[int], path: Path) -> None:
    first: dict[tuple[float, float], tuple[str, int]] = {}
    for n, d, name, row in zip(given["N"], given["D"], names, rows, strict=True):
        before, earlier = first.setdefault((n, d), (name, row))
        if before != name:
            raise UsageError(
                f"{path}: rows {earlier} and {row} have the same N and D, expected one budget, "
                f"got {before!r} and {name!r}"
            )
