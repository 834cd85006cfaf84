"""Divergences between nested parts of two sides: how a score changes with the size of the samples.

Each side is cut into 2^k disjoint segments, once per random split. Segment i of one against segment i of the other are
scores at the smallest size, independent of each other; neighbouring segments added up give scores at twice the size,
and so on up to all segments together. The counts of all sizes come from one count of the segments.

Letters: S splits, P segments of a side, U utterances of a side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats
from slm_eval.divergence.bitsums import Bits, Group
from slm_eval.divergence.incidence import Incidence, add_up, from_overlap, overlaps


@dataclass(frozen=True, eq=False)
class Level:
    """Scores at one size.

    Attributes:
        scores: shape (S, pairs), nats; NaN where a part has no n-grams.
        n_ngrams: two of shape (S, pairs), n-grams of either part.
    """

    scores: Floats
    n_ngrams: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


def nested_scores(
    incidence: Incidence,
    sides: tuple[slice, slice],
    segments: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]],
    pieces: int,
) -> list[Level]:
    """Return scores of segments, of pairs of segments, and so on.

    Args:
        incidence: n-grams of all utterances.
        sides: ranges of utterances, disjoint or the same.
        segments: shapes (S, U_a) and (S, U_b), segment of each utterance from 0 to P - 1, or P where it is in none.
        pieces: P, a power of two.

    Returns:
        one level per size, all segments together first.
    """
    splits = segments[0].shape[0]
    members = [_columns(side, pieces) for side in segments]
    totals = [
        np.einsum("u,us->s", incidence.n_windows[side], member).reshape(splits, pieces)
        for side, member in zip(sides, members, strict=True)
    ]
    distinct = (sides[0],) if sides[0] == sides[1] else sides
    bits = [Bits.from_draws(member) for member in members]
    scales = [2**power for power in range(pieces.bit_length())]
    n_ngrams = [(_pool(totals[0], pairs), _pool(totals[1], pairs)) for pairs in scales]

    def overlap(types: Group) -> Floats:
        """Return overlaps of the pairs of all levels: shape (S * pairs,), levels one after the other."""
        counts = [types.counts(min(side, len(distinct) - 1), bits[side]).reshape(-1, splits, pieces) for side in (0, 1)]
        by_level = []
        for pairs, (n_a, n_b) in zip(scales, n_ngrams, strict=True):
            # Sums of disjoint segments stay within the integer type, since the row's total does.
            a, b = (_pool(side, pairs).reshape(-1, n_a.size) for side in counts)
            by_level.append(overlaps(a, b, n_a.ravel(), n_b.ravel()))
        return np.concatenate(by_level)

    groups = incidence.groups(_can_be_shared(incidence, sides), distinct)
    sums = add_up(overlap, groups, bits[0].words.shape[1], splits * sum(scales))
    levels = []
    for overlap_sums, pairs, (n_a, n_b) in zip(
        np.split(sums, np.cumsum(scales[:-1]) * splits), scales, n_ngrams, strict=True
    ):
        scores = from_overlap(overlap_sums, n_a.ravel(), n_b.ravel()).reshape(splits, pairs)
        levels.append(Level(scores, (n_a, n_b)))
    return levels


def _columns(segments: npt.NDArray[np.intp], pieces: int) -> npt.NDArray[np.uint8]:
    """Return zeros and ones of shape (U, S * P)."""
    members = segments[:, None, :] == np.arange(pieces)[None, :, None]
    return np.ascontiguousarray(members.reshape(-1, segments.shape[1]).T, dtype=np.uint8)


def _pool(segments: npt.NDArray[Any], pairs: int) -> npt.NDArray[Any]:
    """Sum neighbouring segments of the last axis until ``pairs`` are left; the dtype stays."""
    # Not one sum over a last axis of 2 to 8: numpy adds up so short an axis ten times slower.
    while segments.shape[-1] > pairs:
        segments = segments[..., 0::2] + segments[..., 1::2]
    return segments


def _can_be_shared(incidence: Incidence, sides: tuple[slice, slice]) -> npt.NDArray[np.bool_]:
    """Tell which types disjoint parts of two sides can share: on both, or in two utterances of one and the same."""
    if not incidence.keys.size:
        return np.zeros(0, dtype=bool)
    utterances = [
        np.add.reduceat(
            ((incidence.utterances >= side.start) & (incidence.utterances < side.stop)).astype(np.int64),
            incidence.starts[:-1],
        )
        for side in sides
    ]
    if sides[0] == sides[1]:
        return utterances[0] >= 2
    return (utterances[0] > 0) & (utterances[1] > 0)
