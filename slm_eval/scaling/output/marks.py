"""Parts of the panels of the figures: points of budgets, laws through them, optima, intervals, real speech."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats
from slm_eval.scaling.findings.behaviour import scattered
from slm_eval.scaling.findings.report import Budget, Curve, FitReport
from slm_eval.scaling.law import FLOPS_PER_TOKEN, LossLaw, MetricLaw
from slm_eval.scaling.output import style
from slm_eval.scaling.output.tables import spread
from slm_eval.scaling.runs.real import Real

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DASHED = (0, (3, 2))
_MARGIN = 1.5  # of a curve beyond the first and last point of its budget, as a factor of D
_MOST_NAMED = 10  # budgets in a legend
_FAR = 20.0  # how much farther it runs, dashed, to reach its optimum


def values_of(report: FitReport, name: str) -> tuple[Floats, Floats]:
    """Return means over seeds and their sd, of the loss or a metric; NaN where there is none. Shape (points,)."""
    pairs = [
        (point.loss, point.loss_sd) if name == "loss" else (point.metrics[name].value, point.metrics[name].sd)
        for point in report.points
    ]
    mean, sd = np.array(pairs, dtype=np.float64).T  # None becomes NaN
    return mean, sd


def isoflop(panel: Axes, report: FitReport, name: str) -> None:
    """Draw measured values of each budget against D, joined in order; bars are the sd over seeds."""
    values, sd = values_of(report, name)
    for colour, (budget, members) in zip(_colours(report), _budgets(report), strict=True):
        measured = members[~np.isnan(values[members])]
        d = np.array([report.points[index].D for index in measured])
        bars = within_limits(values[measured], sd[measured], limits_of(report, name))
        form = "o-" if budget.isoflop else "o"
        panel.errorbar(d, values[measured], bars, fmt=form, color=colour, linewidth=0.9, elinewidth=0.7, markersize=3)
    style.log_axis(panel)
    _wide(panel, values)
    style.grid(panel)


def law_curves(panel: Axes, report: FitReport, name: str, law: LossLaw | MetricLaw) -> None:
    """Draw points of each budget (crosses where they were held out) and the law along the budget."""
    panel.set_xscale("log")
    values, sd = values_of(report, name)
    for colour, (budget, members) in zip(_colours(report), _budgets(report), strict=True):
        measured = members[~np.isnan(values[members])]
        if not measured.size:
            continue
        d = np.array([report.points[index].D for index in measured])
        bars = within_limits(values[measured], sd[measured], limits_of(report, name))
        form, size = ("x", 3.6) if budget.held_out else ("o", 2.8)
        panel.errorbar(d, values[measured], bars, fmt=form, color=colour, markersize=size, elinewidth=0.6)
        if not budget.isoflop:
            continue
        first, last, best = d.min() / _MARGIN, d.max() * _MARGIN, float(law.optimal(budget.C).D)
        for low, high, dash in (
            (first, last, "solid"),
            (max(best, first / _FAR) / _MARGIN, first, _DASHED),  # to the optimum, where that is not among the points
            (last, min(best, last * _FAR) * _MARGIN, _DASHED),
        ):
            if high > low:
                along = np.geomspace(low, high, 80)
                loss = law(budget.C / (FLOPS_PER_TOKEN * along), along)
                panel.plot(along, loss, color=colour, linewidth=1.0, linestyle=dash)
    _wide(panel, values)


def limits_of(report: FitReport, name: str) -> tuple[float, float]:
    """Return what a metric can be, or the loss."""
    low, high = (0.0, None) if name == "loss" else report.columns[name].limits
    return float("-inf") if low is None else low, float("inf") if high is None else high


def within_limits(values: Floats, sd: Floats, limits: tuple[float, float]) -> Floats:
    """Return the lengths of bars (2, n) of one sd, down and up, that end where the metric does."""
    room = np.stack([values - limits[0], limits[1] - values])
    return np.clip(np.nan_to_num(sd), 0, np.maximum(room, 0))


def trail(panel: Axes, report: FitReport, name: str, optimum: Curve) -> None:
    """Draw the optimum of each budget as a star, its D* with interval, joined by the law's path."""
    path = curve_within(report, beyond=1.0)
    allocation = report.loss.curve if name == "loss" else report.metrics[name].allocation
    d, best = np.array(allocation.D.value), np.array(optimum.value)
    panel.plot(d[path], best[path], color=style.INK, linewidth=0.7, linestyle=_DASHED)
    optima = (
        [(row.D, row.loss.number) for row in report.loss.budgets]
        if name == "loss"
        else [(row.D, row.metric.number) for row in report.metrics[name].budgets]
    )
    shown = [index for index, budget in enumerate(report.budgets) if budget.isoflop]
    colours = _colours(report)
    for index in shown:
        size, height = optima[index]
        panel.plot(size.number, height, "*", color=colours[index], markersize=8, mec=style.INK, mew=0.5)
    limits = panel.get_xlim()  # intervals leave the axis as it is, however wide they are
    for size, height in (optima[index] for index in shown):
        if size.ci95 is not None:
            panel.plot(size.ci95, [height, height], color=style.INK, linewidth=0.7)
    panel.set_xlim(limits)


