"""Permutation tests: how often would labels that mean nothing give a difference as large as this one?

A draw says of every unit (a clip, or all clips of a speaker or prompt) which label it gets; all metrics of a comparison
share the draws. The p-value counts the observed labelling among them, (1 + #{|T*| >= |T|}) / (B + 1), so that it is
never 0 and the test holds its level exactly if labels mean nothing (Phipson and Smyth 2010). Where there are few
units, every labelling is tried instead.

Letters: C units, B draws, U utterances, M metrics. Divergences are in nats.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

from slm_eval.compare.tally import LARGEST, Tally
from slm_eval.incidence import Draws, Floats, Group, Incidence, divergences, from_overlap, in_blocks, overlaps

# Draws per step: 64 for the sparse products, as in ``incidence``; 512 for the dense ones.
_BLOCK, _DENSE_BLOCK = 64, 512
# Of the pool, for the change of a divergence with size near one half of it; and how often they are drawn.
_SLOPE_SHARES, _SLOPE_DRAWS = (0.4, 0.6), 64
# Statistics of equal labellings differ by rounding; so far apart they still count as equal.
_TOLERANCE = 1e-12


def swaps(units: int, draws: int, rng: np.random.Generator) -> Draws:
    """Labellings of pairs: shape (C, B), 1 where a pair stays, 0 where it is swapped; the first is as observed.

    All 2^C of them where that is no more than ``draws``.
    """
    if units < 63 and 2**units <= draws + 1:
        everything = np.arange(2**units, dtype=np.int64)[::-1]
        return ((everything >> np.arange(units)[:, None]) & 1).astype(np.uint8)
    drawn = rng.integers(0, 2, size=(units, draws + 1), dtype=np.uint8)
    drawn[:, 0] = 1
    return drawn


def shuffles(first: int, second: int, draws: int, rng: np.random.Generator) -> Draws:
    """Labellings of two groups: shape (C, B), 1 where a unit is labelled as of the first; the first is as observed.

    All of them where that is no more than ``draws``.
    """
    units = first + second
    if comb(units, first) <= draws + 1:
        chosen = np.zeros((units, comb(units, first)), dtype=np.uint8)
        for draw, members in enumerate(combinations(range(units), first)):
            chosen[list(members), draw] = 1
        return chosen
    observed = np.arange(units) < first
    chosen = np.empty((units, draws + 1), dtype=np.uint8)
    chosen[:, 0] = observed
    for draw in range(1, draws + 1):
        chosen[:, draw] = rng.permutation(observed)
    return chosen


def p_value(statistics: Floats) -> float:
    """Two-sided, of statistics (B,) whose first is the observed one. Undefined ones count as more extreme."""
    observed = abs(float(statistics[0]))
    extreme = ~(np.abs(statistics) < observed - _TOLERANCE * max(observed, 1.0))
    return float(np.mean(extreme))


def paired_sums(sums: Floats, draws: Draws) -> Floats:
    """Sums of the differences of pairs under each labelling, (M, B), from those of each unit, (M, C)."""
    return np.concatenate([2 * (sums @ block) - sums.sum(axis=1, keepdims=True) for block in _dense(draws)], axis=1)


def unpaired_differences(sums: Floats, counts: Floats, draws: Draws) -> Floats:
    """Difference of the two means under each labelling, (M, B); NaN where a label has no clip.

    Args:
        sums, counts: scores of each unit and how many there are, (M, C).
    """
    parts = []
    for block in _dense(draws):
        of_first, n_first = sums @ block, counts @ block
        of_second, n_second = sums.sum(axis=1, keepdims=True) - of_first, counts.sum(axis=1, keepdims=True) - n_first
        with np.errstate(invalid="ignore", divide="ignore"):
            parts.append(of_first / n_first - of_second / n_second)
    return np.concatenate(parts, axis=1)


def divergence_differences(incidence: Incidence, pool: slice, real: slice, members: Draws) -> Floats:
    """J(members, real) - J(other utterances of the pool, real) for each labelling of the pool.

    Args:
        incidence: of the pool, utterances of both systems, and of real speech.
        pool, real: their utterances.
        members: shape (U_pool, B), 1 where an utterance is labelled as of the first system.

    Returns:
        shape (B,); NaN where a label has no n-gram.
    """
    of_pool, of_real = (incidence.counts_of(side) for side in (pool, real))
    shared = (of_pool > 0) & (of_real > 0)
    rare = shared & (np.maximum(of_pool, of_real) <= LARGEST)
    tally = Tally.of(incidence, rare, pool, real)
    groups = incidence.groups(shared & ~rare, (pool, real))
    fixed, whole = ([_totals(group, side) for group in groups] for side in (1, 0))
    sizes, n_real = label_sizes(incidence, pool, members), incidence.n_windows[real].sum()

    def block(at: slice) -> Floats:
        labels, n_first, n_second = members[:, at], sizes[0][at], sizes[1][at]
        reference = np.broadcast_to(n_real, n_first.shape)
        first, second = (
            np.zeros((2, n_first.size)) if tally is None else tally.overlaps(labels, (n_first, n_second, n_real))
        )
        for group, b, of_both in zip(groups, fixed, whole, strict=True):
            counts = group.counts(0, labels)
            first += overlaps(counts, b, n_first, reference)
            second += overlaps(of_both - counts, b, n_second, reference)
        return from_overlap(first, n_first, reference) - from_overlap(second, n_second, reference)

    return np.concatenate(list(in_blocks(block, members.shape[1], _BLOCK)))


def divergence_of_labels(incidence: Incidence, members: Draws) -> Floats:
    """J between the utterances that have a label and those that do not, for each labelling: shape (B,).

    The test of one system against real speech: both are pooled, and labels permuted (``shuffles``).

    Args:
        incidence: of all utterances.
        members: shape (U, B).
    """
    everything = slice(0, incidence.n_windows.size)
    # Types of a single utterance are never on both sides.
    several = np.diff(incidence.starts) > 1
    groups = incidence.groups(several, (everything,))
    whole = [_totals(group, 0) for group in groups]
    n_first, n_second = label_sizes(incidence, everything, members)

    def block(at: slice) -> Floats:
        overlap = np.zeros(n_first[at].size)
        for group, of_all in zip(groups, whole, strict=True):
            counts = group.counts(0, members[:, at])
            overlap += overlaps(counts, of_all - counts, n_first[at], n_second[at])
        return from_overlap(overlap, n_first[at], n_second[at])

    return np.concatenate(list(in_blocks(block, members.shape[1], _BLOCK)))


def label_sizes(incidence: Incidence, pool: slice, members: Draws) -> tuple[Floats, Floats]:
    """n-grams of the utterances with a label and of those without it, shape (B,) each; ``members`` of the pool."""
    n_windows = incidence.n_windows[pool].astype(np.float64)
    n_first = np.concatenate([n_windows @ block for block in _dense(members)])
    return n_first, n_windows.sum() - n_first


def size_slope(incidence: Incidence, pool: slice, real: slice, rng: np.random.Generator) -> float:
    """Change of J(utterances of the pool, real) with the logarithm of their n-grams, near half of the pool.

    From random utterances, whatever their labels: 40 % of the pool, and 60 % with these among them. It is negative.
    """
    size = pool.stop - pool.start
    ranks = rng.permuted(np.tile(np.arange(size)[:, None], _SLOPE_DRAWS), axis=0)
    parts = np.concatenate([ranks < share * size for share in _SLOPE_SHARES], axis=1).astype(np.uint8)
    everything = np.ones((real.stop - real.start, parts.shape[1]), dtype=np.uint8)
    scores = divergences(incidence, (pool, real), (parts, everything)).reshape(2, -1)
    n_grams = label_sizes(incidence, pool, parts)[0].reshape(2, -1)
    usable = (n_grams > 0).all(axis=0) & (n_grams[0] != n_grams[1])
    if not usable.any():
        return 0.0
    grown = np.log(n_grams[1, usable] / n_grams[0, usable])
    return float(np.sum(scores[1, usable] - scores[0, usable]) / np.sum(grown))


def holm(p_values: list[float]) -> list[float]:
    """Adjusted for all of them being looked at (Holm 1979): the chance of any false alarm stays below the level.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = largest
    return adjusted


def _dense(draws: Draws) -> Iterator[Floats]:
    for start in range(0, draws.shape[1], _DENSE_BLOCK):
        yield draws[:, start : start + _DENSE_BLOCK].astype(np.float64)


def _totals(group: Group, side: int) -> npt.NDArray[np.unsignedinteger]:
    """Occurrences of each type in all utterances of a side, (types, 1), in the group's integer type."""
    ones = np.ones((group.matrices[side].shape[1], 1), dtype=np.uint8)
    return group.counts(side, ones)
