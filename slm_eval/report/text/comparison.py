"""The table that ``slm-eval compare`` prints."""

from __future__ import annotations

from slm_eval.base.tables import grid
from slm_eval.compare import LEVEL, Comparison, Difference
from slm_eval.compare.design import FEW_PERMUTATIONS, MANY_CLIPS
from slm_eval.compare.judgement import OF_THE_SAMPLE, family
from slm_eval.compare.result import Together


def render_comparison(comparison: Comparison) -> str:
    """Return text for a terminal: who was compared how, what was found, one line a metric, and what to know of it.

    "d_z" and "d" are Cohen's: the difference over the sd of the paired differences, or of the scores. "p" is of "A and
    B are the same system", corrected beside it; "p source" of "A and B are equally far from real speech", corrected. A
    winner in brackets is shown for this real sample, and not of real speech.
    """
    size = "d_z" if comparison.paired else "d"
    header = ["", "A", "B", "A - B", "95 % interval", size, "n", "p", "corrected", "p source", "better"]
    blocks = [_heading(comparison)]
    if comparison.together:
        blocks.append("\n".join(_together(difference) for difference in comparison.together.values()))
    if comparison.differences:
        blocks.append(grid(header, [_row(difference, comparison) for difference in comparison.differences.values()]))
    notes = [f"{', '.join(keys)}: {note}" for note, keys in _notes(comparison).items()]
    return "\n\n".join([*blocks, *(["\n".join(notes)] if notes else [])]) + "\n"


def _heading(comparison: Comparison) -> str:
    n_a, n_b = comparison.n_clips
    what = "clips" if comparison.by == "clip" else f"all clips of a {comparison.by} together"
    lines = [f"A  {comparison.a}", f"B  {comparison.b}"]
    if comparison.paired:
        left_out = "; without a partner and left out: {} of A, {} of B".format(*comparison.left_out)
        left_out = left_out if any(comparison.left_out) else ""
        lines.append(f"paired by clip id: {_count(n_a, 'pair')}, {what} swapped{left_out}")
    else:
        lines.append(f"unpaired (pairs are clips of the same id): {n_a} and {n_b} clips, labels of {what} shuffled")
    tests = f"two-sided permutation tests, {comparison.labellings:,} labellings"
    if n_a + n_b > MANY_CLIPS and comparison.labellings == FEW_PERMUTATIONS + 1:
        tests += f" (the usual number above {MANY_CLIPS:,} clips; --permutations sets it)"
    families = len({family(each) for each in comparison.differences.values() if each.p is not None})
    lines.append(f"{tests}, corrected by step-down min-p within a family of metrics and by Holm over {families}")
    if any(difference.p_source is not None for difference in comparison.differences.values()):
        lines.append(
            "p: are A and B the same system? p source: is one closer to real speech, beyond this sample of it?"
        )
    # A pair's swap and its opposite are equally large, so that both count.
    if (2 if comparison.paired else 1) / comparison.labellings > LEVEL:
        lines.append(f"p-values are multiples of 1/{comparison.labellings}: so few clips cannot show a difference")
    return "\n".join(lines)


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _row(row: Difference, comparison: Comparison) -> list[str]:
    digits = row.digits
    interval = "-" if row.ci95 is None else f"[{row.ci95[0]:+.{digits}f}, {row.ci95[1]:+.{digits}f}]"
    return [
        row.key,
        f"{row.a:.{digits}f}",
        f"{row.b:.{digits}f}",
        f"{row.difference:+.{digits}f}",
        interval,
        "-" if row.effect is None else f"{row.effect:+.2f}",
        str(row.n[0]) if comparison.paired else f"{row.n[0]} / {row.n[1]}",
        _p(row.p),
        _p(row.p_adjusted),
        _p(row.p_source_adjusted),
        _better(row),
    ]


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _better(row: Difference) -> str:
    if row.better is None:
        return "-"
    return f"({row.better})" if row.claim in {f"{row.better} {shown}" for shown in OF_THE_SAMPLE} else row.better


def _together(together: Together) -> str:
    """Return one line about a family: "A and B differ: p = 0.0005, corrected 0.0010; by pjsd.1, pjsd.2 together"."""
    verdict = "differ" if together.p_adjusted < LEVEL else "are not told apart"
    p = f"p = {together.p:.4f}, corrected {together.p_adjusted:.4f}"
    return f"A and B {verdict}: {p}; by {', '.join(together.keys)} together"


def _notes(comparison: Comparison) -> dict[str, list[str]]:
    """Return each note once, with the keys that it is about."""
    about: dict[str, list[str]] = {}
    for key, difference in comparison.differences.items():
        for note in difference.notes:
            about.setdefault(note, []).append(key)
        if difference.p_adjusted is not None and difference.p_adjusted >= LEVEL:
            about.setdefault(f"not told apart; {difference.needed}", []).append(key)
    for key, why in comparison.not_compared.items():
        about.setdefault(f"not compared: {why}", []).append(key)
    return about
