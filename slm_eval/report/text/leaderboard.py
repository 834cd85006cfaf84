"""leaderboard.json, leaderboard.md and leaderboard.tex, and the tables that the command prints.

A table per family of metrics: a row per system, the best first; value ± half of its 95 % interval, and the ranks that
it may have by that metric beside it. Below them real speech, and what the numbers rest on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from slm_eval._version import __version__
from slm_eval.base.files import dump, write_whole
from slm_eval.base.tables import Strong, Table, in_code, in_markdown, one_line
from slm_eval.compare.leaderboard import Column, Leaderboard, Reference, Result
from slm_eval.compare.result import LEVEL
from slm_eval.report.text.numbers import NONE, direction, fixed

SCHEMA = 1  # of leaderboard.json
READING = (
    "# is the rank, or the ranks that are possible: 1 + the number of systems shown to be better, to the number of "
    "ranked systems less those shown to be worse. Every pair of systems is tested, at an error rate of "
    f"{100 * LEVEL:.0f} % for all pairs of a metric together (Holm).",
    "1 alone (bold): shown to be better than every other ranked system. A dash: no rank, for the reason that is said.",
    "± is the larger half of the 95 % interval. Real speech: its mean; for pJSD what it scores against itself at this "
    "size, ± 1.96 sd.",
)
_DASH = "\N{EN DASH}"
_NAMED = 5  # so many systems are named in a sentence


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
    """Return the object of leaderboard.json: ``tables``, one per signature."""
    tables = [board.to_dict() for board in boards]
    return dump({"schema": SCHEMA, "version": __version__, "tables": tables}, indent=2) + "\n"


def render(boards: Sequence[Leaderboard]) -> str:
    """Return the leaderboard for a terminal, without colours."""
    blocks = [
        "\n\n".join([f"{order(board)}.", *(table.to_text() for table in tables(board)), *_joined(remarks(board))])
        for board in boards
    ]
    return "\n\n\n".join([*blocks, "\n".join(READING)]) + "\n"


def markdown(boards: Sequence[Leaderboard]) -> str:
    """Return the leaderboard as GitHub reads it."""
    parts = ["# Leaderboard"]
    for index, board in enumerate(boards, start=1):
        parts += [f"## Signature {index}"] if len(boards) > 1 else []
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
    """Return tables for a paper that loads booktabs; remarks and signatures as comments."""
    parts = ["% Needs \\usepackage{booktabs}."]
    for board in boards:
        comments = [order(board), *remarks(board)]
        comments += [f"{key}: {column.signature}" for key, column in board.columns.items()]
        parts.append("\n".join(f"% {one_line(line)}" for line in comments))
        parts += [table.to_latex() for table in tables(board)]
    return "\n\n".join([*parts, "\n".join(f"% {line}" for line in READING)]) + "\n"


def order(board: Leaderboard) -> str:
    """Say what is ranked by what."""
    return f"{len(board.systems)} system{'s' * (len(board.systems) > 1)}, ordered by {board.sort} ({board.why})"


def tables(board: Leaderboard) -> list[Table]:
    """Return a table per family of metrics."""
    return [_table(columns, board) for columns in families(board)]


def families(board: Leaderboard) -> list[list[Column]]:
    """Group metrics of one kind and unit; those of the key that orders the systems first."""
    by_kind: dict[tuple[str, str, str, bool | None], list[Column]] = {}
    for column in board.columns.values():
        family = column.key.partition(".")[0], column.kind, column.unit, column.higher_is_better
        by_kind.setdefault(family, []).append(column)
    first = board.columns[board.sort]
    return sorted(by_kind.values(), key=lambda columns: first not in columns)


def remarks(board: Leaderboard) -> list[str]:
    """Say what is missing and why, and what was done to make systems comparable: each once, with its keys."""
    about: dict[str, list[str]] = {}
    for key, column in board.columns.items():
        for note in column.notes:
            about.setdefault(note, []).append(key)
        for name, why in column.absent.items():
            about.setdefault(f"no value of {name}: {why}", []).append(key)
        for reason, names in _unranked(column).items():
            about.setdefault(f"no rank of {', '.join(names)}: {reason}", []).append(key)
    lines = [f"{', '.join(keys)}: {note}" for note, keys in about.items()]
    return lines if len(board.systems) > 1 else ["one system: there is nothing to rank", *lines]


def _unranked(column: Column) -> dict[str, list[str]]:
    """Return why systems have no rank, each reason once with their names in order."""
    names_by_reason: dict[str, list[str]] = {}
    for name, result in sorted(column.results.items()):
        if result.why_unranked is not None:
            names_by_reason.setdefault(result.why_unranked, []).append(name)
    return dict(sorted(names_by_reason.items()))


def caption(columns: Sequence[Column]) -> str:
    """Return a family's caption: what it is, its unit and direction."""
    first = columns[0]
    name = "pJSD" if first.kind == "divergence" else first.key.partition(".")[0]
    return f"{name} in {first.unit}, {direction(first.higher_is_better)}"


