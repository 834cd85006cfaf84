"""Means of per-clip scores: permutation p-values, t intervals and Cohen's d of the difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from slm_eval.base.arrays import Floats
from slm_eval.compare.design import Design, Positions
from slm_eval.compare.labellings import Labellings, block_size, sums_of_labels
from slm_eval.compare.permutation import p_value
from slm_eval.compare.result import DETECTABLE, Difference, Tested
from slm_eval.compare.welch import UnitScores, welch_statistics
from slm_eval.divergence.incidence import in_blocks
from slm_eval.metrics.means import Estimate, Interval, Sample, Withheld
from slm_eval.metrics.means import difference as difference_of_means


@dataclass(frozen=True, eq=False)
class _Scores:
    """Scores of one metric with the unit of each clip; where paired, of the pairs in which both have a score."""

    a: Floats
    b: Floats
    units: tuple[Positions, Positions]

    @classmethod
    def from_design(cls, key: str, design: Design) -> _Scores:
        sides = (design.a, design.b)
        has = [np.array([key in clip["scores"] for clip in clips], dtype=bool) for clips in sides]
        if design.paired:
            has = [has[0] & has[1]] * 2
        a, b = (
            np.array([clip["scores"][key] for clip, kept in zip(clips, keep, strict=True) if kept], dtype=np.float64)
            for clips, keep in zip(sides, has, strict=True)
        )
        return cls(a, b, (design.units[0][has[0]], design.units[1][has[1]]))


def score_differences(
    keys: Sequence[str], metrics: dict[str, dict[str, Any]], design: Design
) -> dict[str, Tested | str]:
    """Return each key's difference with its test, or why there is none. All keys share the labellings.

    Args:
        metrics: what summary.json says of each key.
    """
    scores = {key: _Scores.from_design(key, design) for key in keys}
    usable = {key: sides for key, sides in scores.items() if sides.a.size and sides.b.size}
    why = "no pair has both scores" if design.paired else "a system has no clip with a score"
    tested: dict[str, Tested | str] = dict.fromkeys(keys, why)
    if usable:
        statistics = _statistics(list(usable.values()), design)
        for (key, sides), statistic in zip(usable.items(), statistics, strict=True):
            difference = _difference(key, sides, p_value(statistic), metrics[key], design.paired)
            tested[key] = Tested(difference, statistic)
    return tested


def _statistics(scores: Sequence[_Scores], design: Design) -> Floats:
    """Return of each labelling, (metrics, B): the sum of the paired differences, or Welch's t."""
    units = design.labellings.observed.size
    if design.paired:
        sums = np.array([np.bincount(metric.units[0], metric.a - metric.b, units) for metric in scores])
        return paired_sums(sums, design.labellings)
    pooled = [(np.concatenate((metric.a, metric.b)), np.concatenate(metric.units)) for metric in scores]
    return welch_statistics(
        [UnitScores.from_scores(values, of_unit, units) for values, of_unit in pooled], design.labellings
    )


def paired_sums(sums: Floats, labellings: Labellings) -> Floats:
    """Return the sum of the differences of pairs under each labelling, (M, B), from those of each unit, (M, C).

    Turned signs leave the sum of squares as it is, so that Student's t would order the labellings in the same way.
    """

    def block(part: slice) -> Floats:
        return sums_of_labels(sums, labellings.block(part))

    blocks = in_blocks(block, labellings.size, block_size(sums.shape[1]))
    return 2 * np.concatenate(list(blocks), axis=1) - sums.sum(axis=1, keepdims=True)


def _difference(key: str, scores: _Scores, p: float, metric: dict[str, Any], paired: bool) -> Difference:
    # Clips of a pair are in one cluster, so this is the t test of pairs, or Welch's.
    samples = (
        Sample.from_scores(values, units) for values, units in zip((scores.a, scores.b), scores.units, strict=True)
    )
    estimate = difference_of_means(*samples)
    spread = _sd(scores.a - scores.b) if paired else _pooled_sd(scores)
    interval = estimate.interval()
    notes = (f"there is no interval: {interval.reason}",) if isinstance(interval, Withheld) else ()
    return Difference(
        key=key,
        a=float(scores.a.mean()),
        b=float(scores.b.mean()),
        difference=estimate.value,
        ci95=None if isinstance(interval, Withheld) else _within(interval, metric.get("scale")),
        effect=estimate.value / spread if spread else None,
        p=p,
        p_adjusted=p,
        p_source=None,
        p_source_adjusted=None,
        n=(scores.a.size, scores.b.size),
        n_ngrams=None,
        unit=metric["unit"],
        higher_is_better=metric["higher_is_better"],
        better=None,
        claim=None,
        needed=clips_needed(estimate, min(scores.a.size, scores.b.size)),
        notes=notes,
        signature=metric["signature"],
        kind=metric["kind"],
        digits=metric["digits"],
    )


def _within(interval: Interval, scale: Sequence[float] | None) -> Interval:
    """Cut an interval of differences to the width of the scale: no two scores are further apart than its ends."""
    if scale is None:
        return interval
    width = scale[1] - scale[0]
    return max(interval[0], -width), min(interval[1], width)


def _sd(values: Floats) -> float:
    return float(np.std(values, ddof=1)) if values.size > 1 else 0.0


def _pooled_sd(scores: _Scores) -> float:
    """Return the standard deviation of Cohen's d, of both sides about their own means."""
    n_a, n_b = scores.a.size, scores.b.size
    if n_a + n_b < 3:
        return 0.0
    squares = (n_a - 1) * _sd(scores.a) ** 2 + (n_b - 1) * _sd(scores.b) ** 2
    return math.sqrt(squares / (n_a + n_b - 2))


def clips_needed(estimate: Estimate, n: int) -> str:
    """Return how many clips have a power of 80 %: the standard error falls with the root of their number n."""
    if estimate.withheld is not None:
        return "how many clips would tell is not known: nothing varies, or there are too few"
    z = abs(estimate.value) / estimate.error
    if z < 1:
        return (
            "the difference is within its standard error: which is better is not known, nor how many clips would tell"
        )
    needed = n * (DETECTABLE / z) ** 2
    digits = 1 - math.floor(math.log10(needed))
    return f"about {round(needed, digits):,.0f} clips of each would tell them apart, if the true difference is this one"
