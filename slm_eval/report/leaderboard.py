"""leaderboard.json, leaderboard.md and leaderboard.tex, and the tables that the command prints.

A table per family of metrics: a row per system, the best first; value ± half of its 95 % interval, and the rank by that
metric beside it. Below them real speech, and what the numbers rest on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from slm_eval._version import __version__
from slm_eval.leaderboard import Column, Leaderboard, Reference, Result
from slm_eval.report.elements import NONE, fixed
from slm_eval.report.files import dump, write_whole
from slm_eval.report.tables import Strong, Table, in_code, in_markdown, one_line

SCHEMA = 1  # of leaderboard.json
READING = (
    "# is the rank: 1 + the number of systems whose 95 % interval lies wholly on the better side. "
    "Systems that the intervals do not separate share a rank; slm-eval compare tests two of them.",
    "± is half of the 95 % interval. Real speech: its mean; for pJSD what it scores against itself at this size, "
    "± 1.96 sd.",
)


def write_leaderboards(boards: Sequence[Leaderboard], folder: Path) -> list[Path]:
    """Write the three files into a folder, which is made where needed.

    Raises:
        SlmEvalError: a file cannot be written.
    """
    texts = {
        "leaderboard.json": as_json(boards),
        "leaderboard.md": markdown(boards),
        "leaderboard.tex": latex(boards),
    }
    for name, text in texts.items():
        write_whole(folder / name, [text])
    return [folder / name for name in texts]


def as_json(boards: Sequence[Leaderboard]) -> str:
    """The object of leaderboard.json: ``tables``, one per signature."""
    tables = [board.to_dict() for board in boards]
    return dump({"schema": SCHEMA, "version": __version__, "tables": tables}, indent=2) + "\n"


def render(boards: Sequence[Leaderboard]) -> str:
    """For a terminal, without colours."""
    blocks = [
        "\n\n".join([f"{order(board)}.", *(each.to_text() for each in tables(board)), *_joined(remarks(board))])
        for board in boards
    ]
    return "\n\n\n".join([*blocks, "\n".join(READING)]) + "\n"


def markdown(boards: Sequence[Leaderboard]) -> str:
    """As GitHub reads it."""
    parts = ["# Leaderboard"]
    for at, board in enumerate(boards, start=1):
        parts += [f"## Signature {at}"] if len(boards) > 1 else []
        parts.append(f"{in_markdown(order(board))}.")
        parts += [table.to_markdown() for table in tables(board)]
        parts += ["\n".join(f"- {in_markdown(line)}" for line in remarks(board))] if remarks(board) else []
        parts += ["\n".join(_about(board))] if _about(board) else []
        parts.append("Signatures:")
        parts.append(
            "\n".join(f"- {in_code(key)}: {in_code(str(column.signature))}" for key, column in board.columns.items())
        )
    return "\n\n".join([*parts, *(in_markdown(line) for line in READING)]) + "\n"


def latex(boards: Sequence[Leaderboard]) -> str:
    """For a paper that loads booktabs; remarks and signatures as comments."""
    parts = ["% Needs \\usepackage{booktabs}."]
    for board in boards:
        comments = [order(board), *remarks(board)]
        comments += [f"{key}: {column.signature}" for key, column in board.columns.items()]
        parts.append("\n".join(f"% {one_line(line)}" for line in comments))
        parts += [table.to_latex() for table in tables(board)]
    return "\n\n".join([*parts, "\n".join(f"% {line}" for line in READING)]) + "\n"


def order(board: Leaderboard) -> str:
    """What is ranked by what."""
    return f"{len(board.systems)} system{'s' * (len(board.systems) > 1)}, ordered by {board.sort} ({board.why})"


def tables(board: Leaderboard) -> list[Table]:
    """One per family of metrics."""
    return [_table(columns, board) for columns in families(board)]


def families(board: Leaderboard) -> list[list[Column]]:
    """Metrics of one kind and unit together; those of the key that orders the systems first."""
    found: dict[tuple[str, str, bool], list[Column]] = {}
    for column in board.columns.values():
        family = column.key.partition(".")[0], column.unit, column.higher_is_better
        found.setdefault(family, []).append(column)
    first = board.columns[board.sort]
    return sorted(found.values(), key=lambda columns: first not in columns)


def remarks(board: Leaderboard) -> list[str]:
    """What is missing and why, and what was done to make systems comparable: each once, with the keys it is about."""
    about: dict[str, list[str]] = {}
    for key, column in board.columns.items():
        for note in column.notes:
            about.setdefault(note, []).append(key)
        for name, why in column.absent.items():
            about.setdefault(f"no value of {name}: {why}", []).append(key)
        without = [name for name, result in column.results.items() if result.ci95 is None]
        if column.results and all(each.rank is None for each in column.results.values()):
            about.setdefault("no ranks: fewer than two systems have an interval", []).append(key)
        elif without:
            about.setdefault(f"no rank of {', '.join(without)}: no interval, as its run says", []).append(key)
    lines = [f"{', '.join(keys)}: {note}" for note, keys in about.items()]
    return lines if len(board.systems) > 1 else ["one system: there is nothing to rank", *lines]


def caption(columns: Sequence[Column]) -> str:
    """Of a family: what it is, its unit and direction."""
    first = columns[0]
    name = "pJSD" if first.key.startswith("pjsd.") else first.key.partition(".")[0]
    return f"{name} in {first.unit}, {'higher' if first.higher_is_better else 'lower'} is better"


def basis(columns: Sequence[Column]) -> str:
    """What the numbers of a family rest on."""
    return "n-grams" if columns[0].key.startswith("pjsd.") else "clips"


def digits(key: str) -> int:
    """Decimal places, as in the table of a run."""
    return 4 if key.startswith(("pjsd.", "plm.")) else 3


def around(found: Result | Reference | None, places: int) -> str:
    """A value with the larger half of its interval."""
    if found is None:
        return NONE
    if found.ci95 is None:
        return fixed(found.value, places)
    half = max(found.value - found.ci95[0], found.ci95[1] - found.value)
    return f"{fixed(found.value, places)} ± {fixed(half, places)}"


def _table(columns: Sequence[Column], board: Leaderboard) -> Table:
    header = ["", *(text for column in columns for text in (column.key, "#"))]
    rows = [[each, *(text for column in columns for text in _cells(column, each))] for each in board.order]
    rows.append(
        ["real speech", *(text for column in columns for text in (around(column.real, digits(column.key)), ""))]
    )
    rows.append([basis(columns), *(text for column in columns for text in (sizes(column), ""))])
    return Table(caption(columns), header, rows)


def _cells(column: Column, name: str) -> tuple[str, str]:
    result = column.results.get(name)
    if result is None:
        return NONE, NONE
    shown, rank = around(result, digits(column.key)), NONE if result.rank is None else str(result.rank)
    return (Strong(shown), Strong(rank)) if stands_out(column, result) else (shown, rank)


def stands_out(column: Column, result: Result) -> bool:
    """Rank 1, where not all share it."""
    return result.rank == 1 and any(each.rank not in {None, 1} for each in column.results.values())


def sizes(column: Column) -> str:
    """How many clips or n-grams, from the fewest to the most of a system."""
    found = sorted({each.n for each in column.results.values()})
    return "\N{EN DASH}".join(f"{each:,}" for each in dict.fromkeys([found[0], found[-1]])) if found else NONE


def _about(board: Leaderboard) -> list[str]:
    """Links and notes of the systems that have any."""
    lines = []
    for system in board.systems:
        name = in_markdown(system.name)
        link = f"[{name}](<{system.link}>)" if system.link else name
        if system.link or system.notes:
            lines.append(f"- {link}" + (f": {in_markdown(system.notes)}" if system.notes else ""))
    return lines


def _joined(lines: Sequence[str]) -> list[str]:
    return ["\n".join(lines)] if lines else []
