"""The floor of pJSD: what a source of speech scores against itself at given sizes.

A divergence of finite samples is above zero even where both come from one source, and at speech's usual sizes that
floor is most of the value for n >= 3. It is estimated from one side alone, by splitting it: real speech's floor stands
beside every value, and the floors of both sides correct it (``correction``).

Letters: U utterances of the side, C clusters of them, S splits, N n-grams of the side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats
from slm_eval.divergence.estimators import LN2
from slm_eval.divergence.incidence import Incidence
from slm_eval.divergence.larger_samples import MAX_SHARES, Spectrum, expected_score
from slm_eval.divergence.nested import Level, nested_scores
from slm_eval.divergence.ngrams import Counts
from slm_eval.divergence.resampling import MIN_EFFECTIVE, Undefined, effective_clusters

# A split leaves pieces of pieces of the side: with seven to ten speakers the floor was a whole sd of a score too low.
MIN_FLOOR_CLUSTERS = 12
# Largest (n_a + n_b) / N, so that of the other side there may be half as much again. At twice as much the mean error
# came to a whole sd of a score, at three times to two (measured in the worlds of ``benchmarks/statistics``).
MAX_GROWTH = 2.5
# Disjoint pairs at the smallest scale, the first that the clips suffice for: scales s, s/2, s/4 or only s, s/2. Two
# clusters a piece at least: pieces of single speakers differ in size by so much that the sd was ten times too large.
_PIECES = (4, 2)
_CLUSTERS_A_PIECE = 2
# Steepest slope of the logit per octave of size. That of J ~ 1/size, and of 1 - J / ln 2 ~ size, is ln 2; where all
# types are about as frequent it is more (order 3, n = 3, from 1e4 to 2e4 phones: 1.3 times that).
_STEEPEST = 2 * LN2
# Scale from which the slope of the splits does for what is left of the way: a tenth of an octave.
_NEAR = 0.93


@dataclass(frozen=True)
class Floor:
    """What a source would score against itself.

    Attributes:
        value: expectation of that score, nats.
        sd: standard deviation of one such score, nats.
        splits: random splits of the side that were measured.
        scale: largest size at which the side could be split into two such samples, as a share of the sizes asked for.
        measured: scale -> mean score over the splits at that scale.
    """

    value: float
    sd: float
    splits: int
    scale: float
    measured: dict[float, float]


def draw_splits(clusters: npt.NDArray[np.intp], splits: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Return random orders of a side's C clusters, shape (S, C), for ``floor`` to cut."""
    n_clusters = int(clusters.max()) + 1 if clusters.size else 0
    return np.array([rng.permutation(n_clusters) for _ in range(splits)], dtype=np.intp).reshape(splits, n_clusters)


