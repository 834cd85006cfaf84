"""Uncertainty of pJSD, by resampling utterances. No model is ever run again.

- ``half_sampling``: how far the value would move with other utterances of the same sources.
- ``value_at_equal_sizes``: the value with the larger side cut to the smaller one.
- ``floor.floor``, in a file of its own: what a source would score against itself at given sizes.

Each takes the incidence of one n over the utterances of both sides, generated first, and draws or a generator made by
the caller, so that all n of an analysis share them. Everything is in nats.

Letters: U utterances, C clusters (utterances that are drawn together: one speaker, one prompt), D draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats
from slm_eval.divergence.estimators import LN2, jensen_shannon
from slm_eval.divergence.incidence import Draws, Incidence, divergences_of_halves, n_ngrams, side_ranges
from slm_eval.divergence.ngrams import Counts

# Below these there is no interval. Clips by themselves: eight a side still gave a coverage of 92 to 99 %. Clusters of
# several clips differ more: ten speakers a side gave 82 %, twenty 90 %. n-grams in common: from about ten, 85 %; such a
# score is as uneven as a count of ten. A limit of 30 let the few samples pass that had most by chance: 40 to 87 %.
MIN_CLIPS = 8
MIN_CLUSTERS = 20
MIN_SHARED = 50
# Of speakers of uneven size, as many as so many equal ones: ``effective_clusters``.
MIN_EFFECTIVE = 8
# Degrees of freedom that a side's own means and size take of its effective number of clusters.
_FITTED = 2


@dataclass(frozen=True)
class Undefined:
    """Why a number does not exist: one line."""

    reason: str


# ---- half-sampling ----


def draw_halves(clusters: npt.NDArray[np.intp], draws: int, rng: np.random.Generator) -> Draws:
    """Return random halves of a side: floor(C/2) of its C clusters without replacement, with all their utterances.

    Args:
        clusters: shape (U,), cluster of each utterance, 0 to C - 1.
        draws: D.
        rng: source of randomness.

    Returns:
        shape (U, D), 1 where the utterance is in the draw.
    """
    n_clusters = int(clusters.max()) + 1 if clusters.size else 0
    chosen = np.zeros((n_clusters, draws), dtype=np.uint8)
    for draw in range(draws):
        chosen[rng.permutation(n_clusters)[: n_clusters // 2], draw] = 1
    return chosen[clusters]


def half_sampling(
    incidence: Incidence,
    n_generated: int,
    clusters: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]],
    halves: tuple[Draws, Draws],
) -> float | None:
    """Return the standard deviation of the value over fresh samples of the same sources and sizes.

    From the scores of complementary halves; ``sampling_variance`` has the formula. Where hardly any n-gram is shared,
    the shared part 1 - J / ln 2 is a sum over pairs of utterances that grows with the size, and its deviations grow
    with it; where nearly all are shared they do not. So of the growth from halves to the whole the share J / ln 2 is
    taken. Where few clusters make a side, they fit its n-gram frequencies, and its size, too well: two of the effective
    number are taken for that. ``benchmarks/statistics`` measures what comes of it.

    The utterance bootstrap is no alternative: a resample repeats utterances, which moves the divergence by many sds.

    Args:
        incidence: both sides, generated first.
        n_generated: utterances of the generated side.
        clusters: of either side, shape (U,), cluster of each utterance, 0 to C - 1.
        halves: ``draw_halves`` of them, D >= 3 draws.

    Returns:
        nats; None where fewer than three clusters per side, a half without n-grams, or halves that share none leave it
        undefined.
    """
    if any(half.sum() == 0 for half in halves):
        return None
    sides = side_ranges(incidence, n_generated)
    scores = divergences_of_halves(incidence, sides, halves)
    shared = 1 - float(scores.mean()) / LN2
    if np.isnan(scores).any() or shared <= 0:
        return None
    sizes = [sizes_of_halves(incidence.n_windows[side], half) for side, half in zip(sides, halves, strict=True)]
    whole = jensen_shannon(*(incidence.counts_of(side) for side in sides)) / LN2
    growth = (1 - whole) / shared
    effective = min(
        effective_clusters(labels, incidence.n_windows[side]) for labels, side in zip(clusters, sides, strict=True)
    )
    if effective <= _FITTED:
        return None
    sd = math.sqrt(sampling_variance(scores, sizes)) * few_clusters(effective)
    return sd * (1 + (growth - 1) * whole)


def sizes_of_halves(n_windows: Counts, halves: Draws) -> Counts:
    """Return the n-grams of each half, then of what it leaves: shape (2D,)."""
    drawn = n_ngrams(n_windows, halves)
    return np.concatenate((drawn, n_windows.sum() - drawn))


def sampling_variance(scores: Floats, sizes: Sequence[npt.NDArray[Any]]) -> float:
    """Return the variance of a statistic over fresh samples of the same sizes, from complementary halves of the sample.

    Each draw gives two scores, that of the drawn halves and that of the other halves. Write a draw as signs, one per
    utterance: half of the difference of the two scores is odd in the signs, their mean is even. To second order in the
    signs the value has variance P + D (what utterances contribute each by itself, and in pairs), the odd part P + 2D,
    the even part D. So the variance is odd - even, and at least half of the odd one. A plain sd of half-samples is
    P + 3D: up to 1.7 times too large where the value is mostly floor.

    Halves differ in n-grams where clips differ in length or speakers in clips, and the smaller half scores higher. The
    sizes of the sample itself are what they are: what those of its halves do to their scores is regressed out, on the
    logarithms of the sizes. Without that the sd was 2.0 times too large at n = 3 for clips as uneven as lognormal ones
    with a coefficient of variation of 0.6, and 6 times with uneven speakers.

    Args:
        scores: shape (2D,): of the halves that were drawn, then of the others, in the same order.
        sizes: n-grams of the halves behind each score, shape (2D,) for each side that was halved.

    Returns:
        in the scores' unit, squared.
    """
    logarithms = np.log(np.stack([np.asarray(size, dtype=np.float64) for size in sizes], axis=1))
    logarithms -= logarithms.mean(axis=0)
    slopes, _, rank, _ = np.linalg.lstsq(logarithms, scores - scores.mean(), rcond=None)
    drawn, others = (scores - logarithms @ slopes).reshape(2, -1)
    # Of the 2D - 1 degrees of freedom each slope took one.
    freedom = (scores.size - 1) / (scores.size - 1 - int(rank))
    odd = float(np.var((drawn - others) / 2, ddof=1)) * freedom
    even = float(np.var((drawn + others) / 2, ddof=1)) * freedom
    return max(odd - even, odd / 2)


def difference_sd(
    scores: tuple[Floats, Floats],
    sizes: Sequence[npt.NDArray[Any]],
    values: tuple[float, float],
) -> float | None:
    """Return the standard deviation of J(A, R) - J(B, R) over fresh samples of A, B and R, as ``half_sampling`` does.

    What the halves of real speech R do to both divergences is no part of their difference.

    Args:
        scores: of A and of B, shape (2D,) each, against the same halves of R: as for ``sampling_variance``.
        sizes: n-grams of the halves of A, of B and of R, shape (2D,) each.
        values: J(A, R) and J(B, R) of the whole samples.

    Returns:
        nats; None where a half has no n-grams, or halves share none.
    """
    shared = 1 - float(np.mean(scores[0]) + np.mean(scores[1])) / (2 * LN2)
    if not np.isfinite(scores[0] - scores[1]).all() or shared <= 0:
        return None
    distance = sum(values) / (2 * LN2)
    growth = (1 - distance) / shared
    return math.sqrt(sampling_variance(scores[0] - scores[1], sizes)) * (1 + (growth - 1) * distance)


def few_clusters(effective: float) -> float:
    """Return by how much an sd from so many clusters is to be raised: they fit the sample's means, and its size."""
    return math.sqrt(effective / (effective - _FITTED))


