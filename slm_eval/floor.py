"""The floor of pJSD: what real speech scores against real speech, at the sizes of a comparison.

A divergence of finite samples is above zero even where both come from one source, and at speech's usual sizes that
floor is most of the value for n >= 3. It is estimated from the real side alone, by splitting it.

Letters: U_R real utterances, C clusters of them, S splits, N_G and N_R n-grams of the generated and the real side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slm_eval.divergence import LN2
from slm_eval.incidence import Floats, Incidence, side_ranges
from slm_eval.nested import nested_scores
from slm_eval.ngrams import Counts
from slm_eval.statistics import Undefined

# A split leaves pieces of pieces of the real side: below this many clusters they are single utterances.
MIN_FLOOR_CLUSTERS = 8
# Largest N_G / N_R: beyond, the curve would be carried on over more than twice the factor that it was measured over.
MAX_SIZE_RATIO = 4
# Disjoint pairs at the smallest scale, the first that the clips suffice for: scales s, s/2, s/4 or only s, s/2.
_PIECES = (4, 2)


@dataclass(frozen=True)
class Floor:
    """What real against real speech would score at the run's sizes.

    Attributes:
        value: expectation of that score, nats.
        sd: standard deviation of one such score, nats.
        splits: random splits of the real side that were measured.
        scale: largest size at which the real side could be split into two such sides, as a share of the run's sizes.
        measured: scale -> mean score over the splits at that scale, from which ``value`` was extrapolated.
    """

    value: float
    sd: float
    splits: int
    scale: float
    measured: dict[float, float]


def draw_splits(clusters: npt.NDArray[np.intp], splits: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Random orders of a side's C clusters: shape (S, C), for ``floor`` to cut."""
    n_clusters = int(clusters.max()) + 1 if clusters.size else 0
    return np.array([rng.permutation(n_clusters) for _ in range(splits)], dtype=np.intp).reshape(splits, n_clusters)


def floor(
    incidence: Incidence, n_generated: int, real_clusters: npt.NDArray[np.intp], orders: npt.NDArray[np.intp]
) -> Floor | Undefined:
    """The score of real against real speech at the n-gram counts N_G and N_R of this comparison.

    The real side cannot be split into two of sizes N_G and N_R, only into sides of s N_G and s N_R with
    s = N_R / (N_G + N_R). Each split measures J there and, on nested parts, at s/2 and s/4. logit(J / ln 2) is a
    smooth, nearly straight function of the logarithm of the size (1/N_a + 1/N_b)^-1, so the parabola through the
    three means is carried on to the run's own sizes. Against fresh samples of synthetic sources (40 and 60 phones,
    n = 1..5, 1e4 to 1e6 phones) the mean error was at most 0.003 nats for N_G <= N_R and 0.005 for N_G = 3 N_R, and
    the error on one real side up to 2 and 5 sds of one score. At N_G = 10 N_R it was 0.04 nats, so N_G is limited to
    4 N_R. On LibriSpeech phones (pocketsphinx, 96 against 96 utterances, 30 splits) the mean error was at most 0.0012.

    The sd is that of one score at the run's sizes, not the error of ``value``: the spread of J over the splits at s,
    carried to those sizes by the same shift of the logit. Both halves of a split share the clips of one real side,
    and the spread shrinks a little faster with size than the logit says; the two errors nearly cancel. It was 0.5 to
    1.9 of the sd over fresh samples for N_G <= N_R, and 0.7 to 2.4 for N_G = 3 N_R.

    Args:
        incidence: both sides, generated first.
        n_generated: utterances of the generated side.
        real_clusters: shape (U_R,), cluster of each real utterance, 0 to C - 1.
        orders: shape (S, C), ``draw_splits`` of them, S >= 2.

    Returns:
        the floor, or why the real side cannot be split so.
    """
    sides = side_ranges(incidence, n_generated)
    wanted = [int(incidence.n_windows[side].sum()) for side in sides]
    sizes = np.bincount(real_clusters, weights=incidence.n_windows[sides[1]]).astype(np.int64)
    usable = int(np.count_nonzero(sizes))
    if usable < MIN_FLOOR_CLUSTERS:
        return Undefined(
            f"the floor needs at least {MIN_FLOOR_CLUSTERS} real clips (or clusters) with n-grams; there are {usable}"
        )
    if wanted[0] > MAX_SIZE_RATIO * wanted[1]:
        return Undefined(
            f"{wanted[1]} real n-grams are too few to tell the floor at {wanted[0]} generated ones; at least a quarter "
            f"as many are needed"
        )
    share = wanted[0] / sum(wanted)
    smaller = usable * min(share, 1 - share)
    pieces = next((each for each in _PIECES if smaller >= each), None)
    if pieces is None:
        return Undefined(
            f"the real clips cannot be split in proportion {wanted[0]} to {wanted[1]} n-grams, generated to real"
        )
    segments = cut_segments(sizes, orders, share, pieces)
    levels = _measure(incidence, sides[1], segments[:, real_clusters], pieces)
    target = 1 / (1 / wanted[0] + 1 / wanted[1])
    return _extrapolate(levels, target)