def band(panel: Axes, report: FitReport, curve: Curve, shown: npt.NDArray[np.bool_], colour: str, label: str) -> None:
    """Draw a quantity against compute: a line, dashed beyond the data, and its interval."""
    compute, value = np.array(report.loss.curve.C), np.array(curve.value)
    last = report.budgets[-1].C * (1 + 1e-9)
    inside, beyond = shown & (compute <= last), shown & (compute >= last / (1 + 2e-9))
    panel.plot(compute[inside], value[inside], color=colour, label=label)
    panel.plot(compute[beyond], value[beyond], color=colour, linestyle=_DASHED)
    if curve.lo is not None:
        low, high = (np.array(end)[shown] for end in (curve.lo, curve.hi))
        panel.fill_between(compute[shown], low, high, color=colour, alpha=0.16, linewidth=0)


def curve_within(report: FitReport, beyond: float) -> npt.NDArray[np.bool_]:
    """Return which points of the curves against compute lie from the first budget to ``beyond`` times the last."""
    compute = np.array(report.loss.curve.C)
    first, last = report.budgets[0].C, report.budgets[-1].C
    return (compute >= first * (1 - 1e-9)) & (compute <= last * beyond * (1 + 1e-9))


def reach_of_data(panel: Axes, report: FitReport) -> None:
    """Shade the compute where models were trained."""
    panel.axvspan(report.budgets[0].C, report.budgets[-1].C, color=style.PALE, alpha=0.45, linewidth=0,
                  label="budgets trained")  # fmt: skip


def real_band(panel: Axes, real: Real | None, limits: tuple[float, float]) -> None:
    """Draw real speech: its value as a line, its band, as far as the metric goes, in grey."""
    if real is None:
        return
    if real.band is not None:
        label = f"real speech,\n{real.meaning}"
        panel.axhspan(*np.clip(real.band, *limits), color=style.GREY, alpha=0.22, linewidth=0, label=label)
    panel.axhline(real.value, color=style.INK, linewidth=0.9)


def budget_key(panel: Axes, report: FitReport, *, marks: bool = True, also: Iterable[Axes] = ()) -> None:
    """Add a legend of the budgets beside a panel, with what the marks mean, and what is labelled in other panels."""
    handles = [*_budget_handles(report, marks), *(_mark_handles(report) if marks else []), *_labelled(also).values()]
    panel.legend(handles=handles, title="$C$ (FLOPs)", title_fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.02))


def _budget_handles(report: FitReport, marks: bool) -> list[Any]:
    """Return entries of a legend for the budgets, the largest first, as the curves of a loss lie."""
    from matplotlib.lines import Line2D

    colours, budgets = _colours(report), report.budgets
    coloured = [index for index, colour in enumerate(colours) if colour != style.GREY]
    handles = []
    for index in reversed([coloured[place] for place in spread(len(coloured), _MOST_NAMED)]):
        mark = "x" if budgets[index].held_out and marks else "o"
        handles.append(Line2D([], [], color=colours[index], marker=mark, label=style.scientific(budgets[index].C)))
    if len(coloured) < len(budgets):
        handles.append(Line2D([], [], color=style.GREY, marker="o", linestyle="none", label="in no budget"))
    return handles


def _mark_handles(report: FitReport) -> list[Any]:
    """Return entries of a legend for the marks that the panels have."""
    from matplotlib.lines import Line2D

    looks: dict[str, dict[str, Any]] = {"fitted": {"marker": "o"}}
    if any(budget.held_out for budget in report.budgets):
        looks["held out"] = {"marker": "x"}
    if any(budget.isoflop for budget in report.budgets):
        looks["optimum"] = {"marker": "*", "markersize": 8, "mfc": "none", "mew": 0.7}
    return [Line2D([], [], color=style.INK, linestyle="none", label=label, **look) for label, look in looks.items()]


def side_key(panel: Axes, panels: Iterable[Axes]) -> None:
    """Add a legend beside one panel of what is labelled in any of them, each once."""
    labelled = _labelled(panels)
    if labelled:
        panel.legend(list(labelled.values()), list(labelled), loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _labelled(panels: Iterable[Axes]) -> dict[str, Any]:
    handles: dict[str, Any] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    return handles


def _wide(panel: Axes, values: Floats) -> None:
    """Make the axis logarithmic where values differ by more than five times."""
    known = values[~np.isnan(values)]
    if known.size and known.min() > 0 and known.max() > 5 * known.min():
        panel.set_yscale("log")
        style.log_axis(panel, "y")


def _colours(report: FitReport) -> list[Any]:
    """Return the colour of each budget; grey for points of none, unless most are."""
    budgets = report.budgets
    colours = style.budget_colours(len(budgets))
    if scattered([budget.n_points for budget in budgets]):
        return colours
    return [colour if budget.isoflop else style.GREY for colour, budget in zip(colours, budgets, strict=True)]


def _budgets(report: FitReport) -> list[tuple[Budget, npt.NDArray[np.intp]]]:
    """Return each budget with the indices of its points."""
    of_point = np.array([point.budget for point in report.points])
    return [(budget, np.flatnonzero(of_point == index)) for index, budget in enumerate(report.budgets)]
