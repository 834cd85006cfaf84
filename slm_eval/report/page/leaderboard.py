"""leaderboard.html: one self-contained page, in the style of a run's report. Its tables sort by a click or a key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from slm_eval._version import __version__
from slm_eval.base.files import write_whole
from slm_eval.compare.leaderboard import Column as Metric
from slm_eval.compare.leaderboard import Leaderboard, Reference, Result
from slm_eval.compare.leaderboard.systems import System
from slm_eval.report.page import charts
from slm_eval.report.page.charts import Axis
from slm_eval.report.page.elements import Cell, Column, copyable, padded_axis, section, table
from slm_eval.report.page.markup import Markup, Node, tag
from slm_eval.report.page.shell import top_bar, whole_page
from slm_eval.report.text.leaderboard import (
    READING,
    around,
    basis,
    caption,
    families,
    is_best,
    leaders,
    order,
    ranks,
    remarks,
    sizes,
)
from slm_eval.report.text.numbers import NONE, direction, fixed, interval_text

_REAL = "real speech"


def write_leaderboard_page(boards: Sequence[Leaderboard], folder: Path) -> Path:
    """Write leaderboard.html into a folder, which is made where needed.

    Raises:
        SlmEvalError: it cannot be written.
    """
    path = folder / "leaderboard.html"
    write_whole(path, [page(boards)])
    return path


def page(boards: Sequence[Leaderboard]) -> str:
    """Return the page: for each signature the ranking, a table per family of metrics, and what is to be known of it."""
    sections: list[Node] = []
    links = []
    for index, board in enumerate(boards, start=1):
        suffix = f"-{index}" if len(boards) > 1 else ""
        which = f" of signature {index}" if len(boards) > 1 else ""
        sections += [_ranking(board, suffix, which), _metrics(board, suffix, which), _signatures(board, suffix, which)]
        links += [
            tag("a", f"{name}{which}", href=f"#{identifier}{suffix}")
            for identifier, name in (("ranking", "Ranking"), ("metrics", "All metrics"), ("signatures", "Signatures"))
        ]
    header = tag(
        "header",
        top_bar("slm-eval leaderboard"),
        tag("h1", "Leaderboard"),
        tag("nav", links, aria_label="Sections"),
    )
    return whole_page("slm-eval leaderboard", header, sections, __version__)


def _ranking(board: Leaderboard, suffix: str, which: str) -> Markup:
    """Return the systems by the key that orders them, each beside real speech on one scale."""
    metric = board.columns[board.sort]
    columns = [
        Column("system", numeric=False),
        Column(
            "#",
            "The rank, or the best and the worst that are possible; in bold what is shown to be better than all others",
        ),
        Column(board.sort, f"{metric.unit}, {direction(metric.higher_is_better)}"),
        Column("beside real speech", "Dot and line: the system. Bar: real speech", numeric=False),
        Column("95 % interval"),
        Column(basis([metric]), "That the number rests on"),
    ]
    axis = _axis(metric)
    rows = [_ranking_row(system, metric, axis) for system in board.systems]
    told = f"{metric.unit}, {direction(metric.higher_is_better)}"
    notes = [tag("li", line) for line in remarks(board)]
    return section(
        f"ranking{suffix}",
        "Ranking",
        f"Ranking{which}",
        (f"{order(board)}. {leaders(metric)}".strip(),),
        table(columns, rows, f"{board.sort} in {told}"),
        [tag("p", line, class_="note") for line in READING],
        [tag("h3", "What to know"), tag("ul", notes, class_="notes")] if notes else None,
    )


def _ranking_row(system: System, metric: Metric, axis: Axis) -> list[Cell]:
    result, places = metric.results.get(system.name), metric.digits
    name = Cell([tag("bdi", system.name), _about(system)], system.name)
    if result is None:
        return [name, Cell(NONE), Cell(NONE), Cell(metric.absent.get(system.name)), Cell(NONE), Cell(NONE)]
    label = f"{system.name}: {around(result, places)} {metric.unit}"
    real, real_ends = (metric.real.value, metric.real.ci95) if metric.real else (None, None)
    chart = charts.range_row(axis, result.value, result.ci95, real, real_ends, label)
    return [
        name,
        Cell(
            tag("strong", ranks(result)) if is_best(result) else ranks(result),
            None if result.rank is None else float(result.rank),
        ),
        Cell(fixed(result.value, places), result.value),
        Cell(chart),
        Cell(interval_text(result.ci95, places), None if result.ci95 is None else result.ci95[1] - result.ci95[0]),
        Cell(f"{result.n:,}", float(result.n)),
    ]


def _axis(metric: Metric) -> Axis:
    known: list[Result | Reference] = [*metric.results.values()]
    known += [metric.real] if metric.real else []
    ends = [end for result in known for end in (result.value, *(result.ci95 or ()))]
    return padded_axis(min(ends, default=0.0), max(ends, default=1.0))


def _about(system: System) -> Node:
    link = None if system.link is None else tag("a", "link", href=system.link, rel="noreferrer")
    if system.notes is None:
        return None if link is None else tag("small", link)
    return tag("small", tag("bdi", system.notes), [" (", link, ")"] if link else None)


def _metrics(board: Leaderboard, suffix: str, which: str) -> Markup:
    return section(
        f"metrics{suffix}", "All metrics", f"All metrics{which}", (), [_family(some, board) for some in families(board)]
    )


def _family(metrics: Sequence[Metric], board: Leaderboard) -> Markup:
    columns = [Column("system", numeric=False), *(Column(metric.key, metric.signature) for metric in metrics)]
    rows = [[Cell(tag("bdi", name), name), *(_number(metric, name) for metric in metrics)] for name in board.order]
    rows.append([Cell(tag("span", _REAL, class_="real name"), _REAL), *(_of_real(metric) for metric in metrics)])
    counts = [sizes(metric) for metric in metrics]
    what = basis(metrics)
    several = f"{', '.join(counts[:-1])} and {counts[-1]} {what}, in this order"
    note = f"The numbers rest on {f'{counts[0]} {what}' if len(set(counts)) == 1 else several}."
    return tag("div", table(columns, rows, caption(metrics)), tag("p", note, class_="note"))


def _number(metric: Metric, name: str) -> Cell:
    result = metric.results.get(name)
    if result is None:
        return Cell(tag("span", NONE, title=metric.absent.get(name)))
    rank = "no rank" if result.rank is None else f"# {ranks(result)}"
    places = metric.digits
    value = fixed(result.value, places)
    shown = tag("strong", value) if is_best(result) else value
    return Cell([shown, tag("small", f"{_half(around(result, places))}{rank}")], result.value)


def _of_real(metric: Metric) -> Cell:
    if metric.real is None:
        return Cell(NONE)
    places = metric.digits
    shown = [fixed(metric.real.value, places), tag("small", _half(around(metric.real, places)).rstrip(" ·"))]
    return Cell(tag("span", shown, class_="real"), metric.real.value)


def _half(text: str) -> str:
    """Return what follows the value in "value ± half", for the line below it."""
    return f"± {text.partition(' ± ')[2]} · " if " ± " in text else ""


def _signatures(board: Leaderboard, suffix: str, which: str) -> Markup:
    text = "\n".join(f"{key}  {column.signature}" for key, column in board.columns.items())
    return section(
        f"signatures{suffix}",
        "Signatures",
        f"Signatures{which}",
        ("Numbers of other signatures belong in another table.",),
        copyable("Signatures", f"text-signatures{suffix}", text),
    )
