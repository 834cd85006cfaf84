"""Rare n-grams of many draws, by tally: most types occur a few times, so that only a few pairs of counts are possible.

What a type adds to a divergence from fixed real speech depends on how often a draw has it and on how often real speech
has it. So types that have the same total and the same real count are one class, and of a class it is enough to know how
many of its types a draw has v times: comparing bytes and adding them up, where every type and draw took a logarithm.

Letters: T types, U utterances, D draws, v a count in a draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from slm_eval.incidence import Draws, Floats, Incidence
from slm_eval.ngrams import Counts

# Counts that are tallied; and types that are added up at a time, so that their number fits a byte.
LARGEST, _AT_A_TIME = 15, 255


@dataclass(frozen=True, eq=False)
class Class:
    """Types that are equally frequent.

    Attributes:
        matrix: sparse (T, U), occurrences in the utterances that are drawn from, 8 bits.
        total: occurrences of each type in all these utterances.
        fixed: its occurrences in real speech.
    """

    matrix: Any
    total: int
    fixed: int

    def tally(self, draws: Draws) -> Counts:
        """How many of the types a draw has v times: shape (total + 1, D), from zeros and ones of shape (U, D)."""
        counts = self.matrix @ draws
        found = np.zeros((self.total + 1, draws.shape[1]), dtype=np.int64)
        for start in range(0, counts.shape[0], _AT_A_TIME):
            part = counts[start : start + _AT_A_TIME]
            for times in range(1, self.total + 1):
                found[times] += np.add.reduce((part == times).view(np.uint8), axis=0, dtype=np.uint8)
        found[0] = counts.shape[0] - found.sum(axis=0)
        return found


def classes(incidence: Incidence, rows: npt.NDArray[np.bool_], pool: slice, real: slice) -> list[Class]:
    """The chosen types by class.

    Args:
        rows: shape (types,), mask of types that occur 1 to ``LARGEST`` times in the pool and in real speech.
        pool, real: utterances.
    """
    if not rows.any():
        return []
    (group,) = incidence.groups(rows, (pool, real))
    drawn, of_real = group.matrices
    totals, fixed = (np.asarray(each.sum(axis=1, dtype=np.int64)).ravel() for each in (drawn, of_real))
    order = np.lexsort((fixed, totals))
    drawn, totals, fixed = drawn[order], totals[order], fixed[order]
    starts = np.flatnonzero(np.diff(totals, prepend=-1) | np.diff(fixed, prepend=-1)).tolist()
    return [
        Class(drawn[start:stop], int(totals[start]), int(fixed[start]))
        for start, stop in zip(starts, [*starts[1:], order.size], strict=True)
    ]


def tallied_overlaps(found: list[Class], draws: Draws, sizes: tuple[Counts, Counts, int]) -> tuple[Floats, Floats]:
    """sum phi(p, q) over types (``incidence``): of what a draw has, and of what it leaves, with real speech.

    Args:
        found: the types by class.
        draws: shape (U, D), of zeros and ones.
        sizes: n-grams of each draw and of what it leaves, shape (D,), and of real speech; 0 means nothing.
    """
    draws = np.ascontiguousarray(draws, dtype=np.uint8)
    # By the count in real speech and by that in the draw, or in what it leaves; the totals do not matter any more.
    drawn, left = np.zeros((2, LARGEST + 1, LARGEST + 1, draws.shape[1]), dtype=np.int64)
    for each in found:
        tally = each.tally(draws)
        drawn[each.fixed, : each.total + 1] += tally
        left[each.fixed, : each.total + 1] += tally[::-1]
    times = np.arange(LARGEST + 1.0)
    of_drawn, of_left = (
        (tallies * _phi(times[:, None] / np.maximum(size, 1), times[:, None, None] / sizes[2])).sum(axis=(0, 1))
        for tallies, size in ((drawn, sizes[0]), (left, sizes[1]))
    )
    return of_drawn, of_left


def _phi(p: Floats, q: Floats) -> Floats:
    """(p+q) ln(p+q) - p ln p - q ln q."""
    from scipy.special import xlogy

    both = p + q
    return np.asarray(xlogy(both, both) - xlogy(p, p) - xlogy(q, q), dtype=np.float64)
