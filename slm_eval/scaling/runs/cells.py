"""CSV files of trained models: cells as text, numbers, columns that are metrics, means over seeds.

Shared by the table of runs and by ablations. What is wrong is said with its row, the header being row 1.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats
from slm_eval.base.errors import UsageError
from slm_eval.metrics.registry import METRICS
from slm_eval.run.fields import KIND_OF_NAME

# Scales of opinion scores and of Audiobox. pJSD is at most ln 2 nats, which is 1 bit: ``LARGEST_PJSD``.
_LIMITS = {
    "dnsmos": (1.0, 5.0),
    "nisqa": (1.0, 5.0),
    "nisqa_tts": (1.0, 5.0),
    "audiobox": (1.0, 10.0),
}


LARGEST_PJSD = {"e": math.log(2), "2": 1.0}  # by the base of its logarithm
# Columns whose lower values are better, and the most they can be depends on the base of their logarithm.
DIVERGENCES = {name for name, kind in KIND_OF_NAME.items() if kind == "divergence"}


@dataclass(frozen=True)
class MetricColumn:
    """A metric in the table: ``pjsd.5@2`` is the key ``pjsd.5`` at guidance 2.

    Attributes:
        limits: what the metric can be at all.
    """

    name: str
    higher_is_better: bool
    limits: tuple[float, float] = (0.0, math.inf)

    @property
    def key(self) -> str:
        return self.name.partition("@")[0]

    @property
    def guidance(self) -> str | None:
        return self.name.partition("@")[2] or None

    @property
    def family(self) -> str:
        return self.key.partition(".")[0]

    @property
    def names(self) -> set[str]:
        """Return what it can be asked for by: the column, its key, and the key's family."""
        return {self.name, self.key, self.family}


def metric_column(name: str, extra: Mapping[str, bool], log_base: str = "e") -> MetricColumn | None:
    """Return what is known of a column, by its name; None where it is no key of slm-eval.

    Args:
        extra: name or key -> whether higher is better, for metrics that slm-eval does not know.
        log_base: that of pJSD: "e" for nats, "2" for bits.
    """
    key = name.partition("@")[0]
    family, _, part = key.partition(".")
    for known in (name, key):
        if known in extra:
            return MetricColumn(name, extra[known])
    limits = (0.0, LARGEST_PJSD[log_base]) if family in DIVERGENCES else _LIMITS.get(family, MetricColumn.limits)
    return MetricColumn(name, family not in DIVERGENCES, limits) if family in METRICS and part else None


# What else `slm-zoo sweep` writes.
_OF_A_SWEEP = {"hours", "seconds", "scoring_seconds", "run", "commit"}


def why_unused(names: Sequence[str]) -> list[str]:
    """Return a line for columns that are not read; one each for those that look like a misspelt key."""
    near = {
        name: difflib.get_close_matches(name.partition(".")[0], METRICS, n=1, cutoff=0.7)
        for name in names
        if name not in _OF_A_SWEEP
    }
    lines = [f"column {name!r} is not used; did you mean {keys[0]}?" for name, keys in near.items() if keys]
    others = [name for name, keys in near.items() if not keys]
    if others:
        lines.append(f"not used, being no keys of slm-eval: {', '.join(others)}; --metrics NAME:higher takes a column")
    return lines


def read_cells(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the names of the columns, and each filled row with its number. Commas, semicolons or tabs.

    Raises:
        UsageError: no such file, no text, no runs, a name twice, or a row of another length.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text in UTF-8; export the runs as CSV") from error
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        read = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise UsageError(f"{path} is not CSV ({error}); export the runs again") from error
    rows = [[cell.strip() for cell in row] for row in read]
    filled = [(place, row) for place, row in enumerate(rows, start=1) if any(row)]
    if len(filled) < 2:
        raise UsageError(f"{path} holds no runs; expected a header and a row for each run")
    (_, header), *lines = filled
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise UsageError(f"{path} has two columns {twice[0]!r}; each name can stand once")
    for place, row in lines:
        if len(row) != len(header):
            raise UsageError(f"{path}, row {place}: {len(row)} cells, but the header has {len(header)}")
    return header, lines


def number(text: str, what: str, *, needed: bool) -> float:
    """Return a finite number; NaN for an empty cell that is not needed.

    Args:
        what: the cell, for people: file, row and column.

    Raises:
        UsageError: it is something else.
    """
    if not text and not needed:
        return math.nan
    if not text:
        raise UsageError(f"{what} is empty; expected a number")
    try:
        value = float(text)
    except ValueError:
        raise UsageError(f"{what} is {text!r}; expected a number") from None
    if not math.isfinite(value):
        hint = "leave out runs that diverged" if needed else "leave the cell empty where it was not measured"
        raise UsageError(f"{what} is {text}; {hint}")
    return value


def over_seeds(values: Floats, points: npt.NDArray[np.intp], n: int) -> tuple[Floats, Floats, npt.NDArray[np.intp]]:
    """Return mean, sd and number of the values that there are, of each point."""
    mean, sd = np.full(n, np.nan), np.full(n, np.nan)
    count = np.bincount(points[~np.isnan(values)], minlength=n)
    for index in range(n):
        of_point = values[(points == index) & ~np.isnan(values)]
        if of_point.size:
            mean[index] = of_point.mean()
        if of_point.size > 1:
            sd[index] = of_point.std(ddof=1)
    return mean, sd, count
