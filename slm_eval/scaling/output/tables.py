"""The report of a fit as tables: for a terminal, table.md and table.tex."""

from __future__ import annotations

from collections.abc import Sequence

from slm_eval.base.tables import Table, in_markdown, one_line
from slm_eval.scaling.findings.report import Estimate, FitReport, Quality, Reach
from slm_eval.scaling.fitting.reach import FARTHEST

_NONE = "-"
_MOST_BUDGETS = 12  # on a terminal; the files have all
_LAW = "L = E + (A/N^alpha + B/D^beta)^gamma"


def render(report: FitReport) -> str:
    """Return text for a terminal: the law, its optima, metrics, and what is to be known of them."""
    blocks = [
        _heading(report),
        *(table.to_text() for table in (coefficients(report), optima(report, brief=True), quality(report))),
    ]
    if report.metrics:
        blocks.append(metrics(report).to_text())
    return "\n\n".join([*blocks, *_joined(report.conclusions), *_joined(remarks(report))]) + "\n"


def markdown(report: FitReport) -> str:
    """Return all tables and sentences as GitHub reads them."""
    parts = ["# Scaling laws", f"{in_markdown(_heading(report))}.", *(table.to_markdown() for table in tables(report))]
    parts += ["\n".join(f"- {in_markdown(line)}" for line in [*report.conclusions, *remarks(report)])]
    return "\n\n".join(part for part in parts if part) + "\n"


def latex(report: FitReport) -> str:
    """Return the tables for a paper that loads booktabs, with sentences as comments."""
    lines = [_heading(report), *report.conclusions, *remarks(report)]
    comments = "\n".join(f"% {one_line(line)}" for line in ["Needs \\usepackage{booktabs}.", *lines])
    return "\n\n".join([comments, *(table.to_latex() for table in tables(report))]) + "\n"


def tables(report: FitReport) -> list[Table]:
    """Return all tables of a fit."""
    of_loss = [coefficients, optima, flatness, isoflop, behaviour, quality]
    return [make(report) for make in [*of_loss, *([metrics] if report.metrics else [])]]


def remarks(report: FitReport) -> list[str]:
    """Return warnings, and metrics that were not fitted with the reason, a line each."""
    lines = [f"not fitted: {', '.join(names)}: {why}" for why, names in _by_reason(report.not_fitted).items()]
    lines += [f"warning: {line}" for line in report.warnings]
    of_metrics = {name: "; ".join(metric.warnings) for name, metric in report.metrics.items()}
    return lines + [f"warning: {name}: {line}" for name, line in of_metrics.items() if line]


def coefficients(report: FitReport) -> Table:
    """Return the coefficients of the loss law with their bootstrap intervals; powers of C below them."""
    law = report.loss.coefficients
    rows = [[name, number(law[name].value, 5), interval(law[name].ci95)] for name in law if "_" not in name]
    powers = {
        "exponent_N": "N* ~ C^",
        "exponent_D": "D* ~ C^",
        "exponent_r": "r* ~ C^",
        "exponent_excess": "L* - E ~ C^",
    }
    rows += [[text, number(law[name].value, 4), interval(law[name].ci95)] for name, text in powers.items()]
    return Table(f"Loss law {_LAW}", ["", "value", "95 % interval"], rows, _of_bootstrap(report))


def optima(report: FitReport, *, brief: bool = False) -> Table:
    """Return the best run of each budget; the brief table leaves out intervals of N* and D*."""
    sizes = ["N*", "D*"] if brief else ["N*", "95 %", "D*", "95 %"]
    header = ["C", *sizes, "r* = D*/N*", "95 %", "text tokens", "hours", "L*", "95 %"]
    rows = []
    shown = spread(len(report.budgets), _MOST_BUDGETS if brief else len(report.budgets))
    for budget, best in ((report.budgets[index], report.loss.budgets[index]) for index in shown):
        text = best.r.number / report.options.frames_per_text_token
        cells = [cell for size in (best.N, best.D) for cell in _both(size)[: 1 if brief else 2]]
        hours = number(best.hours.value, 3)
        rows.append([f"{budget.C:.3g}", *cells, *_both(best.r), number(text, 3), hours, *_both(best.loss, 4)])
    ratio = report.loss.ratio
    notes = [f"r* = {ratio.ratio:g} ({ratio.text:g} text tokens per parameter) {_crossing(report)}."]
    return Table("Compute-optimal runs: parameters, frames, and hours of audio", header, rows, notes)


