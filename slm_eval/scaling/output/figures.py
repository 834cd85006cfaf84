"""Figures 1, 3, 4 and 5 of arXiv 2604.24416, drawn from what a fit found out about the user's own runs.

Same axes and the same reading order as there; added are intervals (95 %, shaded or as bars), where the law extrapolates
(dashed), the sd over seeds, and the axis of every curvature. All is read from the report of the fit, so figures can be
drawn again without fitting.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slm_eval.scaling.findings.report import Column, Curve, FitReport, MetricReport, Ratio
from slm_eval.scaling.law import LossLaw, MetricLaw
from slm_eval.scaling.output import style
from slm_eval.scaling.output.marks import (
    band,
    budget_key,
    curve_within,
    isoflop,
    law_curves,
    limits_of,
    reach_of_data,
    real_band,
    side_key,
    trail,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


FRAMES = "training frames $D$"
COMPUTE = "compute $C$ (FLOPs)"
_COLUMNS = 3  # panels side by side, in figures 3 and 5


def draw(report: FitReport, folder: Path, formats: Sequence[str] = style.FORMATS) -> list[Path]:
    """Draw all figures that the runs allow into a folder.

    Args:
        report: what ``analysis.analyse`` found, or fit.json as ``predict.read_fit`` reads it.
        formats: of ``style.FORMATS``.

    Raises:
        SlmEvalError: matplotlib is not installed, or a file cannot be written.
    """
    with style.styled():
        figures = {"figure1": figure1(report)}
        for guidance in _guidances(report.columns) or [None]:
            figures[_name("figure3", guidance)] = figure3(report, guidance)
        figures["figure4"] = figure4(report)
        for guidance in _guidances(report.metrics):
            figures[_name("figure5", guidance)] = figure5(report, guidance)
        return [path for name, figure in figures.items() for path in style.save(figure, folder, name, formats)]


def figure1(report: FitReport) -> Figure:
    """Draw loss against D, the law, its optima; beside it, how flat the isoFLOPs are against compute."""
    figure, axes = style.panels(2, 2, (3.6, 1.7), width_ratios=[1.25, 1])
    for panel in axes[:, 0]:
        panel.remove()
    surface = figure.add_subplot(axes[0, 0].get_gridspec()[:, 0])
    _surface(surface, report, "loss", report.loss.law, report.loss.curve.loss)
    surface.set(title="(a) Validation loss and its law", xlabel=FRAMES, ylabel="validation loss $L$")
    budget_key(surface, report)
    _growth(
        axes[0, 1],
        report,
        {
            "curvature_linear_N": ("on a linear $N$ axis", style.VERMILION),
            "curvature_linear_D": ("on a linear $D$ axis", style.BLUE),
            "curvature_log": ("on a log axis", style.INK),
        },
    )
    axes[0, 1].set(title="(b) Curvature at the optimum", ylabel=r"$\kappa(C)\,/\,\kappa(C_{\min})$")
    axes[0, 1].tick_params(labelbottom=False)
    _growth(
        axes[1, 1],
        report,
        {
            "width_N": (r"$\Delta N$, parameters", style.VERMILION),
            "width_D": (r"$\Delta D$, frames", style.BLUE),
            "ratio_of_ends": (r"$N_{\mathrm{hi}}/N_{\mathrm{lo}}$", style.INK),
        },
    )
    tolerated = f"$L^{{*}} + {report.options.epsilon:g}$"
    axes[1, 1].set(title=f"(c) Range with loss below {tolerated}", xlabel=COMPUTE, ylabel="relative to $C_{\\min}$")
    return figure


def figure3(report: FitReport, guidance: str | None) -> Figure:
    """Draw isoFLOP curves as they were measured: the loss and every metric against D, real speech's band behind."""
    names = [name for name, column in report.columns.items() if column.guidance == guidance]
    figure, axes = _grid(1 + len(names))
    for index, (panel, name) in enumerate(zip(axes, ["loss", *names], strict=True)):
        if name != "loss":
            real_band(panel, report.columns[name].real, limits_of(report, name))
        isoflop(panel, report, name)
        heading = "Validation loss" if name == "loss" else _title(report.columns[name])
        panel.set(title=f"{style.letter(index)} {heading}", xlabel=FRAMES, ylabel=_key(name))
    budget_key(axes[min(_COLUMNS, len(axes)) - 1], report, marks=False, also=axes)
    _say_guidance(figure, guidance)
    return figure