def degrees_of_freedom(effective: float, draws: int) -> float:
    """Return those of an sd that is known from so many clusters, and from so many draws of complementary halves.

    Where a divergence is mostly floor, its variance is the difference of an odd part 2 D and an even part D
    (``sampling_variance``), known as well as a variance from a fifth of the draws.
    """
    return 1 / (1 / (effective - 1) + 5 / (draws - 1))


def interval(
    value: float,
    sd: float,
    clusters: Sequence[npt.NDArray[np.intp]],
    sizes: Sequence[npt.NDArray[Any]],
    n_shared: int,
    draws: int,
) -> tuple[float, float] | Undefined:
    """Return the 95 % interval value ± t sd within [0, ln 2], or why there is none.

    Of the expectation of the value at the size of the sample, t with ``degrees_of_freedom``. Withheld where simulation
    found that it covers less than 90 %: with few clusters, and where the value rests on a handful of n-grams.

    Args:
        value, sd: nats.
        clusters: of either side, shape (U,), cluster of each utterance, 0 to C - 1.
        sizes: of either side, shape (U,), n-grams of each utterance.
        n_shared: n-grams that the sides have in common, occurrence by occurrence: the sum of the smaller counts.
        draws: of halves behind the sd.
    """
    from scipy.special import stdtrit

    reason = too_few(clusters, n_shared)
    if reason is not None:
        return reason
    effective = min(effective_clusters(side, size) for side, size in zip(clusters, sizes, strict=True))
    half = float(stdtrit(degrees_of_freedom(effective, draws), 0.975)) * sd
    return max(value - half, 0.0), min(value + half, LN2)


