"""What ``study.py`` measured, as the page docs/pjsd-study.md: in short, beside what was before, and case by case."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from textwrap import wrap
from typing import Any

import numpy as np

ORDERS = (1, 2, 3, 4, 5)
LABELS = {"both": "", "real": ", generated ones not named", "none": ", not named"}
SIZES = {2_000: "2 thousand", 20_000: "20 thousand", 200_000: "200 thousand"}
OTHER_SIZES = "other sizes"

Cell = dict[str, Any]  # what was measured of one case and n
Results = dict[str, dict[str, Any]]  # of each case, by name
Cases = Sequence[Any]  # study.Case

HEAD = """\
# pJSD: every case of the study

How the interval, correction and test of [pJSD](metrics/pjsd.md) hold in worlds whose truth is known:
`python benchmarks/statistics/study.py`, printed as this page by `--table`. Floors have [a study of their
own](floor-study.md). `benchmarks/statistics/worlds.py` describes the worlds. "phones": of the generated / the real
side. "shift": the share of each probability that generated speech takes from another chain; "replaced": the share of
its phones that any phone stands in the place of. A share of 5 % has a standard error of
{errors}.

Measured:
{measured}.
{since}"""

# What changed after a commit whose rows are still shown.
SINCE = {
    "7baa7f2": """\
Since 7baa7f2 `corrected` rests on another estimate of floors, and is withheld below a coverage of 0.8; p is withheld
where single clips with over a tenth more speech face larger speakers.
"""
}

INTERVALS = """\
| interval, phones | cells | coverage, mean | 5 to 95 % of cells | lowest | sd over the true sd, median (5 to 95 %) |
|---|---|---|---|---|---|"""

NO_DIFFERENCE = (
    "`corrected` where nothing differs ({cells} cells): its mean is {low:+.1f} to {high:+.1f} of its sds from 0, "
    "{middle:+.1f} in the median."
)
SHIFTED = (
    "Where a shift makes a truth of more than two of its sds ({cells} cells): its mean is {of_corrected}; that of the "
    "value {of_value}."
)

BEFORE_AND_AFTER = """\
## Before and after

20 thousand phones a side; before: commit 9594f6d, 60 or 100 replicates
(`benchmarks/statistics/results/study-before.json`). "sd": over the true one, no shift. "alarms": no shift; before,
value > floor + 2 floor_sd, now p <= 5 %. "corrected": shift 0.1.