def figure4(report: FitReport) -> Figure:
    """Draw the compute-optimal ratio r* = D*/N* against compute, and where it passes that of text."""
    figure, axes = style.panels(1, 1, (4.4, 3.0))
    panel, curve, ratio = axes[0, 0], report.loss.curve, report.loss.ratio
    shown = curve_within(report, beyond=10.0)
    reach_of_data(panel, report)
    band(panel, report, curve.r, shown, style.BLUE, "law" + _interval(curve.r))
    minima = report.loss.isoflop
    vertices = [(minimum.C, minimum.r) for minimum in minima if minimum.r is not None and not minimum.edge]
    if vertices:
        panel.plot(*zip(*vertices, strict=True), "o", color=style.INK, mfc="none", label="minima of parabolas")
    style.log_axis(panel)
    panel.set_yscale("log")
    low, high = panel.get_ylim()
    if 0.2 * low < ratio.ratio < 5 * high:
        panel.set_ylim(min(low, ratio.ratio / 1.3), max(high, ratio.ratio * 1.3))
        _text_ratio(panel, ratio, (curve.r.value[0], curve.r.value[int(shown.nonzero()[0][-1])]))
        _crossing(panel, ratio)
    style.log_axis(panel, "y")
    style.grid(panel)
    panel.set(xlabel=COMPUTE, ylabel=r"frames per parameter $r^{*} = D^{*}\!/N^{*}$")
    frames = report.options.frames_per_text_token
    text_axis = panel.secondary_yaxis("right", functions=(lambda r: r / frames, lambda r: r * frames))
    style.log_ticks(text_axis.yaxis, *(end / frames for end in panel.get_ylim()))
    text_axis.set_ylabel(r"text tokens per parameter $r^{*}_{\mathrm{text}}$")
    panel.legend(loc="best")
    return figure


def _text_ratio(panel: Axes, ratio: Ratio, ends: tuple[float, float]) -> None:
    """Draw the ratio of text as a line, named where the curve, which runs between ``ends``, is far from it."""
    panel.axhline(ratio.ratio, color=style.GREY, linewidth=0.8, linestyle=(0, (4, 2)))
    text = f"$r={ratio.ratio:g}$, {ratio.text:g} text tokens per parameter"
    left = abs(math.log(ends[0] / ratio.ratio)) > abs(math.log(ends[1] / ratio.ratio))  # far from the curve
    below = ends[0 if left else 1] > ratio.ratio  # and on its other side
    panel.annotate(
        text, (0.015 if left else 0.985, ratio.ratio), xycoords=("axes fraction", "data"),
        xytext=(0, -3 if below else 3), textcoords="offset points", ha="left" if left else "right",
        va="top" if below else "bottom", fontsize=7, color=style.GREY, path_effects=style.halo(),
    )  # fmt: skip


