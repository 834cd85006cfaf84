"""Permutation tests: how often would labels that mean nothing give a difference as large as this one?

A draw says of every unit (a clip, or all clips of a speaker or prompt) which label it gets; all metrics of a comparison
share the draws. The p-value counts the observed labelling among them, (1 + #{|T*| >= |T|}) / (B + 1), so that it is
never 0 and the test holds its level exactly if labels mean nothing (Phipson and Smyth 2010). Where there are few
units, every labelling is tried instead.

Letters: C units, B draws, U utterances, M metrics. Divergences are in nats.
"""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np

from slm_eval.incidence import Draws, Floats, Incidence, from_overlap, in_blocks, overlaps
from slm_eval.ngrams import Counts

# Draws per step, as in ``incidence``.
_BLOCK = 64
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
    return 2 * _sums_of_draws(sums, draws) - sums.sum(axis=1, keepdims=True)


def unpaired_differences(sums: Floats, counts: Floats, draws: Draws) -> Floats:
    """Difference of the two means under each labelling, (M, B); NaN where a label has no clip.

    Args:
        sums, counts: scores of each unit and how many there are, (M, C).
    """
    of_first, n_first = _sums_of_draws(sums, draws), _sums_of_draws(counts, draws)
    of_second, n_second = sums.sum(axis=1, keepdims=True) - of_first, counts.sum(axis=1, keepdims=True) - n_first
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(of_first / n_first - of_second / n_second)


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
    whole = [group.totals(0) for group in groups]
    n_first, n_second = label_sizes(incidence.n_windows, members)

    def block(at: slice) -> Floats:
        overlap = np.zeros(n_first[at].size)
        for group, of_all in zip(groups, whole, strict=True):
            counts = group.counts(0, members[:, at])
            overlap += overlaps(counts, of_all - counts, n_first[at], n_second[at])
        return from_overlap(overlap, n_first[at], n_second[at])

    return np.concatenate(list(in_blocks(block, members.shape[1], _BLOCK)))


def label_sizes(n_windows: Counts, members: Draws) -> tuple[Counts, Counts]:
    """n-grams of the utterances with a label and of those without it, shape (B,) each.

    Args:
        n_windows: shape (U,), n-grams of each utterance.
        members: shape (U, B).
    """
    n_first = np.einsum("u,ub->b", n_windows, members)
    return n_first, n_windows.sum() - n_first


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


def _sums_of_draws(values: Floats, draws: Draws) -> Floats:
    """Sums over the units of each draw, (M, B), from values (M, C).

    Not a matrix product: threads of BLAS wait for each other by spinning, which on a busy machine took a hundred times
    as long as the sums themselves.
    """
    return np.einsum("mc,cb->mb", values, draws)
