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
        """Return the table for a terminal: caption, grid, notes."""
        header, *rows = ([one_line(cell) for cell in row] for row in (self.header, *self.rows))
        return "\n".join([f"{one_line(self.caption)}.", grid(header, rows), *map(one_line, self.notes)])

    def to_markdown(self) -> str:
        """Return the table as GitHub reads it: caption, table, notes."""
        rule = ["---", *["---:"] * (len(self.header) - 1)]
        lines = [_markdown_cells(self.header), rule, *map(_markdown_cells, self.rows)]
        text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join([f"{in_markdown(self.caption)}.", text, *map(in_markdown, self.notes)])

    def to_latex(self) -> str:
        """Return a float for a paper that loads booktabs; caption and notes above the table, as booktabs advises."""
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
    """Return a text without what would end a line, reorder or hide the text around it."""
    return " ".join(visible(text).split())


def in_markdown(text: str) -> str:
    """Return text that GitHub shows as it is: no markup, no HTML, no end of a cell."""
    return re.sub(r"[\\`*_|<>\[\]#]", r"\\\g<0>", one_line(text).replace("&", "&amp;"))


def in_code(text: str) -> str:
    """Return text that Markdown shows as code: between more backticks than it holds in a row."""
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
    **{character: f"\\{character}" for character in "#$%&_{}"},
}


def in_latex(text: str) -> str:
    """Return text that LaTeX sets as it is. A bracket that begins a cell is kept from being an option of the line's
    end."""
    text = "".join(_LATEX.get(character, character) for character in one_line(text))
    return f"{{{text}}}" if text.startswith(("[", "*")) else text


def _latex_row(row: Sequence[str]) -> str:
    cells = [rf"\textbf{{{in_latex(cell)}}}" if isinstance(cell, Strong) else in_latex(cell) for cell in row]
    return " & ".join(cells) + r" \\"


def _markdown_cells(row: Sequence[str]) -> list[str]:
    return [f"**{in_markdown(cell)}**" if isinstance(cell, Strong) else in_markdown(cell) for cell in row]


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as text, columns as wide as needed; the first is aligned left, the others, numbers, right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(padded).rstrip()

    return "\n".join([line(header), *(line(row) for row in rows)])
