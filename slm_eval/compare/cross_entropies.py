"""plm of two systems: the difference of two cross-entropies under the same models of real speech.

A cross-entropy is a ratio, the surprisal of all phones over their number. Under every labelling the difference of the
two ratios is divided by its own linearised standard error (as ``welch`` does for means, and for the same reason), which
needs sums over units alone: of surprisals x, of phones y, of their squares and products, and of products across pairs.
The models are given: they are made of real speech, which no labelling changes.

Letters: C units, B labellings; a, b: the two groups of a labelling.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from slm_eval.base.arrays import Floats
from slm_eval.compare.design import Clip, Design, Positions
from slm_eval.compare.labellings import block_size, sums_of_labels
from slm_eval.compare.permutation import p_value
from slm_eval.compare.result import LEVEL, Difference, Tested
from slm_eval.compare.scores import clips_needed
from slm_eval.divergence.incidence import in_blocks
from slm_eval.divergence.phone_model import Surprisals
from slm_eval.metrics.crossentropy import held_out_models
from slm_eval.metrics.means import Sample, Withheld, difference
from slm_eval.run.finished import FinishedRun

_CLAIM = "is more predictable from real speech"


@dataclass(frozen=True, eq=False)
class _Scores:
    """Surprisals of the clips of A and of B that could be scored, and the unit of each; where paired, pairs."""

    sides: tuple[Surprisals, Surprisals]
    units: tuple[Positions, Positions]


def cross_entropy_differences(
    keys: list[str], metrics: dict[str, dict[str, Any]], design: Design
) -> dict[str, Tested | str]:
    """Return each key's difference with its test, or why there is none.

    Args:
        metrics: what summary.json says of each key.
    """
    return {key: _tested(key, metrics[key], design) for key in keys}


def read_both_ways(row: Difference, a: FinishedRun, b: FinishedRun) -> Difference:
    """Return the verdict without a winner where a system is more predictable than real speech: less is not better."""
    if row.better is None:
        return row
    below = [name for name, run in (("A", a), ("B", b)) if _below_real(run.metrics[row.key]["difference"])]
    if not below:
        return replace(row, claim=f"{row.better} {_CLAIM}")
    which = " and ".join(below)
    note = f"neither is called better: {which} {'are' if len(below) > 1 else 'is'} more predictable than real speech"
    return replace(row, better=None, claim=None, notes=(*row.notes, note))


def _below_real(gap: dict[str, Any]) -> bool:
    return gap["p"] is not None and gap["p"] < LEVEL and gap["value"] < 0


def _tested(key: str, metric: dict[str, Any], design: Design) -> Tested | str:
    scores = _scores(int(key.partition(".")[2]), design)
    if isinstance(scores, str):
        return scores
    statistics = _statistics(scores, design)
    per_nat = 1 / np.log(2) if metric["unit"].startswith("bits") else 1.0
    apart = difference(
        *(
            Sample.from_scores(side.mean * per_nat, units, side.windows)
            for side, units in zip(scores.sides, scores.units, strict=True)
        )
    )
    a, b = (float(side.total.sum() / side.windows.sum()) * per_nat for side in scores.sides)
    interval = apart.interval()
    p = p_value(statistics)
    row = Difference(
        key=key,
        a=a,
        b=b,
        difference=apart.value,
        ci95=None if isinstance(interval, Withheld) else interval,
        effect=None,
        p=p,
        p_adjusted=p,
        p_source=None,
        p_source_adjusted=None,
        n=(scores.sides[0].windows.size, scores.sides[1].windows.size),
        n_ngrams=None,
        unit=metric["unit"],
        higher_is_better=False,
        better=None,
        claim=None,
        needed=clips_needed(apart, min(side.windows.size for side in scores.sides)),
        notes=(f"there is no interval: {interval.reason}",) if isinstance(interval, Withheld) else (),
        signature=metric["signature"],
        kind=metric["kind"],
        digits=metric["digits"],
    )
    return Tested(row, statistics)


def _scores(n: int, design: Design) -> _Scores | str:
    """Return what the models of real speech make of both systems, or why they can make nothing."""
    heard = [np.array([_windows(clip, n) > 0 for clip in clips], dtype=bool) for clips in (design.a, design.b)]
    if design.paired:
        heard = [heard[0] & heard[1]] * 2
    a, b = (
        [clip["phones"] for clip, kept in zip(clips, keep, strict=True) if kept]
        for clips, keep in zip((design.a, design.b), heard, strict=True)
    )
    if not a or not b:
        return f"a system has no clip of {n} phones"
    models = held_out_models([*a, *b], [clip["phones"] for clip in design.real_heard], design.real_clusters, n)
    if isinstance(models, str):
        return models
    both, _ = models.surprisals()
    sides = (
        Surprisals(both.total[: len(a)], both.windows[: len(a)]),
        Surprisals(both.total[len(a) :], both.windows[len(a) :]),
    )
    return _Scores(sides, (design.units[0][heard[0]], design.units[1][heard[1]]))


def _windows(clip: Clip, n: int) -> int:
    return max(len(clip["phones"] or ()) - n + 1, 0)


def _statistics(scores: _Scores, design: Design) -> Floats:
    """Return the difference of the ratios over its standard error, under each labelling: shape (B,)."""
    whole = sum(side.total.sum() for side in scores.sides) / sum(side.windows.sum() for side in scores.sides)
    units = design.labellings.observed.size
    # Of each unit in A and in B: surprisal beyond that of all phones pooled, and phones.
    x, y = (
        [
            np.bincount(of_unit, values, units).astype(np.float64)
            for values, of_unit in zip(parts, scores.units, strict=True)
        ]
        for parts in (
            [side.total - whole * side.windows for side in scores.sides],
            [side.windows for side in scores.sides],
        )
    )
    if not design.paired:  # a label says which group the unit is in, with all that it has
        x, y = [x[0] + x[1], np.zeros(units)], [y[0] + y[1], np.zeros(units)]
    moments = [_moments(x[own], y[own], y[1 - own]) for own in (0, 1)]
    across = np.sum(x[0] * x[1]), np.sum(y[0] * y[1])

    def block(labellings: slice) -> Floats:
        first = sums_of_labels(moments[0] - moments[1], design.labellings.block(labellings))
        first += moments[1].sum(axis=1, keepdims=True)
        second = (moments[0] + moments[1]).sum(axis=1, keepdims=True) - first
        return _t(first, second, across)

    return np.concatenate(list(in_blocks(block, design.labellings.size, block_size(units))))


def _moments(x: Floats, y: Floats, of_partner: Floats) -> Floats:
    """Return what is summed over the units of a group: shape (6, C)."""
    return np.stack((x, y, x * x, x * y, y * y, x * of_partner))


def _t(a: Floats, b: Floats, across: tuple[float, float]) -> Floats:
    """Return the studentised difference of x/y of both groups: shape (B,); NaN where a group has nothing.

    Args:
        a, b: shape (6, B), sums of ``_moments`` over each group.
        across: sums of products of both groups' x, and of their y, over pairs.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        r, s = a[0] / a[1], b[0] / b[1]
        variance = (a[2] - 2 * r * a[3] + r * r * a[4]) / a[1] ** 2 + (b[2] - 2 * s * b[3] + s * s * b[4]) / b[1] ** 2
        variance -= 2 * (across[0] - s * a[5] - r * b[5] + r * s * across[1]) / (a[1] * b[1])
        return np.asarray(np.where(r == s, 0.0, (r - s) / np.sqrt(variance)))