def floor(
    incidence: Incidence,
    side: slice,
    clusters: npt.NDArray[np.intp],
    wanted: tuple[int, int],
    orders: npt.NDArray[np.intp],
) -> Floor | Undefined:
    """Return the expected score between two fresh samples of a side's source, of given n-gram counts.

    The side cannot be split into two samples larger than itself, only into ones of s n_a and s n_b n-grams, with
    s = N / (n_a + n_b) or 1. Each split measures J there and, on nested parts, at s/2 and s/4, which tells the sd of a
    score. What samples of up to 2 s n_a and 2 s n_b would score, ``larger_samples`` estimates without bias. For sizes
    beyond these the logit of J / ln 2, a nearly straight function of the logarithm of the size, is carried on as it
    went from s to 2 s. ``benchmarks/statistics/floor_study.py`` measures the errors.

    Args:
        incidence: all utterances.
        side: utterances of the side.
        clusters: shape (U,), cluster of each of them, 0 to C - 1.
        wanted: n_a and n_b.
        orders: shape (S, C), ``draw_splits`` of the side, S >= 2.

    Returns:
        the floor, or why the side cannot be split so.
    """
    # 1. Can the side be split so?
    sizes = np.bincount(clusters, weights=incidence.n_windows[side]).astype(np.int64)
    usable, total = int(np.count_nonzero(sizes)), int(sizes.sum())
    if usable < MIN_FLOOR_CLUSTERS:
        return Undefined(
            f"at least {MIN_FLOOR_CLUSTERS} clips (or clusters) with n-grams are needed; there are {usable}"
        )
    if effective_clusters(clusters, incidence.n_windows[side]) < MIN_EFFECTIVE:
        return Undefined("most speech of a side is of a few speakers (or prompts)")
    if sum(wanted) > MAX_GROWTH * total:
        return Undefined(f"the other side has more than {MAX_GROWTH - 1:g} times as much speech; use less of it")
    scale = min(1.0, total / sum(wanted))
    shares = scale * wanted[0] / total, scale * wanted[1] / total
    pieces = next((number for number in _PIECES if usable * min(shares) >= number * _CLUSTERS_A_PIECE), None)
    if pieces is None:
        return Undefined("the other side has too little speech: this one cannot be split in the same proportion")
    # 2. Scores of parts of the side against each other, at the largest scale and at halves and quarters of it.
    segments = cut_segments(sizes, orders, shares, pieces)[:, clusters]
    first = np.where(segments < pieces, segments, pieces)
    second = np.where((segments >= pieces) & (segments < 2 * pieces), segments - pieces, pieces)
    levels = nested_scores(incidence, (side, side), (first, second), pieces)
    # 3. What larger samples than the parts would score, and the curve carried on to the sizes wanted.
    reach = min(MAX_SHARES * total / sum(wanted), 1.0)
    if scale > _NEAR:
        return _carried_on(levels, wanted, None)
    target = reach * wanted[0], reach * wanted[1]
    score = expected_score(Spectrum.from_side(incidence, side, clusters), target)
    return _carried_on(levels, wanted, (reach, score))


def cut_segments(
    sizes: Counts, orders: npt.NDArray[np.intp], shares: tuple[float, float], pieces: int
) -> npt.NDArray[np.intp]:
    """Cut each random order of the clusters into 2 x pieces segments, those of the first share first.

    Args:
        sizes: shape (C,), n-grams per cluster.
        orders: shape (S, C).
        shares: of the n-grams that goes to the first ``pieces`` segments, in equal parts, and to the others.

    Returns:
        shape (S, C), segment of each cluster; 2 x pieces where the shares leave it out.
    """
    edges = np.cumsum(np.repeat([share / pieces for share in shares], pieces)) * sizes.sum()
    if sum(shares) > 1 - 1e-9:
        edges = edges[:-1]
    result = np.zeros_like(orders)
    for split, order in enumerate(orders):
        # Clusters without n-grams take no part: they stay in segment 0, where they add nothing.
        kept = order[sizes[order] > 0]
        middles = np.cumsum(sizes[kept]) - sizes[kept] / 2
        cuts = np.searchsorted(middles, edges)
        # At least one cluster per segment: push cuts apart from the left, then back from the right end.
        ranks = np.arange(cuts.size)
        cuts = np.maximum.accumulate(np.maximum(cuts, 1) - ranks) + ranks
        cuts = np.minimum(cuts, kept.size - cuts.size + ranks)
        result[split, kept] = np.searchsorted(cuts, np.arange(kept.size), side="right")
    return result


