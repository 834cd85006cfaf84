"""pJSD of two systems: the test, the interval and the power of J(A, R) - J(B, R), R the real speech of both.

J falls as samples grow, so it is compared at equal numbers of n-grams: where the systems differ in size, the longer
clip of each pair is cut to the shorter one's phones, or, without pairs, clips of the larger system are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from slm_eval.analysis import MAX_SIZE_DIFFERENCE
from slm_eval.clusters import Clusters
from slm_eval.compare.design import HALVES, LABELS, REAL_HALVES, Clip, Design, Units
from slm_eval.compare.permutation import divergence_differences, divergence_of_labels, p_value, shuffles
from slm_eval.compare.result import Difference
from slm_eval.incidence import Draws, Incidence, divergences
from slm_eval.ngrams import Encoded, encode, window_keys
from slm_eval.rarefaction import PhonesNeeded, equal_size_subsample, phones_needed
from slm_eval.statistics import Undefined, draw_halves, too_few

_HALF_SAMPLES = 128

Phones = Sequence[str]


def divergence_changes(
    orders: Sequence[int], metrics: dict[str, dict[str, Any]], design: Design
) -> dict[str, Difference | str]:
    """Each order's difference by its key, or why there is none. All orders are tested under the same labellings.

    Args:
        metrics: what summary.json says of each key.
    """
    if not orders:
        return {}
    speech = _Speech.of(design)
    if isinstance(speech, str):
        return {f"pjsd.{n}": speech for n in orders}
    found: dict[str, Difference | str] = {}
    for n, windows in window_keys(speech.encoded, orders):
        incidence = Incidence.build(windows, speech.encoded.n_windows(n))
        found[f"pjsd.{n}"] = _difference(n, incidence, speech, metrics[f"pjsd.{n}"], design)
    return found


def phones_to_tell_apart(orders: Sequence[int], design: Design) -> dict[str, str]:
    """How much speech would tell the systems apart by each order, or why that cannot be said: key -> one line."""
    speech = _Speech.of(design) if orders else ""
    if isinstance(speech, str):
        return {f"pjsd.{n}": speech for n in orders}
    clusters = (list(speech.clusters[0]), list(speech.clusters[1]), list(speech.clusters[2]))
    found = phones_needed(
        speech.a, speech.b, speech.real, orders, seed=design.seed, clusters=clusters, paired=design.paired
    )
    return {
        f"pjsd.{n}": f"about {each.n_phones:,} phones of each system and of real speech would tell them apart, "
        "if the true difference is this one"
        if isinstance(each, PhonesNeeded)
        else each.reason
        for n, each in found.items()
    }


def against_real(
    generated: Sequence[Phones],
    real: Sequence[Phones],
    orders: Sequence[int],
    *,
    permutations: int = 999,
    seed: int = 0,
) -> dict[int, float | Undefined]:
    """n -> p-value of "generated and real speech are two samples of one source": labels of utterances are shuffled.

    The mean over shuffles is no floor: it lies between mixtures of both.

    >>> against_real([["a", "b"]] * 10, [["b", "a"]] * 10, [1, 2], permutations=99)
    {1: 1.0, 2: 0.01}
    """
    both = encode([*generated, *real])
    members = shuffles(len(generated), len(real), permutations, np.random.default_rng((seed, LABELS)))
    found: dict[int, float | Undefined] = {}
    for n, windows in window_keys(both, orders):
        n_windows = both.n_windows(n)
        if min(n_windows[: len(generated)].sum(), n_windows[len(generated) :].sum()) == 0:
            found[n] = Undefined(f"a side has no {n}-grams")
        else:
            found[n] = p_value(divergence_of_labels(Incidence.build(windows, n_windows), members))
    return found


@dataclass(frozen=True, eq=False)
class _Speech:
    """Phones of A, B and real speech, sizes made equal.

    Attributes:
        a, b, real: one sequence of phones per utterance.
        encoded: all of them, in this order.
        units: shape (utterances,) of A and of B, as in ``Design``.
        clusters: of A, B and real speech, numbered from 0.
        members: shape (utterances of A and B, labellings).
        notes: what was done to make sizes equal.
    """

    a: list[Phones]
    b: list[Phones]
    real: list[Phones]
    encoded: Encoded
    clusters: tuple[Units, Units, Units]
    members: Draws
    notes: tuple[str, ...]

    @classmethod
    def of(cls, design: Design) -> _Speech | str:
        """From the clips that were recognised; where paired, in both systems."""
        heard = [np.array([clip["phones"] is not None for clip in clips]) for clips in (design.a, design.b)]
        if design.paired:
            heard = [heard[0] & heard[1]] * 2
        a, b = (_phones(clips, keep) for clips, keep in zip((design.a, design.b), heard, strict=True))
        of_real = [clip for clip in design.real if clip["phones"] is not None]
        real = [clip["phones"] for clip in of_real]
        if not (a and b and real):
            return "a side has no phones"
        kept = [np.flatnonzero(keep) for keep in heard]
        notes = []
        sizes = sum(map(len, a)), sum(map(len, b))
        if abs(sizes[0] - sizes[1]) > MAX_SIZE_DIFFERENCE * max(sizes):
            note = f"sizes were made equal ({sizes[0]} and {sizes[1]} phones): "
            if design.paired:
                pairs = [(mine[: len(other)], other[: len(mine)]) for mine, other in zip(a, b, strict=True)]
                a, b = [mine for mine, _ in pairs], [other for _, other in pairs]
                notes.append(note + "the longer clip of each pair was cut")
            else:
                chosen = equal_size_subsample([a, b], seed=design.seed)
                a, b = ([each[at] for at in picked] for each, picked in zip((a, b), chosen, strict=True))
                kept = [at[picked] for at, picked in zip(kept, chosen, strict=True)]
                notes.append(note + f"{len(a)} and {len(b)} clips were compared")
        units = tuple(of_side[at] for of_side, at in zip(design.units, kept, strict=True))
        labels = design.draws[units[0]], design.draws[units[1]]
        members = np.concatenate((labels[0], 1 - labels[1] if design.paired else labels[1]))
        numbered = [np.unique(each, return_inverse=True)[1] for each in units]
        clusters = (numbered[0], numbered[1], Clusters.of(of_real).numbered)
        return cls(a, b, real, encode([*a, *b, *real]), clusters, members, tuple(notes))

    @property
    def ranges(self) -> tuple[slice, slice, slice]:
        """Utterances of A, B and real speech."""
        ends = len(self.a), len(self.a) + len(self.b), len(self.a) + len(self.b) + len(self.real)
        return slice(0, ends[0]), slice(ends[0], ends[1]), slice(ends[1], ends[2])


def _phones(clips: Sequence[Clip], keep: Any) -> list[Phones]:
    return [clip["phones"] for clip, kept in zip(clips, keep, strict=True) if kept]


def _difference(
    n: int, incidence: Incidence, speech: _Speech, metric: dict[str, Any], design: Design
) -> Difference | str:
    first, second, real = speech.ranges
    n_ngrams = tuple(int(incidence.n_windows[side].sum()) for side in speech.ranges)
    if not all(n_ngrams):
        return f"a side has no {n}-grams"
    per_nat = 1 / math.log(2) if metric["unit"] == "bits" else 1.0
    of_a, of_b = (_whole(incidence, side, real) for side in (first, second))
    statistics = divergence_differences(incidence, slice(0, second.stop), real, speech.members)
    p = p_value(statistics)
    interval = _interval(incidence, speech, design, (of_a, of_b))
    notes = speech.notes
    if isinstance(interval, Undefined):
        notes = (*notes, f"there is no interval: {interval.reason}")
    return Difference(
        key=f"pjsd.{n}",
        a=of_a * per_nat,
        b=of_b * per_nat,
        difference=(of_a - of_b) * per_nat,
        ci95=None if isinstance(interval, Undefined) else (interval[0] * per_nat, interval[1] * per_nat),
        effect=None,
        p=p,
        p_adjusted=p,
        n=(len(speech.a), len(speech.b)),
        n_ngrams=n_ngrams,  # type: ignore[arg-type]
        unit=metric["unit"],
        higher_is_better=False,
        better=None,
        needed=None,
        notes=notes,
        signature=metric["signature"],
    )


def _whole(incidence: Incidence, side: slice, real: slice) -> float:
    sides = side, real
    everything = tuple(np.ones((each.stop - each.start, 1), dtype=np.uint8) for each in sides)
    return float(divergences(incidence, sides, everything)[0])  # type: ignore[arg-type]


def _interval(
    incidence: Incidence, speech: _Speech, design: Design, whole: tuple[float, float]
) -> tuple[float, float] | Undefined:
    """95 % interval of the difference by complementary halves, as ``statistics.half_sampling`` does for one value.

    Halves of A, of B (the same pairs where they are paired) and of real speech are drawn; what a half of real speech
    adds to both divergences is no part of their difference.
    """
    from scipy.special import stdtrit

    first, second, real = speech.ranges
    shared = min(_n_shared(incidence, side, real) for side in (first, second))
    reason = too_few(speech.clusters, shared)
    if reason is not None:
        return reason
    rngs = [np.random.default_rng((design.seed, purpose)) for purpose in (HALVES, REAL_HALVES)]
    of_a = draw_halves(speech.clusters[0], _HALF_SAMPLES, rngs[0])
    of_b = of_a if design.paired else draw_halves(speech.clusters[1], _HALF_SAMPLES, rngs[0])
    of_real = _with_complements(draw_halves(speech.clusters[2], _HALF_SAMPLES, rngs[1]))
    scores = [
        divergences(incidence, (side, real), (_with_complements(halves), of_real))
        for side, halves in ((first, of_a), (second, of_b))
    ]
    gaps = (scores[0] - scores[1]).reshape(2, -1)
    overlap = 2 - float(np.mean(scores[0]) + np.mean(scores[1])) / math.log(2)
    if not np.isfinite(gaps).all() or overlap <= 0:
        return Undefined("halves of the sides share no n-gram")
    odd = float(np.var((gaps[0] - gaps[1]) / 2, ddof=1))
    even = float(np.var((gaps[0] + gaps[1]) / 2, ddof=1))
    sd = math.sqrt(max(odd - even, odd / 2)) * (2 - sum(whole) / math.log(2)) / overlap
    freedom = min(int(each.max()) for each in speech.clusters)
    half = float(stdtrit(freedom, 0.975)) * sd
    return whole[0] - whole[1] - half, whole[0] - whole[1] + half


def _with_complements(halves: Draws) -> Draws:
    return np.concatenate((halves, 1 - halves), axis=1)


def _n_shared(incidence: Incidence, side: slice, real: slice) -> int:
    """n-grams that two sides have in common, occurrence by occurrence."""
    masks = np.zeros((2, incidence.n_windows.size), dtype=bool)
    masks[0, side] = masks[1, real] = True
    return int(np.minimum(incidence.counts(masks[0]), incidence.counts(masks[1])).sum())