def too_few(clusters: Sequence[npt.NDArray[np.intp]], n_shared: int) -> Undefined | None:
    """Return why an interval of divergences is withheld, or None; arguments as for ``interval``."""
    for side in clusters:
        if side.size < MIN_CLIPS:
            return Undefined(f"a side has fewer than {MIN_CLIPS} clips")
        if _n_clusters(side) < min(side.size, MIN_CLUSTERS):
            return Undefined(f"a side has clips of fewer than {MIN_CLUSTERS} speakers (or prompts)")
        if effective_clusters(side) < MIN_EFFECTIVE:
            return Undefined(
                f"most clips of a side are of a few speakers (or prompts), worth fewer than {MIN_EFFECTIVE} equal ones"
            )
    if n_shared < MIN_SHARED:
        return Undefined(f"the sides share fewer than {MIN_SHARED} n-grams")
    return None


def effective_clusters(clusters: npt.NDArray[np.intp], sizes: npt.NDArray[Any] | None = None) -> float:
    """Return how many clusters of one size would be as many as these, (sum n)^2 / sum n^2 of their sizes n (Kish 1965).

    Args:
        clusters: shape (U,), cluster of each utterance, 0 to C - 1.
        sizes: shape (U,), of each utterance; None: each counts as one.

    >>> effective_clusters(np.array([0, 0, 0, 1]))
    1.6
    """
    of_clusters = np.bincount(clusters, weights=sizes).astype(np.float64)
    return float(of_clusters.sum() ** 2 / np.square(of_clusters).sum())


def _n_clusters(side: npt.NDArray[np.intp]) -> int:
    return int(side.max()) + 1 if side.size else 0


# ---- equal sizes ----


def value_at_equal_sizes(incidence: Incidence, n_generated: int, cuts: int, rng: np.random.Generator) -> float:
    """Return the value at equal sizes: the mean over random cuts of the larger side to the smaller one's n-grams.

    A cut takes utterances in random order and, of the last one, its first n-grams. Where the sizes are equal there is
    nothing to draw.

    Args:
        incidence: both sides, generated first, each with at least one n-gram.
        n_generated: utterances of the generated side.
        cuts: to average over.
        rng: source of randomness.
    """
    sides = side_ranges(incidence, n_generated)
    totals = [int(incidence.n_windows[side].sum()) for side in sides]
    whole = [incidence.counts_of(side) for side in sides]
    if totals[0] == totals[1]:
        return jensen_shannon(whole[0], whole[1])
    larger = int(totals[1] > totals[0])
    smaller = whole[1 - larger]
    cut = (_cut(incidence, sides[larger], min(totals), rng) for _ in range(cuts))
    return float(np.mean([jensen_shannon(smaller, counts) for counts in cut]))


def _cut(incidence: Incidence, side: slice, n_ngrams: int, rng: np.random.Generator) -> Counts:
    """Return counts of exactly ``n_ngrams`` n-grams of the side: random utterances, the last one in part."""
    order = side.start + rng.permutation(side.stop - side.start)
    filled = np.cumsum(incidence.n_windows[order])
    last = int(np.searchsorted(filled, n_ngrams))
    chosen = np.zeros(incidence.n_windows.size, dtype=bool)
    chosen[order[:last]] = True
    counts = incidence.counts(chosen)
    missing = n_ngrams - (int(filled[last - 1]) if last else 0)
    first = incidence.first_window(int(order[last]))
    rows = np.searchsorted(incidence.keys, incidence.windows[first : first + missing])
    return counts + np.bincount(rows, minlength=counts.size)