def _carried_on(levels: list[Level], wanted: tuple[int, int], larger: tuple[float, float] | None) -> Floor:
    """Carry the mean scores on to the sizes that are wanted; see ``floor``.

    Args:
        levels: scores of the splits.
        wanted: n_a and n_b.
        larger: a scale beyond that of the splits, and the score expected there; None where the splits are near enough.
    """
    means = [float(level.scores.mean()) for level in levels]
    octaves = [_octaves(level, wanted) for level in levels]
    distances = [float(level.mean()) for level in octaves]
    measured = {2**distance: mean for distance, mean in zip(distances, means, strict=True)}
    splits, top = levels[0].scores.shape[0], means[0]
    if not 0 < top < LN2:
        # One phone only, or nothing shared by any two parts: no smaller sample tells what a larger one would score.
        return Floor(top, 0.0, splits, 2 ** distances[0], measured)
    slope = _slope(means, distances)
    ahead = slope if larger is None else _slope_ahead(top, larger[1], math.log2(larger[0]) - distances[0])
    value = _moved(top, -distances[0] * ahead)
    return Floor(value, _sd(levels, octaves, value, slope), splits, 2 ** distances[0], measured)


def _slope_ahead(top: float, expected: float, octaves: float) -> float:
    """Return the slope of the logit per octave from a score to the one expected at so many octaves more.

    An expectation that is impossible, by noise, is replaced by the nearest possible one.
    """
    possible = min(max(expected, _moved(top, -_STEEPEST * octaves)), top)
    return (_logit(possible) - _logit(top)) / octaves


def _moved(score: float, by: float) -> float:
    """Return the score whose logit is larger by so much."""
    return LN2 / (1 + math.exp(-(_logit(score) + by)))


def _octaves(level: Level, wanted: tuple[int, int]) -> Floats:
    """Return by how many octaves the samples of a level are larger than those wanted: shape (S, pairs), below 0."""
    return -np.log2((1 / level.n_ngrams[0] + 1 / level.n_ngrams[1]) / (1 / wanted[0] + 1 / wanted[1]))


def _slope(means: list[float], octaves: list[float]) -> float:
    """Return the slope of the logit per octave between the two largest sizes that were measured.

    Slopes are between none and ``_STEEPEST``; of sizes at which nothing is shared, or all, there is none.
    """
    if not 0 < means[1] < LN2:
        # Nothing shared at the smaller size: the shared part grows in proportion to the size.
        return -LN2
    return min(max((_logit(means[0]) - _logit(means[1])) / (octaves[0] - octaves[1]), -_STEEPEST), 0.0)


def _sd(levels: list[Level], octaves: list[Floats], value: float, slope: float) -> float:
    """Return the sd of one score at the sizes wanted.

    The two scores at half the size of a split are those of complementary halves, so half of their difference has the
    variance P + 2D (``resampling.sampling_variance``), P of single utterances, which falls as 1/size, and D of pairs,
    which falls as 1/size^2. Those at a quarter of the size say the same for half of it; the two tell P and D apart.
    As in ``resampling.half_sampling``, deviations grow where what is shared does.
    """
    variances = [_odd_variance(level, sizes, slope) for level, sizes in zip(levels[1:], octaves[1:], strict=True)]
    pairs = 0.0 if len(variances) < 2 else min(max((variances[1] - 2 * variances[0]) / 4, 0.0), variances[0] / 2)
    single = variances[0] - 2 * pairs
    top = float(levels[0].scores.mean())
    size = 2 ** float(octaves[0].mean())
    growth = (1 - value / LN2) / (1 - top / LN2)
    return math.sqrt(single * size + pairs * size**2) * (1 + (growth - 1) * value / LN2)


def _odd_variance(level: Level, octaves: Floats, slope: float) -> float:
    """Return the variance of half of the difference of neighbouring scores, less what their sizes do to it.

    What a score of this size would be on average is read off the curve, however uneven the pieces are.

    Args:
        level: scores of pieces of about one size.
        octaves: of the size of each, shape (S, pairs).
        slope: of the logit per octave.
    """
    mean = float(level.scores.mean())
    if not 0 < mean < LN2:
        return 0.0
    expected = LN2 / (1 + np.exp(-(_logit(mean) + slope * (octaves - octaves.mean()))))
    deviations = level.scores - expected
    return float(np.mean(np.square((deviations[:, 0::2] - deviations[:, 1::2]) / 2)))


def _logit(score: float) -> float:
    return math.log(score / LN2) - math.log1p(-score / LN2)
