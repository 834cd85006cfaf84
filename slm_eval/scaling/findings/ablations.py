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
        """Return how far this choice moves a metric; None where fewer than two settings were measured."""
        mean = self.mean.get(name, np.array([]))
        measured = np.flatnonzero(~np.isnan(mean))
        if measured.size < 2:
            return None
        low, high = measured[mean[measured].argmin()], measured[mean[measured].argmax()]
        best, worst = (high, low) if self.columns[name].higher_is_better else (low, high)
        sd = self.sd[name][~np.isnan(self.sd[name])]
        noise = float(np.sqrt(np.mean(sd**2))) if sd.size else None
        spread = float(mean[high] - mean[low])
        return Impact(spread, self.settings[best], self.settings[worst], int(measured.size), noise)


@dataclass(frozen=True)
class Impact:
    """The move of a metric by a choice.

    Attributes:
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
    """Read the CSV of one ablation; the order of its rows does not matter.

    Args:
        extra: name -> whether higher is better, for metrics that are no keys of slm-eval.
        log_base: that of pJSD: "e" for nats, "2" for bits.

    Raises:
        UsageError: what is wrong, and in which row.
    """
    header, lines = read_cells(path)
    varied = header[0]
    if varied in KNOWN or metric_column(varied, extra or {}) is not None:
        raise UsageError(f"{path}: expected what was varied in the first column, got {varied!r}")
    columns = {name: metric_column(name, extra or {}, log_base) for name in header[1:] if name != "loss"}
    metrics = {name: column for name, column in columns.items() if column is not None}
    if "loss" in header:
        metrics = {"loss": MetricColumn("loss", higher_is_better=False), **metrics}
    if not metrics:
        raise UsageError(f"{path} has no column that is a metric; it has {', '.join(header)}")
    lines = sorted(lines, key=lambda line: line[1])
    settings = sorted({cells[0] for _, cells in lines}, key=_in_order)
    of_setting = np.array([settings.index(cells[0]) for _, cells in lines], dtype=np.intp)
    study = Ablation(path.stem, varied, tuple(settings), metrics, {}, {}, {})
    for name in metrics:
        place = header.index(name)
        values = [number(cells[place], f"{path}, row {row}: {name}", needed=False) for row, cells in lines]
        averaged = over_seeds(np.array(values), of_setting, len(settings))
        study.mean[name], study.sd[name], study.n_seeds[name] = averaged
    return study


def select(studies: Sequence[Ablation], names: Sequence[str] | None) -> list[Ablation]:
    """Return the ablations with the metrics of these names alone: columns, keys or families; None for all.

    Raises:
        UsageError: a name that is in none of them.
    """
    if names is None:
        return list(studies)
    known = {column: metric.names for column, metric in metric_columns(studies).items()}
    for name in names:
        if not any(name in names_of for names_of in known.values()):
            raise unknown_name("metric", name, set().union(*known.values()))
    kept = {column for column, names_of in known.items() if names_of & set(names)}
    return [replace(study, columns={k: v for k, v in study.columns.items() if k in kept}) for study in studies]


def metric_columns(studies: Sequence[Ablation]) -> dict[str, MetricColumn]:
    """Return name -> column for the metrics of any ablation, in the order in which they appear."""
    return {name: column for study in studies for name, column in study.columns.items()}


def to_dict(studies: Sequence[Ablation]) -> dict[str, Any]:
    """Return the object of ablations.json."""
    return {
        "schema": SCHEMA,
        "version": __version__,
        "ablations": [_study_to_dict(study) for study in studies],
    }


def _study_to_dict(study: Ablation) -> dict[str, Any]:
    impacts = {name: study.impact(name) for name in study.columns}
    return {
        "name": study.name,
        "varied": study.varied,
        "settings": list(study.settings),
        "metrics": {
            name: {
                "mean": _plain(study.mean[name]),
                "sd": _plain(study.sd[name]),
                "n_seeds": study.n_seeds[name].tolist(),
                "impact": None if impact is None else vars(impact),
            }
            for name, impact in impacts.items()
        },
    }


def _plain(values: Floats) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in values]


def _in_order(setting: str) -> tuple[bool, float, str]:
    """Return a key by which numbers come first, in order, and text after them."""
    try:
        value = float(setting)
    except ValueError:
        return True, 0.0, setting
    return (False, value, setting) if math.isfinite(value) else (True, 0.0, setting)
