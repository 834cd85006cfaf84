"""Figure 6 of arXiv 2604.24416: each metric's distribution over the settings of every ablation, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slm_eval.scaling.findings.ablations import Ablation, metric_columns
from slm_eval.scaling.output import style
from slm_eval.scaling.output.marks import real_band, side_key, within_limits
from slm_eval.scaling.runs.cells import MetricColumn
from slm_eval.scaling.runs.real import Real, of_column

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.ORANGE, style.PURPLE, style.SKY)
_MARKS = "osD^vP"  # one for each guidance
_COLUMNS = 3
_APART = 0.5  # from one guidance to the last, where two ablations are 1 apart


def draw(
    studies: Sequence[Ablation], folder: Path, real: dict[str, Real], formats: Sequence[str] = style.FORMATS
) -> list[Path]:
    """Draw figure 6 into a folder.

    Raises:
        SlmEvalError: matplotlib is not installed, or a file cannot be written.
    """
    with style.styled():
        return style.save(figure6(studies, real), folder, "figure6", formats)


def figure6(studies: Sequence[Ablation], real: dict[str, Real]) -> Figure:
    """Draw a panel for each metric; in it a strip for each ablation, and for each guidance a mark of its own.

    A dot is a setting, its bar the sd over seeds; the thick line runs from the lowest to the highest setting, which are
    named.
    """
    columns = metric_columns(studies)
    keys = list(dict.fromkeys(column.key for column in columns.values()))
    guidances = list(dict.fromkeys(column.guidance for column in columns.values() if column.key != "loss"))
    across = min(_COLUMNS, len(keys))
    width = max(style.PANEL[0], 0.85 * len(studies))
    figure, axes = style.panels(-(-len(keys) // across), across, (width, style.PANEL[1]), style.KEY)
    for spare in axes.flat[len(keys) :]:
        spare.remove()
    used = list(axes.flat[: len(keys)])
    for index, (panel, key) in enumerate(zip(used, keys, strict=True)):
        of_key = [column for column in columns.values() if column.key == key]
        real_band(panel, of_column(real, of_key[0].name), of_key[0].limits)
        _strips(panel, studies, of_key, guidances)
        _name_axes(panel, studies, of_key[0], index)
    _guidance_key(used, [guidance for guidance in guidances if guidance is not None])
    return figure


def _strips(
    panel: Axes, studies: Sequence[Ablation], columns: Sequence[MetricColumn], guidances: Sequence[str | None]
) -> None:
    """Draw one metric of all ablations: those of one ablation at several guidances lie side by side."""
    shifts = np.linspace(-_APART / 2, _APART / 2, len(columns)) if len(columns) > 1 else [0.0]
    for place, study in enumerate(studies):
        for shift, column in zip(shifts, columns, strict=True):
            mark = _MARKS[guidances.index(column.guidance) % len(_MARKS)] if column.guidance else _MARKS[0]
            _strip(panel, study, column.name, place + shift, _COLOURS[place % len(_COLOURS)], mark)


def _name_axes(panel: Axes, studies: Sequence[Ablation], column: MetricColumn, index: int) -> None:
    arrow = "\N{UPWARDS ARROW}" if column.higher_is_better else "\N{DOWNWARDS ARROW}"
    key = column.key.replace("$", r"\$")
    panel.set(title=f"{style.letter(index)} {key} {arrow}", ylabel=key)
    panel.set_xticks(range(len(studies)), [_wrapped(study.name) for study in studies])
    panel.set_xlim(-0.6, len(studies) - 0.4)
    panel.margins(y=0.13)  # for the names of settings
    panel.tick_params(axis="x", length=0)
    panel.grid(True, axis="y", color=style.PALE, linewidth=0.5)
    panel.set_axisbelow(True)


def _strip(panel: Axes, study: Ablation, name: str, place: float, colour: str, mark: str) -> None:
    """Draw one metric of one ablation: its settings, and its range."""
    if name not in study.columns:
        return
    measured = np.flatnonzero(~np.isnan(study.mean[name]))
    mean, sd = study.mean[name][measured], np.nan_to_num(study.sd[name][measured])
    if not measured.size:
        return
    panel.plot([place, place], [mean.min(), mean.max()], color=colour, linewidth=5, alpha=0.2, solid_capstyle="round")
    bars = within_limits(mean, sd, study.columns[name].limits)
    panel.errorbar(
        np.full(measured.size, place), mean, bars, fmt=mark, color=colour, elinewidth=0.6, mec="white", mew=0.4,
        markersize=4,
    )  # fmt: skip
    if measured.size > 1:
        for extreme, sign, below, bar in (
            (int(mean.argmin()), -1, "top", bars[0]),
            (int(mean.argmax()), 1, "bottom", bars[1]),
        ):
            panel.annotate(
                study.settings[measured[extreme]].replace("$", r"\$"), (place, mean[extreme] + sign * bar[extreme]),
                xytext=(0, 3 * sign), textcoords="offset points", ha="center", va=below, fontsize=5.5, color=style.GREY,
                path_effects=style.halo(),
            )  # fmt: skip


def _guidance_key(panels: list[Axes], guidances: list[str]) -> None:
    from matplotlib.lines import Line2D

    last = panels[min(_COLUMNS, len(panels)) - 1]
    for index, guidance in enumerate(guidances):
        look: dict[str, Any] = {"marker": _MARKS[index % len(_MARKS)], "color": style.GREY, "linestyle": "none"}
        last.add_line(Line2D([np.nan], [np.nan], label=f"guidance {guidance}", **look))
    side_key(last, panels)


def _wrapped(name: str) -> str:
    return name.replace("_", " ").replace("-", " ").replace(" ", "\n", 1).replace("$", r"\$")
