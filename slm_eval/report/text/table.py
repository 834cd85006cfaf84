"""The table that a run prints: value, interval, real baseline and floor side by side.

"real vs real" is the floor: what real speech would score against real speech at the same sizes, ± its sd; "p" tests
whether generated and real speech could be of one source, which the floor does not. "n-grams" and "n" count what a
number rests on: generated / real n-grams, and clips.
"real" of a cross-entropy is that of real speech which its model has not seen.
"""

from __future__ import annotations

from slm_eval.base.tables import grid
from slm_eval.metrics.metric import Summary
from slm_eval.metrics.pjsd import DivergenceSummary
from slm_eval.metrics.plm import CrossEntropySummary
from slm_eval.metrics.scores import ScoreSummary
from slm_eval.report.text.numbers import direction
from slm_eval.run.evaluation import Evaluation
from slm_eval.speech.corpus import count_ignored

_NONE = "-"


def render(evaluation: Evaluation) -> str:
    """Return the whole report for a terminal, without colours: blocks with an empty line between them."""
    blocks = [_corpora(evaluation)]
    divergences = [summary for summary in evaluation.summaries.values() if isinstance(summary, DivergenceSummary)]
    scores = [summary for summary in evaluation.summaries.values() if isinstance(summary, ScoreSummary)]
    if divergences:
        unit = divergences[0].unit
        header = [unit, "value", "95 % interval", "real vs real", "p", "excess", "corrected", "coverage", "n-grams"]
        blocks.append(grid(header, [_divergence_row(summary) for summary in divergences]))
    entropies = [summary for summary in evaluation.summaries.values() if isinstance(summary, CrossEntropySummary)]
    if entropies:
        header = [entropies[0].unit, "value", "95 % interval", "real", "- real", "95 % interval", "p", "phones"]
        blocks.append(grid(header, [_cross_entropy_row(summary) for summary in entropies]))
    for unit in dict.fromkeys(summary.unit for summary in scores):
        header = [unit, "value", "95 % interval", "sd", "n", "real", "95 % interval", "n"]
        blocks.append(grid(header, [_score_row(summary) for summary in scores if summary.unit == unit]))
    ours = (DivergenceSummary, CrossEntropySummary, ScoreSummary)
    others = [summary for summary in evaluation.summaries.values() if not isinstance(summary, ours)]
    if others:
        rows = [
            [each.key, f"{each.value:.{each.digits}f}", _interval(each, each.digits), each.unit, _better(each)]
            for each in others
        ]
        blocks.append(grid(["over corpora", "value", "95 % interval", "unit", "better"], rows))
    notes = [f"not computed: {', '.join(keys)}: {reason}" for reason, keys in _absent(evaluation).items()]
    notes += [f"warning: {', '.join(keys)}: {warning}" for warning, keys in _warnings(evaluation).items()]
    return "\n\n".join([*blocks, *(["\n".join(notes)] if notes else [])]) + "\n"


def _corpora(evaluation: Evaluation) -> str:
    lines = []
    for side, corpus in evaluation.to_dict()["corpora"].items():
        failed = ", ".join(f"{count} {code}" for code, count in corpus["failures"].items())
        minutes = _NONE if corpus["seconds"] is None else f"{corpus['seconds'] / 60:.1f} min"
        lines.append(
            f"{side:<9}  {corpus['path']}: {corpus['n_scored']} of {corpus['n_total']} clips scored, {minutes}"
            + (f" (failed: {failed})" if failed else "")
            + (f"; ignored: {count_ignored(corpus['ignored'])}" if corpus["ignored"] else "")
        )
    return "\n".join(lines)


def _divergence_row(summary: DivergenceSummary) -> list[str]:
    floor = _NONE if summary.floor is None else f"{summary.floor:.4f} ± {summary.floor_sd:.4f}"
    return [
        summary.key,
        f"{summary.value:.4f}",
        _interval(summary, 4),
        floor,
        _number(summary.p, ".3f"),
        _number(summary.excess, "+.4f"),
        _number(summary.corrected, ".4f"),
        f"{summary.coverage:.3f}",
        f"{summary.n_ngrams['generated']} / {summary.n_ngrams['real']}",
    ]


def _cross_entropy_row(summary: CrossEntropySummary) -> list[str]:
    gap = summary.difference
    return [
        summary.key,
        f"{summary.value:.4f}",
        _interval(summary, 4),
        f"{summary.real.value:.4f}",
        f"{gap.value:+.4f}",
        _NONE if gap.ci95 is None else f"[{gap.ci95[0]:+.4f}, {gap.ci95[1]:+.4f}]",
        _number(gap.p, ".2g"),
        f"{summary.n_phones['generated']} / {summary.n_phones['real']}",
    ]


def _score_row(summary: ScoreSummary) -> list[str]:
    real = summary.real
    return [
        summary.key,
        f"{summary.value:.3f}",
        _interval(summary, 3),
        _number(summary.sd, ".3f"),
        str(summary.n),
        _NONE if real is None else f"{real.value:.3f}",
        _NONE if real is None or real.ci95 is None else f"[{real.ci95[0]:.3f}, {real.ci95[1]:.3f}]",
        _NONE if real is None else str(real.n),
    ]


def _better(summary: Summary) -> str:
    return direction(summary.higher_is_better).removesuffix(" is better")


def _interval(summary: Summary, digits: int) -> str:
    return _NONE if summary.ci95 is None else f"[{summary.ci95[0]:.{digits}f}, {summary.ci95[1]:.{digits}f}]"


def _number(value: float | None, form: str) -> str:
    return _NONE if value is None else format(value, form)


def _absent(evaluation: Evaluation) -> dict[str, list[str]]:
    """Return each reason once, with the keys that it keeps from being computed."""
    reasons: dict[str, list[str]] = {}
    for key, absent in evaluation.not_computed.items():
        reasons.setdefault(absent.reason, []).append(key)
    return reasons


def _warnings(evaluation: Evaluation) -> dict[str, list[str]]:
    """Return each warning once, with the keys that it is about."""
    about: dict[str, list[str]] = {}
    for key, summary in evaluation.summaries.items():
        for warning in summary.warnings:
            about.setdefault(warning, []).append(key)
    return about
