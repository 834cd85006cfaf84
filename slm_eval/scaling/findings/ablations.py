"""Ablations side by side: how far each design choice moves each metric, section 5 and figure 6 of arXiv 2604.24416.

An ablation is a CSV whose first column is what was varied, with a row for each setting and seed:

    patch,seed,loss,pjsd.5@2,pjsd.5@4,audiobox.CU@2
    1,0,0.0068,0.31,0.33,4.9
    2,0,0.0071,0.35,0.36,4.7

The impact of a choice on a metric is the range of its settings' means over seeds. A range grows with the number of
settings, and there is one where nothing matters but the seed: both stand beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from slm_eval._version import __version__
from slm_eval.base.arrays import Floats
from slm_eval.base.errors import UsageError, unknown_name
from slm_eval.base.tables import Strong, Table
from slm_eval.scaling.runs.cells import MetricColumn, metric_column, number, over_seeds, read_cells
from slm_eval.scaling.runs.table import KNOWN

SCHEMA = 1  # of ablations.json


@dataclass(frozen=True)
class Ablation:
    """One design choice.

    Attributes:
        name: the file's, without its ending.
        varied: what the first column is called.
        settings: its values, numbers in order or else as text.
        columns: name -> what is known of that metric; the loss is one.
        mean, sd: name -> over seeds, shape (settings,); NaN where not measured, and for the sd of one seed.
        n_seeds: name -> how many values were averaged.
    """

    name: str
    varied: str
    settings: tuple[str, ...]
    columns: dict[str, MetricColumn]
    mean: dict[str, Floats]
    sd: dict[str, Floats]
    n_seeds: dict[str, Any]

    def impact(self, name: str) -> Impact | None:
        """How far this choice moves a metric; None where fewer than two settings were measured."""
        mean = self.mean.get(name, np.array([]))
        there = np.flatnonzero(~np.isnan(mean))
        if there.size < 2:
            return None
        low, high = there[mean[there].argmin()], there[mean[there].argmax()]
        best, worst = (high, low) if self.columns[name].higher_is_better else (low, high)
        sd = self.sd[name][~np.isnan(self.sd[name])]
        noise = float(np.sqrt(np.mean(sd**2))) if sd.size else None
        spread = float(mean[high] - mean[low])
        return Impact(spread, self.settings[best], self.settings[worst], int(there.size), noise)


@dataclass(frozen=True)
class Impact:
    """Attributes:
    range: largest minus smallest mean of a setting.
    best, worst: settings.
    n: settings that were measured.
    seed_sd: sd over seeds, pooled over settings; None where each has one.
    """

    range: float
    best: str
    worst: str
    n: int
    seed_sd: float | None


def read_ablation(path: Path, extra: Mapping[str, bool] | None = None, log_base: str = "e") -> Ablation:
    """Read the CSV of one ablation; the order of its rows is nothing.

    Args:
        extra: name -> whether higher is better, for metrics that are no keys of slm-eval.
        log_base: that of pJSD: "e" for nats, "2" for bits.

    Raises:
        UsageError: what is wrong, and in which row.
    """
    header, lines = read_cells(path)
    varied = header[0]
    if varied in KNOWN or metric_column(varied, extra or {}) is not None:
        raise UsageError(f"{path}: the first column has to be what was varied, and is {varied!r}")
    columns = {name: metric_column(name, extra or {}, log_base) for name in header[1:] if name != "loss"}
    metrics = {name: each for name, each in columns.items() if each is not None}
    if "loss" in header:
        metrics = {"loss": MetricColumn("loss", higher_is_better=False), **metrics}
    if not metrics:
        raise UsageError(f"{path} has no column that is a metric; it has {', '.join(header)}")
    lines = sorted(lines, key=lambda line: line[1])
    settings = sorted({cells[0] for _, cells in lines}, key=_in_order)
    of_setting = np.array([settings.index(cells[0]) for _, cells in lines], dtype=np.intp)
    found = Ablation(path.stem, varied, tuple(settings), metrics, {}, {}, {})
    for name in metrics:
        at = header.index(name)
        values = [number(cells[at], f"{path}, row {row}: {name}", needed=False) for row, cells in lines]
        each = over_seeds(np.array(values), of_setting, len(settings))
        found.mean[name], found.sd[name], found.n_seeds[name] = each
    return found


def select(studies: Sequence[Ablation], names: Sequence[str] | None) -> list[Ablation]:
    """With the metrics of these names alone: columns, keys or families; None for all.

    Raises:
        UsageError: a name that is in none of them.
    """
    if names is None:
        return list(studies)
    known = {each: column.names for each, column in metric_names(studies).items()}
    for name in names:
        if not any(name in each for each in known.values()):
            raise unknown_name("metric", name, set().union(*known.values()))
    kept = {each for each, own in known.items() if own & set(names)}
    return [replace(study, columns={k: v for k, v in study.columns.items() if k in kept}) for study in studies]


def metric_names(studies: Sequence[Ablation]) -> dict[str, MetricColumn]:
    """Metrics of any of them, in the order in which they appear."""
    return {name: column for study in studies for name, column in study.columns.items()}


def table(studies: Sequence[Ablation]) -> Table:
    """The range of each metric by ablation; the largest of a row stands out."""
    header = ["range over settings", *(f"{each.name} ({len(each.settings)})" for each in studies), "sd over seeds"]
    rows = []
    for name in metric_names(studies):
        impacts = [study.impact(name) for study in studies]
        widest = max((each.range for each in impacts if each is not None), default=math.inf)
        noise = [each.seed_sd for each in impacts if each is not None and each.seed_sd is not None]
        cells = ["-" if each is None else _bold(f"{each.range:.4g}", each.range == widest) for each in impacts]
        rows.append([name, *cells, f"{math.sqrt(sum(sd**2 for sd in noise) / len(noise)):.2g}" if noise else "-"])
    notes = ["Range: largest minus smallest mean over seeds; in brackets the number of settings, with which it grows."]
    return Table("How far each choice moves each metric", header, rows, notes)


def to_dict(studies: Sequence[Ablation]) -> dict[str, Any]:
    """The object of ablations.json."""
    return {
        "schema": SCHEMA,
        "version": __version__,
        "ablations": [
            {
                "name": each.name,
                "varied": each.varied,
                "settings": list(each.settings),
                "metrics": {
                    name: {
                        "mean": _plain(each.mean[name]),
                        "sd": _plain(each.sd[name]),
                        "n_seeds": each.n_seeds[name].tolist(),
                        "impact": None if (impact := each.impact(name)) is None else vars(impact),
                    }
                    for name in each.columns
                },
            }
            for each in studies
        ],
    }


def _bold(text: str, stands_out: bool) -> str:
    return Strong(text) if stands_out else text


def _plain(values: Floats) -> list[float | None]:
    return [None if math.isnan(each) else float(each) for each in values]


def _in_order(setting: str) -> tuple[bool, float, str]:
    try:
        value = float(setting)
    except ValueError:
        return True, 0.0, setting
    return (False, value, setting) if math.isfinite(value) else (True, 0.0, setting)
