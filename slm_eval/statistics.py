"""Uncertainty and correction of pJSD, by resampling utterances. No model is ever run again.

- ``half_sampling``: how far the value would move with other utterances of the same sources.
- ``corrected``: the value with part of its finite-sample bias removed, at equal sizes.
- ``floor.floor``, in a file of its own: what real speech would score against real speech at these sizes.

Each takes the incidence of one n over the utterances of both sides, generated first, and draws or a generator made by
the caller, so that all n of an analysis share them. Everything is in nats.

Letters: U utterances, C clusters (utterances that are drawn together: one speaker, one prompt), D draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slm_eval.divergence import LN2, cwj, jensen_shannon
from slm_eval.incidence import Draws, Incidence, divergences, side_ranges
from slm_eval.ngrams import Counts

# Below these there is no interval. Clips by themselves: eight a side still gave a coverage of 92 to 99 %. Clusters of
# several clips differ more: ten speakers a side gave 82 %, twenty 90 %. n-grams in common: from about ten, 85 %; such a
# score is as uneven as a count of ten. A limit of 30 let the few samples pass that had most by chance: 40 to 87 %.
MIN_CLIPS = 8
MIN_CLUSTERS = 20
MIN_SHARED = 50


@dataclass(frozen=True)
class Undefined:
    """Why a number does not exist: one line."""

    reason: str


# ---- half-sampling ----


def draw_halves(clusters: npt.NDArray[np.intp], draws: int, rng: np.random.Generator) -> Draws:
    """Random halves of a side: floor(C/2) of its C clusters without replacement, with all their utterances.

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


def half_sampling(incidence: Incidence, n_generated: int, halves: tuple[Draws, Draws]) -> float | None:
    """Standard deviation of the value over fresh samples of the same sources, from complementary halves.

    Each draw gives two scores, that of the drawn halves and that of the other halves. Write a draw as signs, one per
    utterance: half of the difference of the two scores is odd in the signs, their mean is even. To second order in the
    signs the value has variance P + D (what utterances contribute each by itself, and in pairs), the odd part P + 2D,
    the even part D. So the variance is odd - even, and at least half of the odd one. A plain sd of half-samples is
    P + 3D: up to 1.7 times too large where the value is mostly floor.

    Where hardly any n-gram is shared, the shared part 1 - J / ln 2 is itself the sum over pairs that the argument is
    about, and grows with the size: the sd is carried from halves to the whole in proportion to it. This is the only
    scaling. ``benchmarks/coverage.py`` measures what comes of it.

    The utterance bootstrap is no alternative: a resample repeats utterances, which moves the divergence by many sds.

    Args:
        incidence: both sides, generated first.
        n_generated: utterances of the generated side.
        halves: ``draw_halves`` of either side, D >= 2 draws.

    Returns:
        nats; None where fewer than two clusters per side, a half without n-grams, or halves that share none leave it
        undefined.
    """
    if any(half.sum() == 0 for half in halves):
        return None
    sides = side_ranges(incidence, n_generated)
    pairs = [np.concatenate((half, 1 - half), axis=1) for half in halves]
    scores = divergences(incidence, sides, (pairs[0], pairs[1])).reshape(2, -1)
    shared = 1 - float(scores.mean()) / LN2
    if np.isnan(scores).any() or shared <= 0:
        return None
    whole = jensen_shannon(*(incidence.counts(_mask(incidence, side)) for side in sides))
    odd = float(np.var((scores[0] - scores[1]) / 2, ddof=1))
    even = float(np.var((scores[0] + scores[1]) / 2, ddof=1))
    return math.sqrt(max(odd - even, odd / 2)) * (1 - whole / LN2) / shared


def interval(
    value: float, sd: float, clusters: Sequence[npt.NDArray[np.intp]], n_shared: int
) -> tuple[float, float] | Undefined:
    """95 % interval value ± t sd within [0, ln 2], t with min C - 1 degrees of freedom; or why there is none.

    Of the expectation of the value at the size of the sample. Withheld where simulation found that it covers less than
    90 %: with few clusters, and where the value rests on a handful of n-grams.

    Args:
        value, sd: nats.
        clusters: of either side, shape (U,), cluster of each utterance, 0 to C - 1.
        n_shared: n-grams that the sides have in common, occurrence by occurrence: the sum of the smaller counts.
    """
    from scipy.special import stdtrit

    reason = too_few(clusters, n_shared)
    if reason is not None:
        return reason
    half = float(stdtrit(min(_n_clusters(side) for side in clusters) - 1, 0.975)) * sd
    return max(value - half, 0.0), min(value + half, LN2)


def too_few(clusters: Sequence[npt.NDArray[np.intp]], n_shared: int) -> Undefined | None:
    """Why an interval of divergences is withheld, or None; arguments as for ``interval``."""
    for side in clusters:
        if side.size < MIN_CLIPS:
            return Undefined(f"a side has fewer than {MIN_CLIPS} clips")
        if _n_clusters(side) < min(side.size, MIN_CLUSTERS):
            return Undefined(f"a side has clips of fewer than {MIN_CLUSTERS} speakers (or prompts)")
    if n_shared < MIN_SHARED:
        return Undefined(f"the sides share fewer than {MIN_SHARED} n-grams")
    return None


def _n_clusters(side: npt.NDArray[np.intp]) -> int:
    return int(side.max()) + 1 if side.size else 0


# ---- corrected ----


def corrected(incidence: Incidence, n_generated: int, draws: int, rng: np.random.Generator) -> float:
    """``divergence.cwj`` at equal sizes: the mean over random cuts of the larger side to the smaller one's n-grams.

    A cut takes utterances in random order and, of the last one, its first n-grams. Where the sizes are equal there is
    nothing to draw.

    Args:
        incidence: both sides, generated first, each with at least one n-gram.
        n_generated: utterances of the generated side.
        draws: cuts to average over.
        rng: source of randomness.

    Returns:
        nats; may be negative or above ln 2.
    """
    sides = side_ranges(incidence, n_generated)
    totals = [int(incidence.n_windows[side].sum()) for side in sides]
    whole = [incidence.counts(_mask(incidence, side)) for side in sides]
    if totals[0] == totals[1]:
        return cwj(whole[0], whole[1])
    larger = int(totals[1] > totals[0])
    smaller = whole[1 - larger]
    cuts = (_cut(incidence, sides[larger], min(totals), rng) for _ in range(draws))
    return float(np.mean([cwj(smaller, cut) for cut in cuts]))


def _cut(incidence: Incidence, side: slice, n_ngrams: int, rng: np.random.Generator) -> Counts:
    """Counts of exactly ``n_ngrams`` n-grams of the side: random utterances, the last one in part."""
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


def _mask(incidence: Incidence, side: slice) -> npt.NDArray[np.bool_]:
    mask = np.zeros(incidence.n_windows.size, dtype=bool)
    mask[side] = True
    return mask