def basis(columns: Sequence[Column]) -> str:
    """Say what the numbers of a family rest on."""
    return "n-grams" if columns[0].kind == "divergence" else "clips"


def around(result: Result | Reference | None, places: int) -> str:
    """Return a value with the larger half of its interval."""
    if result is None:
        return NONE
    if result.ci95 is None:
        return fixed(result.value, places)
    half = max(result.value - result.ci95[0], result.ci95[1] - result.value)
    return f"{fixed(result.value, places)} ± {fixed(half, places)}"


def _table(columns: Sequence[Column], board: Leaderboard) -> Table:
    header = ["", *(text for column in columns for text in (column.key, "#"))]
    rows = [[each, *(text for column in columns for text in _cells(column, each))] for each in board.order]
    rows.append(["real speech", *(text for column in columns for text in (around(column.real, column.digits), ""))])
    rows.append([basis(columns), *(text for column in columns for text in (sizes(column), ""))])
    return Table(caption(columns), header, rows)


def _cells(column: Column, name: str) -> tuple[str, str]:
    result = column.results.get(name)
    if result is None:
        return NONE, NONE
    shown, rank = around(result, column.digits), ranks(result)
    return (Strong(shown), Strong(rank)) if is_best(result) else (shown, rank)


def ranks(result: Result) -> str:
    """Return the rank, or the best and the worst that are possible.

    >>> ranks(Result(0.1, (0.0, 0.2), 40, rank=1, worst_rank=3)), ranks(Result(0.1, None, 4))
    ('1–3', '–')
    """
    return _span(result.rank, result.worst_rank) if result.rank and result.worst_rank else NONE


def is_best(result: Result) -> bool:
    """Return whether a system is shown to be better than every other one that is ranked."""
    return result.worst_rank == 1


def leaders(column: Column) -> str:
    """Return who may be the best by a metric, in a sentence; nothing where there are no ranks."""
    ranked = column.ranked
    first = [name for name in ranked if column.results[name].rank == 1]
    if not ranked:
        return ""
    if len(first) == 1 and is_best(column.results[first[0]]):
        return f"{first[0]} is shown to be better than every other ranked system."
    if not any(pair.better for pair in column.pairs):
        return f"None of the {len(ranked)} ranked systems is shown to be better than another."
    if len(first) == 1:
        return f"{first[0]} is not shown to be worse than another system, and all others are."
    if len(first) > _NAMED:
        return f"{len(first)} of the {len(ranked)} ranked systems are not shown to be worse than another."
    return f"{', '.join(first[:-1])} and {first[-1]} are not shown to be worse than another system."


def sizes(column: Column) -> str:
    """Say how many clips or n-grams, from the fewest to the most of a system."""
    counts = sorted({result.n for result in column.results.values()})
    return _span(counts[0], counts[-1]) if counts else NONE


def _span(first: int, last: int) -> str:
    """Return a range, or the number that it is."""
    return f"{first:,}" if first == last else f"{first:,}{_DASH}{last:,}"


def _about(board: Leaderboard) -> list[str]:
    """List links and notes of the systems that have any."""
    lines = []
    for system in board.systems:
        name = in_markdown(system.name)
        link = f"[{name}](<{system.link}>)" if system.link else name
        if system.link or system.notes:
            lines.append(f"- {link}" + (f": {in_markdown(system.notes)}" if system.notes else ""))
    return lines


def _joined(lines: Sequence[str]) -> list[str]:
    return ["\n".join(lines)] if lines else []
