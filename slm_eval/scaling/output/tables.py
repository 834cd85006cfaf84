"""What a fit found out as tables: for a terminal, table.md and table.tex."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slm_eval.base.tables import Table, in_markdown, one_line
from slm_eval.scaling.fitting.reach import FARTHEST

Report = dict[str, Any]
_NONE = "-"
_MOST_BUDGETS = 12  # on a terminal; the files have all
_LAW = "L = E + (A/N^alpha + B/D^beta)^gamma"


def render(report: Report) -> str:
    """For a terminal: the law, its optima, metrics, and what is to be known of them."""
    blocks = [
        _heading(report),
        *(each.to_text() for each in (coefficients(report), optima(report, brief=True), quality(report))),
    ]
    if report["metrics"]:
        blocks.append(metrics(report).to_text())
    return "\n\n".join([*blocks, *_joined(report["conclusions"]), *_joined(remarks(report))]) + "\n"


def markdown(report: Report) -> str:
    """As GitHub reads it."""
    parts = ["# Scaling laws", f"{in_markdown(_heading(report))}.", *(each.to_markdown() for each in tables(report))]
    parts += ["\n".join(f"- {in_markdown(line)}" for line in [*report["conclusions"], *remarks(report)])]
    return "\n\n".join(each for each in parts if each) + "\n"


def latex(report: Report) -> str:
    """For a paper that loads booktabs; sentences as comments."""
    lines = [_heading(report), *report["conclusions"], *remarks(report)]
    comments = "\n".join(f"% {one_line(line)}" for line in ["Needs \\usepackage{booktabs}.", *lines])
    return "\n\n".join([comments, *(each.to_latex() for each in tables(report))]) + "\n"


def tables(report: Report) -> list[Table]:
    """All of them."""
    found = [
        coefficients(report),
        optima(report),
        flatness(report),
        isoflop(report),
        behaviour(report),
        quality(report),
    ]
    return [*found, *([metrics(report)] if report["metrics"] else [])]


def remarks(report: Report) -> list[str]:
    """Warnings, and metrics that were not fitted with the reason, a line each."""
    lines = [f"not fitted: {', '.join(names)}: {why}" for why, names in _by_reason(report["not_fitted"]).items()]
    lines += [f"warning: {line}" for line in report["warnings"]]
    said = {name: "; ".join(metric["warnings"]) for name, metric in report["metrics"].items()}
    return lines + [f"warning: {name}: {line}" for name, line in said.items() if line]


def coefficients(report: Report) -> Table:
    """Of the loss law and, one after the other, their bootstrap intervals; powers of C below them."""
    law = report["loss"]["coefficients"]
    rows = [[name, number(law[name]["value"], 5), interval(law[name]["ci95"])] for name in law if "_" not in name]
    powers = {
        "exponent_N": "N* ~ C^",
        "exponent_D": "D* ~ C^",
        "exponent_r": "r* ~ C^",
        "exponent_excess": "L* - E ~ C^",
    }
    rows += [[text, number(law[name]["value"], 4), interval(law[name]["ci95"])] for name, text in powers.items()]
    return Table(f"Loss law {_LAW}", ["", "value", "95 % interval"], rows, _of_bootstrap(report))


def optima(report: Report, *, brief: bool = False) -> Table:
    """The best run of each budget; the brief one has no intervals of N* and D*, which are those of r* once more."""
    sizes = ["N*", "D*"] if brief else ["N*", "95 %", "D*", "95 %"]
    header = ["C", *sizes, "r* = D*/N*", "95 %", "text tokens", "hours", "L*", "95 %"]
    rows = []
    shown = spread(len(report["budgets"]), _MOST_BUDGETS if brief else len(report["budgets"]))
    for budget, best in ((report["budgets"][at], report["loss"]["budgets"][at]) for at in shown):
        text = best["r"]["value"] / report["options"]["frames_per_text_token"]
        cells = [cell for name in ("N", "D") for cell in _both(best[name])[: 1 if brief else 2]]
        hours = number(best["hours"]["value"], 3)
        rows.append([f"{budget['C']:.3g}", *cells, *_both(best["r"]), number(text, 3), hours, *_both(best["loss"], 4)])
    ratio = report["loss"]["ratio"]
    notes = [f"r* = {ratio['ratio']:g} ({ratio['text']:g} text tokens per parameter) {_crossing(report)}."]
    return Table("Compute-optimal runs: parameters, frames, and hours of audio", header, rows, notes)


def _crossing(report: Report) -> str:
    """Return at which compute r* is the ratio asked for, with what is to be known of it."""
    ratio, budgets = report["loss"]["ratio"], report["budgets"]
    if ratio["C"] is None:
        return str(ratio["problem"])
    clauses = [f"at C = {number(ratio['C']['value'], 3)}"]
    if ratio["C"]["ci95"] is not None:
        clauses.append(f"95 % {interval(ratio['C']['ci95'])}")
    if ratio["problem"] is not None:
        clauses.append(ratio["problem"])
    above, below = ratio["C"]["value"] / budgets[-1]["C"], budgets[0]["C"] / ratio["C"]["value"]
    if above > 1:
        clauses.append(f"{above:.3g} times the largest budget")
    if below > 1:
        clauses.append(f"1/{below:.3g} of the smallest budget")
    return ", ".join(clauses)


def flatness(report: Report) -> Table:
    """Curvature at the optimum on each axis, and the range of sizes that is as good as the optimum."""
    epsilon = report["options"]["epsilon"]
    header = ["C", "linear_N", "linear_D", "log", "N from", "to", "D from", "to", "decades", "95 %"]
    names = ("curvature_linear_N", "curvature_linear_D", "curvature_log", "N_lo", "N_hi", "D_lo", "D_hi")
    rows = [
        [f"{budget['C']:.3g}", *(number(best[name]["value"], 3) for name in names), *_both(best["decades"])]
        for budget, best in zip(report["budgets"], report["loss"]["budgets"], strict=True)
    ]
    relative = report["loss"]["relative_range"]
    ends = " to ".join(number(relative[end]["value"], 3) for end in ("from", "to"))
    around = "" if relative["decades"]["ci95"] is None else f", 95 % {interval(relative['decades']['ci95'])}"
    notes = [
        "Curvature is d2L/dN2 (linear_N), d2L/dD2 (linear_D), and d2L/d(ln N)2 (log), which is the same in ln D.",
        f"From and to: sizes whose loss is at most L* + {epsilon:g}. The range widens as L* - E shrinks.",
        f"At most {relative['epsilon']:g} (L* - E) above L*: {ends} times N*, at every budget; "
        f"{number(relative['decades']['value'], 3)} decades{around}.",
    ]
    return Table("How flat the isoFLOPs are", header, rows, notes)


def isoflop(report: Report) -> Table:
    """Minima of parabolas through each budget, which know nothing of the law."""
    rows = []
    for each in report["loss"]["isoflop"]:
        cells = [number(each[name], 3) for name in ("N", "D", "r")]
        rows.append([f"{each['C']:.3g}", str(each["n"]), *cells, each["problem"] or ""])
    notes = ["A parabola in ln N is biased where sizes span more than a decade: a check, no estimate."]
    return Table(
        "Minima of parabolas through the losses of each budget", ["C", "sizes", "N", "D", "r", "but"], rows, notes
    )


def behaviour(report: Report) -> Table:
    """Whether the runs by themselves have optima, and are better with compute."""
    header = ["", "budgets with an optimum between their sizes", "steps of compute that improve the best"]
    found = {"loss": report["loss"]["behaviour"], **{k: each["isoflop"] for k, each in report["columns"].items()}}
    rows = [
        [name, f"{each['interior']} of {each['budgets']}", f"{each['improved']} of {each['steps']}"]
        for name, each in found.items()
    ]
    return Table("IsoFLOP behaviour, without a law", header, rows)


def quality(report: Report) -> Table:
    """How well each law describes the data, beside laws that know less."""
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
    for name, each in {"loss": report["loss"], **report["metrics"]}.items():
        q = each["quality"]
        shares = [_NONE if q[key] is None else f"{100 * q[key]:.2f} %" for key in ("mre_train", "mre_held_out")]
        skills = [_NONE if q[key] is None else f"{q[key]:.3f}" for key in ("skill_constant", "skill_compute")]
        agree = _NONE if q["agreement"] is None else f"{100 * q['agreement']:.0f} %"
        bounds = ", ".join(q["bounds_hit"]) or "none"
        rows.append([name, str(q["n"]), *shares, *skills, agree, "yes" if q["converged"] else "no", bounds])
    notes = ["MRE: mean relative error. Skill: 1 - MRE / that of a constant, or of a power law in C alone."]
    return Table("How well the laws fit", header, rows, notes)


def metrics(report: Report) -> Table:
    """What each metric reaches at the largest budget and in the limit, beside real speech."""
    largest = report["budgets"][-1]["C"]
    header = ["", f"M*({largest:.3g})", "95 %", "limit", "95 %", "real speech", "reached at C"]
    rows = []
    for name, each in report["metrics"].items():
        real = each["real"]
        shown = _NONE if real is None else number(real["value"], 4)
        if real is not None and real["band"] is not None:
            shown += f" {interval(real['band'])}"
        reached = _reached(each["reaches"], largest)
        rows.append([name, *_both(each["budgets"][-1]["metric"], 4), *_both(each["limit"], 4), shown, reached])
    notes = ["Limits hold if the form of the law does.", *_units_of_metrics(report)]
    return Table("Metrics at the optimum", header, rows, notes)


def _reached(found: Report | None, largest: float) -> str:
    if found is None:
        return _NONE
    if found["C"] is None:
        return "never"
    if found["C"] > FARTHEST * largest:
        return f"above {FARTHEST * largest:.3g}"
    return "any" if found["C"] == 0 else number(found["C"], 3)


def spread(n: int, most: int) -> list[int]:
    """At most that many of n, evenly spread, with the first and the last."""
    return list(range(n)) if n <= most else [round(at * (n - 1) / (most - 1)) for at in range(most)]


def number(value: float | None, digits: int) -> str:
    """Significant digits; powers of ten for what is large or small."""
    return _NONE if value is None else f"{value:.{digits}g}"


def interval(ends: Sequence[float] | None) -> str:
    return _NONE if ends is None else f"[{ends[0]:.4g}, {ends[1]:.4g}]"


def _both(estimate: dict[str, Any], digits: int = 3) -> list[str]:
    return [number(estimate["value"], digits), interval(estimate["ci95"])]


def _heading(report: Report) -> str:
    source, options = report["source"], report["options"]
    seeds = "-".join(str(each) for each in dict.fromkeys(source["seeds"]))
    held_out = f", the largest {options['hold_out']} held out" if options["hold_out"] else ""
    return (
        f"{source['name']}: {source['n_runs']} runs, {source['n_points']} points of {seeds} seed(s), "
        f"{sum(each['isoflop'] for each in report['budgets'])} budgets{held_out}"
    )


def _of_bootstrap(report: Report) -> list[str]:
    drawn = report["loss"]["bootstrap"]
    if drawn is None:
        return []
    return [f"{report['options']['bootstrap']:,} bootstrap fits, by {drawn['unit']}: {drawn['why']}."]


def _units_of_metrics(report: Report) -> list[str]:
    """Return what was drawn for the intervals of which metrics."""
    names: dict[str, list[str]] = {}
    for name, metric in report["metrics"].items():
        if metric["bootstrap"] is not None:
            names.setdefault(metric["bootstrap"]["unit"], []).append(name)
    return [f"Bootstrap by {unit}: {', '.join(of_unit)}." for unit, of_unit in names.items()]


def _by_reason(not_fitted: dict[str, str]) -> dict[str, list[str]]:
    reasons: dict[str, list[str]] = {}
    for name, why in not_fitted.items():
        reasons.setdefault(why, []).append(name)
    return reasons


def _joined(lines: Sequence[str]) -> list[str]:
    return ["\n".join(lines)] if lines else []
