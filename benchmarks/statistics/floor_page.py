"""The page of the study of floors, docs/floor-study.md, from what ``floor_study.py`` measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from study import ORDERS
from study import WORLDS as SEEN

REAL_SPEECH = "real speech"
# Cells of fewer floors say nothing of a mean.
MIN_STATED = 10
Cases = Sequence[Any]  # of ``floor_study.Case``: world, sizes and name

HEAD = """\
# pJSD: every case of the study of floors

How the floor of [pJSD](metrics/pjsd.md#the-floor) compares with what fresh samples of one source score:
`python benchmarks/statistics/floor_study.py`, printed as this page by `--table`. {replicates} corpora of a case,
{large} at 200 thousand phones; the truth is the mean over all pairs of them. `worlds.py`, beside it, describes the
worlds. "Unseen" are those in which nothing was chosen. "before": carried on along a line from splits of the side, at
commit {before} (`benchmarks/statistics/results/floor-before.json`). A cell is a case and an n for which at least
{least} corpora have a floor.

Measured at commit {commit}.
"""
GROUPS = {
    "2,000 a side, seen": "2 thousand",
    "2,000 a side, unseen": "2 thousand, unseen worlds",
    "20,000 a side, seen": "20 thousand",
    "20,000 a side, unseen": "20 thousand, unseen worlds",
    "200,000 a side, seen": "200 thousand",
    "200,000 a side, unseen": "200 thousand, unseen worlds",
    "uneven sizes, seen": "1:3, 1:10, 1.2:1, 1.4:1",
    "uneven sizes, unseen": "the same, unseen world",
    REAL_SPEECH: "real speech, 30, 60, 120 clips",
}


def page(cases: Cases, results: dict[str, Any], before: dict[str, Any]) -> str:
    """Return all that was measured, as Markdown.

    Args:
        cases: all there are, in the order of the rows.
        results, before: name of a case -> what was measured of it, now and before.
    """
    commits = {"commit": results, "before": before}
    head = HEAD.format(
        least=MIN_STATED,
        replicates=max(case["replicates"] for case in results.values()),
        large=min(case["replicates"] for case in results.values()),
        **{key: ", ".join(sorted({case["commit"] for case in of.values()})) for key, of in commits.items()},
    )
    title = "## Error in nats (in sds that the floor states ± its standard error; floor_sd over the true sd of a score)"
    return f"{head}\n{summary(cases, results, before)}\n\n{title}\n\n{table(cases, results)}\n"


def summary(cases: Cases, results: dict[str, Any], before: dict[str, Any]) -> str:
    """Return Markdown: a row per group of cases."""
    lines = [
        "| phones a side | cells | mean error below half of floor_sd (before) | largest, of floor_sd (before) "
        "| root mean square, of floor_sd (of its standard errors) | largest, in nats "
        "| floor_sd over the true sd of a score, median (5 to 95 % of cells) |",
        "|---|---|---|---|---|---|---|",
    ]
    now, then = _groups(cases, results), _groups(cases, before)
    for group, label in GROUPS.items():
        if group in now:
            lines.append(f"| {label} | {_summary_cells(now[group], then.get(group, []))} |")
    return "\n".join(lines)


def _groups(cases: Cases, results: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the cells of each group."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for case in cases:
        if case.name in results:
            cells = [cell for cell in results[case.name]["results"].values() if "error" in cell]
            groups.setdefault(_group(case), []).extend(cells)
    return {group: cells for group, cells in groups.items() if cells}


def _group(case: Any) -> str:
    if case.world == REAL_SPEECH:
        return REAL_SPEECH
    kind = "seen" if case.world in SEEN else "unseen"
    if case.sizes[0] != case.sizes[1]:
        return f"uneven sizes, {kind}"
    return f"{case.sizes[0]:,} a side, {kind}"


def _summary_cells(cells: list[dict[str, Any]], before: list[dict[str, Any]]) -> str:
    error, se, sd, true_sd = (
        np.array([cell[key] for cell in cells]) for key in ("error", "error_se", "floor_sd", "sd")
    )
    ratio, ratio_se = np.abs(error) / sd, se / sd
    old = np.array([abs(cell["error"]) / cell["floor_sd"] for cell in before])
    worst = int(np.argmax(ratio))
    low, middle, high = np.quantile(sd / true_sd, (0.05, 0.5, 0.95))
    return " | ".join(
        (
            f"{len(cells)}",
            f"{_percent(np.mean(ratio < 0.5))} ({_percent(np.mean(old < 0.5)) if before else 'not measured'})",
            f"{ratio[worst]:.2f} ± {ratio_se[worst]:.2f} ({f'{old.max():.2f}' if before else 'not measured'})",
            f"{math.sqrt(np.mean(ratio**2)):.2f} ({math.sqrt(np.mean(ratio_se**2)):.2f})",
            f"{np.abs(error).max():.4f}",
            f"{middle:.2f} ({low:.2f} to {high:.2f})",
        )
    )


def _percent(share: Any) -> str:
    return f"{100 * share:.0f} %"


def table(cases: Cases, results: dict[str, Any]) -> str:
    """Return Markdown: a row per case, a cell per n."""
    lines = ["| phones | world | " + " | ".join(f"n={n}" for n in ORDERS) + " |", "|" + "---|" * (2 + len(ORDERS))]
    for case in cases:
        if case.name in results:
            cells = " | ".join(_cell(results[case.name]["results"][str(n)]) for n in ORDERS)
            sizes = " / ".join(f"{size:,}" for size in dict.fromkeys(case.sizes))
            unit = " clips" if case.world == REAL_SPEECH else ""
            lines.append(f"| {sizes}{unit} | {case.world} | {cells} |")
    return "\n".join(lines)


def _cell(of: dict[str, Any]) -> str:
    if "error" not in of:
        return "withheld"
    sd = of["floor_sd"]
    ratio = f"{of['error'] / sd:+.2f} ± {of['error_se'] / sd:.2f}; {sd / of['sd']:.2f}"
    return f"{of['error']:+.4f} ({ratio})" + (f", {_percent(1 - of['stated'])} withheld" if of["stated"] < 1 else "")