def _crossing(report: FitReport) -> str:
    """Return at which compute r* is the ratio asked for, with what is to be known of it."""
    ratio, budgets = report.loss.ratio, report.budgets
    if ratio.C is None:
        return str(ratio.problem)
    clauses = [f"at C = {number(ratio.C.value, 3)}"]
    if ratio.C.ci95 is not None:
        clauses.append(f"95 % {interval(ratio.C.ci95)}")
    if ratio.problem is not None:
        clauses.append(ratio.problem)
    above, below = ratio.C.number / budgets[-1].C, budgets[0].C / ratio.C.number
    if above > 1:
        clauses.append(f"{above:.3g} times the largest budget")
    if below > 1:
        clauses.append(f"1/{below:.3g} of the smallest budget")
    return ", ".join(clauses)


def flatness(report: FitReport) -> Table:
    """Return the curvature at the optimum on each axis, and the range of sizes that is as good as the optimum."""
    epsilon = report.options.epsilon
    header = ["C", "linear_N", "linear_D", "log", "N from", "to", "D from", "to", "decades", "95 %"]
    names = ("curvature_linear_N", "curvature_linear_D", "curvature_log", "N_lo", "N_hi", "D_lo", "D_hi")
    rows = [
        [f"{budget.C:.3g}", *(number(getattr(best, name).value, 3) for name in names), *_both(best.decades)]
        for budget, best in zip(report.budgets, report.loss.budgets, strict=True)
    ]
    relative = report.loss.relative_range
    ends = " to ".join(number(end.value, 3) for end in (relative.from_, relative.to))
    around = "" if relative.decades.ci95 is None else f", 95 % {interval(relative.decades.ci95)}"
    notes = [
        "Curvature is d2L/dN2 (linear_N), d2L/dD2 (linear_D), and d2L/d(ln N)2 (log), which is the same in ln D.",
        f"From and to: sizes whose loss is at most L* + {epsilon:g}. The range widens as L* - E shrinks.",
        f"At most {relative.epsilon:g} (L* - E) above L*: {ends} times N*, at every budget; "
        f"{number(relative.decades.value, 3)} decades{around}.",
    ]
    return Table("How flat the isoFLOPs are", header, rows, notes)


def isoflop(report: FitReport) -> Table:
    """Return minima of parabolas through each budget, which know nothing of the law."""
    rows = []
    for minimum in report.loss.isoflop:
        cells = [number(size, 3) for size in (minimum.N, minimum.D, minimum.r)]
        rows.append([f"{minimum.C:.3g}", str(minimum.n), *cells, minimum.problem or ""])
    notes = ["A parabola in ln N is biased where sizes span more than a decade: a check, no estimate."]
    return Table(
        "Minima of parabolas through the losses of each budget", ["C", "sizes", "N", "D", "r", "but"], rows, notes
    )


def behaviour(report: FitReport) -> Table:
    """Return whether the runs by themselves have optima, and are better with compute."""
    header = ["", "budgets with an optimum between their sizes", "steps of compute that improve the best"]
    counts = {"loss": report.loss.behaviour, **{name: column.isoflop for name, column in report.columns.items()}}
    rows = [
        [name, f"{count.interior} of {count.budgets}", f"{count.improved} of {count.steps}"]
        for name, count in counts.items()
    ]
    return Table("IsoFLOP behaviour, without a law", header, rows)


