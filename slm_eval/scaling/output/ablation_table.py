"""Ablations as a table: how far each choice moves each metric."""

from __future__ import annotations

import math
from collections.abc import Sequence

from slm_eval.base.tables import Strong, Table
from slm_eval.scaling.findings.ablations import Ablation, Impact, metric_columns


def ablation_table(studies: Sequence[Ablation]) -> Table:
    """Return the range of each metric by ablation; the largest of a row stands out."""
    header = ["range over settings", *(f"{study.name} ({len(study.settings)})" for study in studies), "sd over seeds"]
    rows = [[name, *_cells([study.impact(name) for study in studies])] for name in metric_columns(studies)]
    notes = ["Range: largest minus smallest mean over seeds; in brackets the number of settings, with which it grows."]
    return Table("How far each choice moves each metric", header, rows, notes)


def _cells(impacts: Sequence[Impact | None]) -> list[str]:
    """Return the ranges of a metric, and its sd over seeds, pooled over the ablations."""
    widest = max((impact.range for impact in impacts if impact is not None), default=math.inf)
    noise = [impact.seed_sd for impact in impacts if impact is not None and impact.seed_sd is not None]
    pooled = f"{math.sqrt(sum(sd**2 for sd in noise) / len(noise)):.2g}" if noise else "-"
    ranges = ["-" if impact is None else _bold(f"{impact.range:.4g}", impact.range == widest) for impact in impacts]
    return [*ranges, pooled]


def _bold(text: str, stands_out: bool) -> str:
    return Strong(text) if stands_out else text