| world | | sd, n=1 to 5 | alarms, n=1 to 5 | corrected, n=3, 4, 5 (truth) |
|---|---|---|---|---|"""


def page(cases: Cases, results: Results, before: Results) -> str:
    """Return all of it as Markdown."""
    done = [case for case in cases if case.name in results]
    replicates = sorted({results[case.name]["replicates"] for case in done}, reverse=True)
    errors = ", ".join(f"{100 * np.sqrt(0.05 * 0.95 / each):.1f} points with {each} replicates" for each in replicates)
    commits = {results[case.name]["commit"] for case in done}
    since = "".join(text for commit, text in SINCE.items() if commit in commits)
    head = HEAD.format(errors=errors, measured=_measured(done, results), since=since)
    parts = [head, in_short(done, results), before_and_after(done, results, before)]
    parts += [f"## {title}\n\n{_cells(done, results, cell)}" for title, cell in CELLS.items()]
    return "\n".join(parts)


def _measured(cases: Cases, results: Results) -> str:
    """Return how often and at which commits the cases were measured; rows show the mark of their commit."""
    found = Counter((results[case.name]["replicates"], results[case.name]["commit"]) for case in cases)
    marks = _marks(results)
    return ";\n".join(
        f"{number} cases{marks[commit]}, {replicates} replicates, at commit {commit}"
        for (replicates, commit), number in found.items()
    )


def _marks(results: Results) -> dict[str, str]:
    """Return a mark for each commit: none for that of most cases, then one star more each."""
    commits = Counter(case["commit"] for case in results.values())
    return {commit: r"\*" * at for at, (commit, _) in enumerate(commits.most_common())}


# ---- in short ----


def in_short(cases: Cases, results: Results) -> str:
    """Return what the cells of a size have in common, where all speakers are named."""
    named = [case for case in cases if case.labels == "both"]
    lines = [
        "## In short",
        "",
        "Cells (a case and an n) where all speakers are named and at most half is withheld.",
        "",
    ]
    lines.append(INTERVALS)
    for size, of_size in _by_size(named):
        cells = [cell for case in of_size for cell in _of(results, case) if cell["withheld"] <= 0.5]
        if cells:
            coverage, ratio = (np.array([cell[key] for cell in cells]) for key in ("coverage", "sd_ratio"))
            low, middle, high = np.quantile(ratio, (0.05, 0.5, 0.95))
            ends = np.quantile(coverage, (0.05, 0.95))
            row = (
                f"{len(cells)}",
                _percent(coverage.mean(), 1),
                f"{_percent(ends[0])} to {_percent(ends[1])}",
                _percent(coverage.min()),
                f"{middle:.2f} ({low:.2f} to {high:.2f})",
            )
            lines.append(f"| {size} | {' | '.join(row)} |")
    lines += ["", "| p <= 5 %, phones | nothing differs: tests, share | cells | " + " | ".join(_finds()) + " |"]
    lines.append("|---|---|---|" + "---|" * len(ORDERS))
    for size, of_size in _by_size([case for case in named if not case.errors]):
        tests, false, span = _alarms([case for case in of_size if not case.shift], results)
        if tests:
            power = [_share([case for case in of_size if case.shift], results, n) for n in ORDERS]
            lines.append(f"| {size} | {tests:,}: {_percent(false / tests, 1)} | {span} | {' | '.join(power)} |")
    return "\n".join([*lines, "", *wrap(" ".join(_corrections(named, results)), 120), ""])


def _finds() -> Iterator[str]:
    return (f"shift of 0.1, n={n}" for n in ORDERS)


def _alarms(cases: Cases, results: Results) -> tuple[int, float, str]:
    """Return how many tests there were, how many found a difference, and the range of their share in cells."""
    cells = [
        (cell, results[case.name]["replicates"] * (1 - cell["p_withheld"]))
        for case in cases
        for cell in _of(results, case)
        if cell["alarms"] is not None
    ]
    shares = [cell["alarms"] for cell, _ in cells]
    span = f"{_percent(min(shares))} to {_percent(max(shares))}" if cells else ""
    return round(sum(tests for _, tests in cells)), sum(cell["alarms"] * tests for cell, tests in cells), span


def _share(cases: Cases, results: Results, n: int) -> str:
    shares = [cell["alarms"] for case in cases if (cell := _cell(results, case, n))["alarms"] is not None]
    return _percent(np.mean(shares)) if shares else ""


def _corrections(cases: Cases, results: Results) -> list[str]:
    cells = [
        (case, cell)
        for case in cases
        for cell in _of(results, case)
        if cell["corrected_withheld"] <= 0.5 and cell["corrected_sd"]
    ]
    none = np.array([cell["corrected"] / cell["corrected_sd"] for _, cell in cells if not cell["truth"]])
    shifted = [cell for case, cell in cells if case.shift and cell["truth"] > 2 * cell["corrected_sd"]]
    lines = []
    if none.size:
        spread = {"low": none.min(), "high": none.max(), "middle": np.median(none)}
        lines.append(NO_DIFFERENCE.format(cells=none.size, **spread))
    if shifted:
        shares = {key: [cell[key] / cell["truth"] for cell in shifted] for key in ("corrected", "value")}
        words = {
            f"of_{key}": f"{min(of):.2f} to {max(of):.2f} of the truth, {np.median(of):.2f} in the median"
            for key, of in shares.items()
        }
        lines.append(SHIFTED.format(cells=len(shifted), **words))
    return lines


def _percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"


def _by_size(cases: Cases) -> Iterator[tuple[str, list[Any]]]:
    """Cases of equal sides of a size, then those of any other sizes."""
    for size, words in SIZES.items():
        yield words, [case for case in cases if set(case.sizes) == {size}]
    yield OTHER_SIZES, [case for case in cases if len(set(case.sizes)) > 1 or case.sizes[0] not in SIZES]


def _of(results: Results, case: Any) -> list[Cell]:
    return [_cell(results, case, n) for n in ORDERS]


def _cell(results: Results, case: Any, n: int) -> Cell:
    cell: Cell = results[case.name]["results"][str(n)]
    return cell


# ---- before and after ----


def before_and_after(cases: Cases, results: Results, before: Results) -> str:
    """Return the sds, alarms and corrections of both, of worlds that were measured before."""
    lines = [BEFORE_AND_AFTER]
    for case in cases:
        if case.name in before and not case.shift and case.labels == "both":
            shifted = next(each for each in cases if each == type(case)(case.world, case.sizes, 0.1))
            for name, of, alarms in (("before", before, "beyond_floor"), ("now", results, "alarms")):
                sds = ", ".join(f"{cell['sd_ratio']:.2f}" for cell in _of(of, case))
                shares = ", ".join(f"{100 * cell[alarms]:.0f}" for cell in _of(of, case))
                lines.append(
                    f"| {case.world} | {name} | {sds} | {shares} % | {_corrected_of(of, shifted, name == 'now')} |"
                )
    return "\n".join([*lines, ""])


def _corrected_of(results: Results, case: Any, with_truth: bool) -> str:
    if case.name not in results:
        return "not measured"
    cells = [_cell(results, case, n) for n in (3, 4, 5)]
    found = ", ".join("withheld" if cell["corrected"] is None else f"{cell['corrected']:.3f}" for cell in cells)
    truths = ", ".join(f"{cell['truth']:.3f}" for cell in cells)
    return f"{found} ({truths})" if with_truth else found


# ---- cells ----


def _cells(cases: Cases, results: Results, cell: Callable[[Cell], str]) -> str:
    """Return a row per case, a cell per n."""
    marks = _marks(results)
    lines = ["| phones | world | shift | " + " | ".join(f"n={n}" for n in ORDERS) + " |"]
    lines.append("|" + "---|" * (3 + len(ORDERS)))
    for case in cases:
        sizes = " / ".join(f"{size:,}" for size in dict.fromkeys(case.sizes))
        differs = f"{case.errors:g} replaced" if case.errors else f"{case.shift:g}"
        cells = " | ".join(cell(_cell(results, case, n)) for n in ORDERS)
        mark = marks[results[case.name]["commit"]]
        lines.append(f"| {sizes} | {case.world + LABELS[case.labels]}{mark} | {differs} | {cells} |")
    return "\n".join([*lines, ""])


def _interval_cell(of: Cell) -> str:
    if of["coverage"] is None:
        return "withheld"
    withheld = f", {_percent(of['withheld'])} withheld" if of["withheld"] else ""
    return f"{_percent(of['coverage'])} ({of['sd_ratio']:.2f}){withheld}"


def _corrected_cell(of: Cell) -> str:
    if of["corrected_sd"] is None:
        return "none"
    return f"{of['corrected']:.4f} ± {of['corrected_sd']:.4f} ({of['truth']:.4f})"


def _alarm_cell(of: Cell) -> str:
    beyond = "" if of["beyond_floor"] is None else f" ({_percent(of['beyond_floor'])})"
    return ("none" if of["alarms"] is None else _percent(of["alarms"])) + beyond


CELLS = {
    "Interval: coverage (sd over the true sd)": _interval_cell,
    "Corrected: mean ± sd (truth)": _corrected_cell,
    "Test of one source: p <= 5 % (value > floor + 2 floor_sd, for comparison)": _alarm_cell,
}
