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
from slm_eval.incidence import Draws, Floats, Group, Incidence, from_overlap, in_blocks, overlaps

# Draws per step: 64 for the sparse products, as in ``incidence``; 512 for the dense ones.
_BLOCK, _DENSE_BLOCK = 64, 512
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


def without_size(statistics: Floats, sizes: Floats) -> Floats:
    """Statistics without what they owe to sizes: less the straight line through all labellings, sizes at its mean.

    The observed labelling has equal sizes, others have not where utterances differ in length, and a smaller sample has
    a larger divergence. That makes others more variable: of 300 simulated pairs of equal systems only 4 were called
    different at 5 % and n = 2, as tests without power do. The line is the same whichever labelling is the observed one,
    so the test stays exact.

    Args:
        statistics: shape (B,).
        sizes: shape (B,), what they depend on, as a logarithm.
    """
    known = np.isfinite(statistics) & np.isfinite(sizes)
    if not known.any():
        return statistics
    deviations = sizes - sizes[known].mean()
    spread = float(np.sum(deviations[known] ** 2))
    # Equal sizes, but for rounding: there is nothing to take away.
    if spread <= 1e-18 * np.count_nonzero(known):
        return statistics
    slope = float(np.sum(deviations[known] * statistics[known])) / spread
    return np.where(known, statistics - slope * np.where(known, deviations, 0.0), statistics)


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
