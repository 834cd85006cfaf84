"""Tables of texts, for a terminal, for GitHub and for a paper: the same cells, escaped for each.

Tables of the pages, which sort, are in ``elements``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from slm_eval.base.terminal import visible

_MINUS = "\N{MINUS SIGN}"


class Strong(str):
    """A cell that stands out where a format can show it."""

    __slots__ = ()


@dataclass(frozen=True)
class Table:
    """Texts in rows, the first column a name, the others numbers.

    Attributes:
        caption: what it is, without a full stop.
        header: of each column.
        rows: cells; a ``Strong`` one is set in bold.
        notes: what is to be known of it, a sentence each.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def to_text(self) -> str:
        """For a terminal."""
        header, *rows = ([one_line(cell) for cell in row] for row in (self.header, *self.rows))
        return "\n".join([f"{one_line(self.caption)}.", grid(header, rows), *map(one_line, self.notes)])

    def to_markdown(self) -> str:
        """As GitHub reads it: caption, table, notes."""
        rule = ["---", *["---:"] * (len(self.header) - 1)]
        lines = [_markdown_cells(self.header), rule, *map(_markdown_cells, self.rows)]
        text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join([f"{in_markdown(self.caption)}.", text, *map(in_markdown, self.notes)])

    def to_latex(self) -> str:
        """A float for a paper that loads booktabs; caption and notes above the table, as booktabs advises."""
        caption = " ".join([f"{self.caption}.", *self.notes])
        return "\n".join(
            [
                r"\begin{table}",
                r"  \centering",
                rf"  \caption{{{in_latex(caption)}}}",
                rf"  \begin{{tabular}}{{l{'r' * (len(self.header) - 1)}}}",
                r"    \toprule",
                f"    {_latex_row(self.header)}",
                r"    \midrule",
                *(f"    {_latex_row(row)}" for row in self.rows),
                r"    \bottomrule",
                r"  \end{tabular}",
                r"\end{table}",
            ]
        )


def one_line(text: str) -> str:
    """Without what would end a line, reorder or hide the text around it."""
    return " ".join(visible(text).split())


def in_markdown(text: str) -> str:
    """Text that GitHub shows as it is: no markup, no HTML, no end of a cell."""
    text = one_line(text)
    return "".join(f"\\{each}" if each in "\\`*_|<>[]#" else each for each in text.replace("&", "&amp;"))


def in_code(text: str) -> str:
    """Text that Markdown shows as code: between more backticks than it holds in a row."""
    text = one_line(text)
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    return f"{fence} {text} {fence}" if len(fence) > 1 else f"`{text}`"


_LATEX = {
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    _MINUS: "$-$",
    "\N{EN DASH}": "--",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{each: f"\\{each}" for each in "#$%&_{}"},
}


def in_latex(text: str) -> str:
    """Text that LaTeX sets as it is. A bracket that begins a cell is kept from being an option of the line's end."""
    text = "".join(_LATEX.get(each, each) for each in one_line(text))
    return f"{{{text}}}" if text.startswith(("[", "*")) else text


def _latex_row(row: Sequence[str]) -> str:
    cells = [rf"\textbf{{{in_latex(cell)}}}" if isinstance(cell, Strong) else in_latex(cell) for cell in row]
    return " & ".join(cells) + r" \\"


def _markdown_cells(row: Sequence[str]) -> list[str]:
    return [f"**{in_markdown(cell)}**" if isinstance(cell, Strong) else in_markdown(cell) for cell in row]


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as needed; the first is aligned left, numbers right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(padded).rstrip()

    return "\n".join([line(header), *(line(row) for row in rows)])