def figure5(report: FitReport, guidance: str | None) -> Figure:
    """Draw the fused law of each metric that was fitted against D and, below it, M*(C) towards its limit."""
    names = [name for name, metric in report.metrics.items() if metric.guidance == guidance]
    columns = min(_COLUMNS, len(names))
    figure, axes = style.panels(2 * -(-len(names) // columns), columns, key=style.KEY)
    for index, name in enumerate(names):
        row, column = divmod(index, columns)
        above, below = axes[2 * row, column], axes[2 * row + 1, column]
        metric = report.metrics[name]
        _surface(above, report, name, metric.law, metric.curve)
        heading = f"{style.letter(2 * index)} {_title(metric)}{_errors(metric)}"
        above.set(title=heading, xlabel=FRAMES, ylabel=_key(name))
        _optimal(below, report, name)
        heading = f"{style.letter(2 * index + 1)} At the optimum"
        below.set(title=heading, xlabel=COMPUTE, ylabel=f"{_key(name)}, $M^{{*}}(C)$")
    for spare in range(len(names), axes.size // 2):
        row, column = divmod(spare, columns)
        axes[2 * row, column].remove()
        axes[2 * row + 1, column].remove()
    budget_key(axes[0, columns - 1], report)
    side_key(axes[1, columns - 1], axes[1::2].flat)
    _say_guidance(figure, guidance)
    return figure


def _surface(panel: Axes, report: FitReport, name: str, law: LossLaw | MetricLaw, optimum: Curve) -> None:
    """Draw points of every budget, the law through them, and its optimum with the interval of D*."""
    law_curves(panel, report, name, law)
    trail(panel, report, name, optimum)
    style.log_axis(panel)
    style.grid(panel)


def _growth(panel: Axes, report: FitReport, quantities: dict[str, tuple[str, str]]) -> None:
    """Draw quantities of the optimum relative to the smallest budget, on a logarithmic axis."""
    shown = curve_within(report, beyond=1.0)
    for name, (label, colour) in quantities.items():
        band(panel, report, report.loss.growth[name], shown, colour, label)
    style.log_axis(panel)
    panel.set_yscale("log")
    style.log_axis(panel, "y")
    style.grid(panel)
    panel.legend(loc="best")


def _crossing(panel: Axes, ratio: Ratio) -> None:
    """Draw where r* passes the ratio of text, with the interval of that compute."""
    crossing = ratio.C
    if crossing is None or not panel.get_xlim()[0] < crossing.number < panel.get_xlim()[1]:
        return
    if crossing.ci95 is not None:
        limits = panel.get_xlim()
        panel.plot(crossing.ci95, [ratio.ratio] * 2, color=style.VERMILION, linewidth=2.4, alpha=0.5)
        panel.set_xlim(limits)
    label = f"$C^\\ddagger$ = {style.scientific(crossing.number, 3)}"
    panel.plot(crossing.number, ratio.ratio, "D", color=style.VERMILION, label=label)


def _optimal(panel: Axes, report: FitReport, name: str) -> None:
    """Draw M*(C) with its interval, its limit, and real speech."""
    metric = report.metrics[name]
    reach_of_data(panel, report)
    real_band(panel, metric.real, limits_of(report, name))
    band(panel, report, metric.curve, curve_within(report, beyond=1e3), style.BLUE, "$M^{*}$" + _interval(metric.curve))
    panel.axhline(metric.limit.number, color=style.VERMILION, linewidth=0.8, linestyle=(0, (1, 1.5)),
                  label=r"limit $M_\infty$")  # fmt: skip
    style.log_axis(panel)
    style.grid(panel)


def _interval(curve: Curve) -> str:
    return "" if curve.lo is None else ", 95 % interval"


def _grid(n: int) -> tuple[Figure, list[Any]]:
    """Return n panels, row by row."""
    columns = min(_COLUMNS, n)
    figure, axes = style.panels(-(-n // columns), columns, key=style.KEY)
    for spare in axes.flat[n:]:
        spare.remove()
    return figure, list(axes.flat[:n])


def _guidances(columns: Mapping[str, Column | MetricReport]) -> list[str | None]:
    """Return the guidances of the metrics, in the order of the columns."""
    return list(dict.fromkeys(column.guidance for column in columns.values()))


def _name(figure: str, guidance: str | None) -> str:
    return figure if guidance is None else f"{figure}-guidance-" + re.sub(r"[^\w.+-]", "-", guidance)


def _title(metric: Column | MetricReport) -> str:
    """Return the key of a metric, and an arrow to where it is better."""
    arrow = "\N{UPWARDS ARROW}" if metric.higher_is_better else "\N{DOWNWARDS ARROW}"
    return f"{_key(metric.key)} {arrow}"


def _key(name: str) -> str:
    """Return the key of a column, without its guidance; mathematics is not meant by what people name their columns."""
    return name.partition("@")[0].replace("$", r"\$")


def _errors(metric: MetricReport) -> str:
    train, held_out = metric.quality.mre_train, metric.quality.mre_held_out
    return f"  MRE {100 * train:.2g} %" + ("" if held_out is None else f", held out {100 * held_out:.2g} %")


def _say_guidance(figure: Figure, guidance: str | None) -> None:
    if guidance is not None:
        figure.suptitle(f"guidance {guidance}", x=0.01, ha="left", fontsize=9, fontweight="bold")
