"""What the sections of a report are made of: headings with their reading, tables that sort, numbers as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slm_eval.divergence.estimators import LN2
from slm_eval.report.page import charts
from slm_eval.report.page.charts import Axis, Interval
from slm_eval.report.page.markup import Markup, Node, tag
from slm_eval.report.text.numbers import NONE, fixed, signed
from slm_eval.run.finished import SIDES


@dataclass(frozen=True)
class Column:
    """Of a table: its heading, what it means, and whether it holds numbers."""

    name: str
    title: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Cell:
    """Of a table: what is shown, and the number that sorts it."""

    shown: Node
    value: float | str | None = None


def section(identifier: str, name: str, heading: str, sentences: Sequence[str], *body: Node) -> Markup:
    """Return a part of the page with its reading.

    Args:
        identifier: its anchor.
        name: a word or two for the navigation.
        heading: what it is about.
        sentences: what its numbers say; empty ones are left out.
        body: charts and tables.
    """
    return tag(
        "section",
        tag("h2", heading),
        [tag("p", sentence, class_="reading") for sentence in sentences if sentence],
        body,
        id=identifier,
        aria_label=name,
    )


def table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], caption: str, *, sortable: bool = True) -> Markup:
    """Return a table in a frame that scrolls by itself; headings are buttons that sort it where there is need."""
    sortable = sortable and len(rows) > 1

    def head(column: Column) -> Markup:
        inner = tag("button", column.name, type="button", title=column.title or None) if sortable else column.name
        return tag(
            "th",
            inner,
            scope="col",
            class_="number" if column.numeric else None,
            aria_sort="none" if sortable else None,
            title=None if sortable else column.title or None,
        )

    def body(row: Sequence[Cell]) -> Markup:
        cells: list[Markup] = []
        for column, cell in zip(columns, row, strict=True):
            value = f"{cell.value!r}" if isinstance(cell.value, float) else cell.value
            cells.append(
                tag(
                    "td" if cells else "th",
                    cell.shown,
                    class_="number" if column.numeric else None,
                    data_value=value,
                    scope=None if cells else "row",
                )
            )
        return tag("tr", cells)

    frame = tag(
        "div",
        tag(
            "table",
            tag("thead", tag("tr", map(head, columns))),
            tag("tbody", map(body, rows)),
            aria_label=caption,
        ),
        class_="scroll",
        tabindex=0,
        role="region",
        aria_label=caption,
    )
    # Not a caption element: that would scroll away with a wide table.
    return tag("div", tag("p", caption, class_="caption", aria_hidden="true"), frame)


def copyable(heading: str, identifier: str, text: str) -> Markup:
    """Return text with a heading and a button that copies it."""
    return tag(
        "div",
        tag("h3", heading),
        tag("button", f"Copy {heading.lower()}", type="button", data_copy=identifier, hidden=True),
        tag("pre", text, id=identifier, tabindex=0, aria_label=heading),
        class_="copyable",
    )


def distribution(name: str, unit: str, generated: np.ndarray, real: np.ndarray) -> Markup:
    means = [
        f"{side} {scores.mean():.3g}" for side, scores in zip(SIDES, (generated, real), strict=True) if scores.size
    ]
    label = f"Distribution of {name}, mean {', '.join(means)}"
    return tag(
        "figure",
        tag("figcaption", tag("strong", name), f" in {unit}" if unit else None),
        charts.histogram(generated, real, label),
    )


def pair(interval: Sequence[float] | None) -> Interval | None:
    return None if interval is None else (float(interval[0]), float(interval[1]))


def number_cell(value: float | None, digits: int, *, sign: bool = False) -> Cell:
    if value is None:
        return Cell(NONE)
    return Cell(signed(value, digits) if sign else fixed(value, digits), float(value))


def ceiling(unit: str) -> float:
    return LN2 if unit == "nats" else 1.0


def padded_axis(low: float, high: float) -> Axis:
    # Ends that differ by rounding alone are one value: there are no round numbers between them.
    size = max(abs(low), abs(high), 1.0)
    room = 0.1 * (high - low if high - low > 1e-9 * size else size)
    return Axis(*charts.nice_range(low - room, high + room))