def quality(report: FitReport) -> Table:
    """Return how well each law describes the data, beside laws that know less."""
    header = [
        "",
        "points",
        "MRE",
        "held out",
        "skill: constant",
        "power of C",
        "starts agree",
        "converged",
        "on bounds",
    ]
    rows = []
    fits: dict[str, Quality] = {name: metric.quality for name, metric in report.metrics.items()}
    for name, fit in {"loss": report.loss.quality, **fits}.items():
        rows.append(
            [
                name,
                str(fit.n),
                *(_NONE if error is None else f"{100 * error:.2f} %" for error in (fit.mre_train, fit.mre_held_out)),
                *(_NONE if skill is None else f"{skill:.3f}" for skill in (fit.skill_constant, fit.skill_compute)),
                f"{100 * fit.agreement:.0f} %",
                "yes" if fit.converged else "no",
                ", ".join(fit.bounds_hit) or "none",
            ]
        )
    notes = ["MRE: mean relative error. Skill: 1 - MRE / that of a constant, or of a power law in C alone."]
    return Table("How well the laws fit", header, rows, notes)


def metrics(report: FitReport) -> Table:
    """Return what each metric reaches at the largest budget and in the limit, beside real speech."""
    largest = report.budgets[-1].C
    header = ["", f"M*({largest:.3g})", "95 %", "limit", "95 %", "real speech", "reached at C"]
    rows = []
    for name, metric in report.metrics.items():
        real = metric.real
        shown = _NONE if real is None else number(real.value, 4)
        if real is not None and real.band is not None:
            shown += f" {interval(real.band)}"
        reached = _reached(metric.reaches, largest)
        rows.append([name, *_both(metric.budgets[-1].metric, 4), *_both(metric.limit, 4), shown, reached])
    notes = ["Limits hold if the form of the law does.", *_units_of_metrics(report)]
    return Table("Metrics at the optimum", header, rows, notes)


def _reached(reach: Reach | None, largest: float) -> str:
    if reach is None:
        return _NONE
    if reach.C is None:
        return "never"
    if FARTHEST * largest < reach.C:
        return f"above {FARTHEST * largest:.3g}"
    return "any" if reach.C == 0 else number(reach.C, 3)


def spread(n: int, most: int) -> list[int]:
    """Return at most that many of n, evenly spread, with the first and the last."""
    return list(range(n)) if n <= most else [round(place * (n - 1) / (most - 1)) for place in range(most)]


def number(value: float | None, digits: int) -> str:
    """Return a number to so many significant digits; powers of ten for what is large or small."""
    return _NONE if value is None else f"{value:.{digits}g}"


def interval(ends: Sequence[float] | None) -> str:
    """Return an interval to four digits."""
    return _NONE if ends is None else f"[{ends[0]:.4g}, {ends[1]:.4g}]"


def _both(estimate: Estimate, digits: int = 3) -> list[str]:
    return [number(estimate.value, digits), interval(estimate.ci95)]


def _heading(report: FitReport) -> str:
    source, options = report.source, report.options
    seeds = "-".join(str(count) for count in dict.fromkeys(source.seeds))
    held_out = f", the largest {options.hold_out} held out" if options.hold_out else ""
    return (
        f"{source.name}: {source.n_runs} runs, {source.n_points} points of {seeds} seed(s), "
        f"{sum(budget.isoflop for budget in report.budgets)} budgets{held_out}"
    )


def _of_bootstrap(report: FitReport) -> list[str]:
    drawn = report.loss.bootstrap
    if drawn is None:
        return []
    return [f"{report.options.bootstrap:,} bootstrap fits, by {drawn.unit}: {drawn.why}."]


def _units_of_metrics(report: FitReport) -> list[str]:
    """Return what was drawn for the intervals of which metrics."""
    names: dict[str, list[str]] = {}
    for name, metric in report.metrics.items():
        if metric.bootstrap is not None:
            names.setdefault(metric.bootstrap.unit, []).append(name)
    return [f"Bootstrap by {unit}: {', '.join(of_unit)}." for unit, of_unit in names.items()]


def _by_reason(not_fitted: dict[str, str]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for name, why in not_fitted.items():
        reasons.setdefault(why, []).append(name)
    return reasons


def _joined(lines: Sequence[str]) -> list[str]:
    return ["\n".join(lines)] if lines else []
