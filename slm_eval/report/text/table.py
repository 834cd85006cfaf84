"""The table that a run prints: value, interval, real baseline and floor side by side.

"real vs real" is the floor: what real speech would score against real speech at the same sizes, ± its sd; "p" tests
whether generated and real speech could be of one source, which the floor does not. "n-grams" and "n" count what a
number rests on: generated / real n-grams, and clips.
"real" of a cross-entropy is that of real speech which its model has not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slm_eval.base.tables import grid
from slm_eval.metrics.metric import KINDS
from slm_eval.report.text.numbers import direction
from slm_eval.run.evaluation import Evaluation
from slm_eval.speech.corpus import count_ignored

_Metric = dict[str, Any]  # of summary.json

_NONE = "-"


def render(evaluation: Evaluation) -> str:
    """Return the whole report for a terminal, without colours: blocks with an empty line between them."""
    told = evaluation.to_dict()
    blocks = [_corpora(told["corpora"]), *_blocks(told["metrics"])]
    notes = [f"not computed: {', '.join(keys)}: {reason}" for reason, keys in _absent(evaluation).items()]
    notes += [f"warning: {', '.join(keys)}: {warning}" for warning, keys in _warnings(evaluation).items()]
    return "\n\n".join([*blocks, *(["\n".join(notes)] if notes else [])]) + "\n"


def _corpora(corpora: dict[str, dict[str, Any]]) -> str:
    lines = []
    for side, corpus in corpora.items():
        failed = ", ".join(f"{count} {code}" for code, count in corpus["failures"].items())
        minutes = _NONE if corpus["seconds"] is None else f"{corpus['seconds'] / 60:.1f} min"
        lines.append(
            f"{side:<9}  {corpus['path']}: {corpus['n_scored']} of {corpus['n_total']} clips scored, {minutes}"
            + (f" (failed: {failed})" if failed else "")
            + (f"; ignored: {count_ignored(corpus['ignored'])}" if corpus["ignored"] else "")
        )
    return "\n".join(lines)


def _blocks(metrics: dict[str, _Metric]) -> list[str]:
    """Return the tables: of divergences, of cross-entropies, of the scores of each unit, of other numbers."""
    of_kind = {kind: {key: told for key, told in metrics.items() if told["kind"] == kind} for kind in KINDS}
    blocks = []
    if divergences := of_kind["divergence"]:
        unit = _unit(divergences)
        header = [unit, "value", "95 % interval", "real vs real", "p", "excess", "corrected", "coverage", "n-grams"]
        blocks.append(grid(header, [_divergence_row(key, metric) for key, metric in divergences.items()]))
    if entropies := of_kind["cross_entropy"]:
        header = [_unit(entropies), "value", "95 % interval", "real", "- real", "95 % interval", "p", "phones"]
        blocks.append(grid(header, [_cross_entropy_row(key, metric) for key, metric in entropies.items()]))
    scores = of_kind["score"]
    for unit in dict.fromkeys(metric["unit"] for metric in scores.values()):
        header = [unit, "value", "95 % interval", "sd", "n", "real", "95 % interval", "n"]
        blocks.append(
            grid(header, [_score_row(key, metric) for key, metric in scores.items() if metric["unit"] == unit])
        )
    if others := of_kind["corpus"]:
        header = ["over corpora", "value", "95 % interval", "real", "unit", "better"]
        blocks.append(grid(header, [_corpus_row(key, metric) for key, metric in others.items()]))
    return blocks


def _unit(metrics: dict[str, _Metric]) -> str:
    unit: str = next(iter(metrics.values()))["unit"]
    return unit


def _divergence_row(key: str, metric: _Metric) -> list[str]:
    form, sizes = f".{metric['digits']}f", metric["n_ngrams"]
    floor, sd = (_number(metric[name], form) for name in ("floor", "floor_sd"))
    return [
        key,
        format(metric["value"], form),
        _interval(metric["ci95"], form),
        _NONE if metric["floor"] is None else f"{floor} ± {sd}",
        _number(metric.get("p"), ".3f"),
        _number(metric["excess"], "+" + form),
        _number(metric["corrected"], form),
        f"{metric['coverage']:.3f}",
        f"{sizes['generated']} / {sizes['real']}",
    ]


def _cross_entropy_row(key: str, metric: _Metric) -> list[str]:
    form, gap, sizes = f".{metric['digits']}f", metric["difference"], metric["n_phones"]
    return [
        key,
        format(metric["value"], form),
        _interval(metric["ci95"], form),
        format(metric["real"]["value"], form),
        format(gap["value"], "+" + form),
        _interval(gap["ci95"], "+" + form),
        _number(gap["p"], ".2g"),
        f"{sizes['generated']} / {sizes['real']}",
    ]


def _score_row(key: str, metric: _Metric) -> list[str]:
    form, real = f".{metric['digits']}f", metric.get("real")
    beside = (
        [_NONE] * 3 if real is None else [format(real["value"], form), _interval(real["ci95"], form), str(real["n"])]
    )
    return [
        key,
        format(metric["value"], form),
        _interval(metric["ci95"], form),
        _number(metric["sd"], form),
        str(metric["n"]),
        *beside,
    ]


def _corpus_row(key: str, metric: _Metric) -> list[str]:
    form, real = f".{metric['digits']}f", metric.get("real")
    return [
        key,
        format(metric["value"], form),
        _interval(metric["ci95"], form),
        _number(real and real["value"], form),
        metric["unit"],
        direction(metric["higher_is_better"]).removesuffix(" is better"),
    ]


def _interval(ends: Sequence[float] | None, form: str) -> str:
    return _NONE if ends is None else f"[{ends[0]:{form}}, {ends[1]:{form}}]"


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
