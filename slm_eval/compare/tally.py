"""Rare n-grams of many draws, by tally: most types occur a few times, so that only a few pairs of counts are possible.

What a type adds to a divergence from fixed real speech depends on how often a draw has it, 0 to 7, and on how often
real speech has it. So types that have the same total and the same real count are one class, and of a class it is enough
to know how many of its types a draw has v times. These tallies take a byte each, eight to an integer, and a table turns
counts into them: at 1e6 phones and n = 5 that is ten times faster than a logarithm per type and draw.

Letters: T types, K classes, U utterances, D draws, v a count in a draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from slm_eval.incidence import Draws, Floats, Incidence

# Eight tallies of a byte: counts 0 to 7, and no more than 255 types are added up at a time.
LARGEST, _AT_A_TIME = 7, 255
_ONE_AT = np.uint64(1) << (np.uint64(8) * np.arange(8, dtype=np.uint64))


@dataclass(frozen=True, eq=False)
class Tally:
    """Rare types, ordered by class.

    Attributes:
        matrix: sparse (T, U), occurrences in the utterances that are drawn from, 8 bits.
        totals: shape (K,), occurrences of a type of the class in all these utterances.
        fixed: shape (K,), its occurrences in real speech.
        starts: shape (K + 1,), where each class begins.
    """

    matrix: Any
    totals: npt.NDArray[np.int64]
    fixed: npt.NDArray[np.int64]
    starts: npt.NDArray[np.intp]

    @classmethod
    def of(cls, incidence: Incidence, rows: npt.NDArray[np.bool_], pool: slice, real: slice) -> Tally | None:
        """Of the chosen types, each at most ``LARGEST`` times in the pool; None where there are none.

        Args:
            rows: shape (types,), mask.
            pool, real: utterances.
        """
        if not rows.any():
            return None
        (group,) = incidence.groups(rows, (pool, real))
        drawn, of_real = group.matrices
        totals, fixed = (np.asarray(each.sum(axis=1, dtype=np.int64)).ravel() for each in (drawn, of_real))
        order = np.lexsort((fixed, totals))
        totals, fixed = totals[order], fixed[order]
        first = np.flatnonzero(np.diff(totals, prepend=-1) | np.diff(fixed, prepend=-1))
        return cls(drawn[order], totals[first], fixed[first], np.append(first, order.size))

    def count(self, draws: Draws) -> npt.NDArray[np.int64]:
        """How many types of each class a draw has v times: shape (K, D, 8), from zeros and ones of shape (U, D)."""
        counts = self.matrix @ np.ascontiguousarray(draws, dtype=np.uint8)
        found = np.zeros((self.totals.size, draws.shape[1], 8), dtype=np.int64)
        for at, (start, stop) in enumerate(zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True)):
            for begin in range(start, stop, _AT_A_TIME):
                part = counts[begin : min(begin + _AT_A_TIME, stop)]
                packed = _ONE_AT.take(part, mode="clip").sum(axis=0)
                found[at] += packed.astype("<u8").view(np.uint8).reshape(-1, 8)
        return found

    def overlaps(self, draws: Draws, sizes: tuple[Floats, Floats, float]) -> tuple[Floats, Floats]:
        """sum phi(p, q) over the types (``incidence``): of what a draw has, and of what it leaves, with real speech.

        Args:
            draws: shape (U, D).
            sizes: n-grams of each draw and of what it leaves, shape (D,), and of real speech; 0 means nothing.
        """
        drawn, left, real = np.maximum(sizes[0], 1)[:, None], np.maximum(sizes[1], 1)[:, None], sizes[2]
        times = np.arange(8.0)
        tallies = self.count(draws)
        sums = np.zeros((2, draws.shape[1]))
        for tally, total, fixed in zip(tallies, self.totals.tolist(), self.fixed.tolist(), strict=True):
            q = fixed / real
            sums[0] += (tally * _phi(times / drawn, q)).sum(axis=1)
            sums[1] += (tally * _phi(np.maximum(total - times, 0) / left, q)).sum(axis=1)
        return sums[0], sums[1]


def _phi(p: Floats, q: float) -> Floats:
    """(p+q) ln(p+q) - p ln p - q ln q."""
    from scipy.special import xlogy

    both = p + q
    return np.asarray(xlogy(both, both) - xlogy(p, p) - xlogy(q, q), dtype=np.float64)