@dataclass(frozen=True)
class _Level:
    """Scores at one scale: shape (S, pairs) each; size is (1/N_a + 1/N_b)^-1."""

    scores: Floats
    sizes: Floats


def cut_segments(sizes: Counts, orders: npt.NDArray[np.intp], share: float, pieces: int) -> npt.NDArray[np.intp]:
    """Cut each random order of the clusters into 2 x pieces segments, those of the generated size first.

    Args:
        sizes: shape (C,), n-grams per cluster.
        orders: shape (S, C).
        share: of the n-grams that goes to the first ``pieces`` segments, in equal parts.

    Returns:
        shape (S, C), segment of each cluster.
    """
    segment_shares = np.repeat([share / pieces, (1 - share) / pieces], pieces)
    edges = np.cumsum(segment_shares)[:-1] * sizes.sum()
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


def _measure(incidence: Incidence, side: slice, segments: npt.NDArray[np.intp], pieces: int) -> list[_Level]:
    """Scores between the first and the second half of the segments, from the largest scale down.

    Args:
        incidence: both sides.
        side: utterances of the real side.
        segments: shape (S, U_R), 0 to 2 pieces - 1.
    """
    first = np.where(segments < pieces, segments, pieces)
    second = np.where(segments >= pieces, segments - pieces, pieces)
    levels = nested_scores(incidence, (side, side), (first, second), pieces)
    return [_Level(each.scores, 1 / (1 / each.n_ngrams[0] + 1 / each.n_ngrams[1])) for each in levels]


def _extrapolate(levels: list[_Level], target: float) -> Floor:
    """Carry the mean scores to the target size; see ``floor``."""
    means = [float(level.scores.mean()) for level in levels]
    sizes = [float(np.exp(np.log(level.sizes).mean())) for level in levels]
    scale = sizes[0] / target
    measured = {size / target: mean for size, mean in zip(sizes, means, strict=True)}
    splits = levels[0].scores.shape[0]
    top = means[0]
    if not 0 < top < LN2:
        # One phone only, or nothing shared by any two parts: no smaller sample tells what a larger one would score.
        return Floor(top, 0.0, splits, scale, measured)
    value = LN2 / (1 + math.exp(-(_logit(top) - _fall(means, [math.log(size / target) for size in sizes]))))
    # The derivative of J by its logit is J (1 - J / ln 2).
    shift = (value * (1 - value / LN2)) / (top * (1 - top / LN2))
    return Floor(value, float(levels[0].scores.std(ddof=1)) * shift, splits, scale, measured)


def _fall(means: list[float], log_sizes: list[float]) -> float:
    """By how much the logit falls from the largest measured size to the target, where the logarithm of the size is 0.

    Never by less than nothing, and never by more than the logarithm of the growth: J itself falls as 1/size where
    samples are large, the shared part 1 - J / ln 2 grows as the size where they are small, and in between it is slower.
    """
    growth = -log_sizes[0]
    usable = [(x, _logit(mean)) for x, mean in zip(log_sizes, means, strict=True) if 0 < mean < LN2]
    if len(usable) == 1:
        # Nothing shared at the smaller sizes: the shared part grows in proportion to the size.
        return growth
    at_target = sum(
        y * math.prod(other / (other - x) for other, _ in usable if other != x) for x, y in usable
    )  # Lagrange's polynomial at 0
    fall = usable[0][1] - at_target
    return min(max(fall, min(growth, 0.0)), max(growth, 0.0))


def _logit(score: float) -> float:
    return math.log(score / LN2) - math.log1p(-score / LN2)
