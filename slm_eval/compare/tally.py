"""Rare n-grams of many draws against fixed real speech, by tally: only a few pairs of counts are possible.

What a type adds to a divergence from fixed real speech depends on how often a draw has it and on how often real speech
has it. So types that have the same total and the same real count are one class, and of a class it is enough to know how
many of its types a draw has v times: comparing bytes and adding them up, where every type and draw took a logarithm.

Letters: T types, D draws, v a count in a draw.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats
from slm_eval.divergence.incidence import column_sums, phi
from slm_eval.divergence.ngrams import Counts


def tallied_overlaps(
    counts: npt.NDArray[np.uint8], totals: tuple[int, ...], sizes: tuple[Counts, Counts, int]
) -> tuple[Floats, Floats]:
    """Return sum phi(p, q) over types (``incidence``): of what a draw has, and of what it leaves, with real speech.

    Args:
        counts: shape (T, D), occurrences in each draw.
        totals: occurrences of each of the types in all that is drawn from, and in real speech.
        sizes: n-grams of each draw and of what it leaves, shape (D,), and of real speech; 0 means nothing.
    """
    total, fixed = totals
    tally = np.array([column_sums(counts == times) for times in range(1, total + 1)])
    none = counts.shape[0] - tally.sum(axis=0, keepdims=True)
    times = np.arange(1.0, total + 1)[:, None]
    drawn, left = (
        (types * phi(times / np.maximum(size, 1), np.float64(fixed / sizes[2]))).sum(axis=0)
        for types, size in ((tally, sizes[0]), (np.concatenate((none, tally[:-1]))[::-1], sizes[1]))
    )
    return drawn, left
