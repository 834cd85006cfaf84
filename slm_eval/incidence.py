"""Which n-grams occur in which utterances, and divergences of many choices of utterances at once.

Every resampling statistic draws utterances, so all it needs is the matrix of n-gram types by utterances, once per n.
Two facts make thousands of draws affordable:

- With p and q the frequencies of a type on the two sides, J = ln 2 - 1/2 sum phi(p, q), where
  phi = (p+q) ln(p+q) - p ln p - q ln q is 0 unless both are positive. Only types that both sides *can* have count;
  most singletons drop out.
- A draw is a vector of zeros and ones, so counts stay small integers: a sparse matrix of 8-bit integers times a block
  of 8-bit draws adds up 64 draws in the time of eight 64-bit numbers. Types whose total does not fit 8 bits go
  through the same in 16 or 32.

Letters: N windows, T types, U utterances, D draws.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from slm_eval.divergence import LN2
from slm_eval.ngrams import Counts, Ids

Floats = npt.NDArray[np.float64]
Draws = npt.NDArray[np.uint8]

# Draws per sparse product: a block of 64 for 3,000 utterances fits the second-level cache.
_BLOCK = 64
_BLOCK_COUNTS = 2**26
# Elements per step of the divergence: six float64 temporaries of this size fit the second-level cache.
_CHUNK = 2**15


@dataclass(frozen=True, eq=False)
class Incidence:
    """n-grams of one order by utterance, sparse, types in rows.

    Attributes:
        windows: shape (N,), keys of all windows, utterance after utterance.
        n_windows: shape (U,), windows per utterance.
        keys: shape (T,), the distinct keys, ascending: the rows.
        starts: shape (T + 1,), where each row's entries begin below.
        utterances: shape (E,), int32, utterance of each entry.
        multiplicities: shape (E,), int32, how often the row's n-gram occurs in that utterance; at least 1.
    """

    windows: Ids
    n_windows: Counts
    keys: Ids
    starts: Counts
    utterances: npt.NDArray[np.int32]
    multiplicities: npt.NDArray[np.int32]

    @classmethod
    def build(cls, windows: Ids, n_windows: Counts) -> Incidence:
        """From the window keys of all utterances (``ngrams.window_keys``) and their number per utterance."""
        utterance_bits = max(n_windows.size - 1, 1).bit_length()
        if windows.size and int(windows.max()).bit_length() + utterance_bits > 64:
            windows = np.unique(windows, return_inverse=True)[1].astype(np.uint64)
        # Sorting (key, utterance) pairs as one integer each is several times faster than an argsort of the keys.
        pairs = windows.astype(np.uint64)
        pairs <<= np.uint64(utterance_bits)
        pairs |= np.repeat(np.arange(n_windows.size, dtype=np.uint32), n_windows)
        pairs.sort()
        first = _firsts(pairs)
        # Into 32 bits at once, and without a copy of the positions: of a large corpus these would be the peak.
        multiplicities = np.empty(first.size, dtype=np.int32)
        np.subtract(first[1:], first[:-1], out=multiplicities[:-1], casting="unsafe")
        multiplicities[-1:] = pairs.size - first[-1:]
        pairs = pairs[first]
        del first
        utterances = (pairs & np.uint64((1 << utterance_bits) - 1)).astype(np.int32)
        pairs >>= np.uint64(utterance_bits)
        rows = _firsts(pairs)
        keys = pairs[rows].astype(windows.dtype)
        return cls(windows, n_windows, keys, np.append(rows, pairs.size), utterances, multiplicities)

    def counts(self, chosen: npt.NDArray[np.bool_]) -> Counts:
        """Occurrences of each type in the chosen utterances: shape (T,), from a mask of shape (U,)."""
        return self._sum_rows(np.where(chosen[self.utterances], self.multiplicities, 0))

    def counts_of(self, utterances: slice) -> Counts:
        """Occurrences of each type in a range of utterances: shape (T,)."""
        return self._sum_rows(np.where(_in_range(self.utterances, utterances), self.multiplicities, 0))

    def of_types(self, rows: npt.NDArray[np.bool_]) -> Incidence:
        """Without the other types; utterances keep their numbers and their sizes.

        Args:
            rows: shape (T,), mask.
        """
        lengths = np.diff(self.starts)
        kept = np.repeat(rows, lengths)
        starts = np.concatenate(([0], np.cumsum(lengths[rows])))
        return replace(
            self,
            keys=self.keys[rows],
            starts=starts,
            utterances=self.utterances[kept],
            multiplicities=self.multiplicities[kept],
        )

    def first_window(self, utterance: int) -> int:
        """Position in ``windows`` of the utterance's first window."""
        return int(self.n_windows[:utterance].sum())

    def groups(self, rows: npt.NDArray[np.bool_], sides: tuple[slice, ...]) -> list[Group]:
        """The chosen rows as sparse matrices, one per side, grouped by the width of integer that their sums need.

        Args:
            rows: shape (T,), mask of types.
            sides: ranges of utterances, disjoint.
        """
        masks = [_in_range(self.utterances, side) for side in sides]
        totals = [self._sum_rows(np.where(mask, self.multiplicities, 0)) for mask in masks]
        largest = np.max(totals, axis=0) if self.keys.size else np.zeros(0, dtype=np.int64)
        groups = []
        lower = 0
        for dtype in (np.uint8, np.uint16, np.uint32, np.uint64):
            upper = int(np.iinfo(dtype).max)
            members = rows & (largest > lower) & (largest <= upper)
            if members.any():
                matrices = tuple(
                    self._matrix(members, mask, side, dtype) for mask, side in zip(masks, sides, strict=True)
                )
                groups.append(Group(dtype, matrices))
            lower = upper
        return groups

    def _sum_rows(self, entries: npt.NDArray[Any]) -> Counts:
        if not self.keys.size:
            return np.zeros(0, dtype=np.int64)
        return np.add.reduceat(entries, self.starts[:-1], dtype=np.int64)

    def _matrix(self, rows: npt.NDArray[np.bool_], entries: npt.NDArray[np.bool_], side: slice, dtype: type) -> Any:
        """Sparse matrix (rows, utterances of the side) of the entries."""
        from scipy.sparse import csr_matrix

        kept = np.repeat(rows, np.diff(self.starts)) & entries
        lengths = self._sum_rows(kept)[rows]
        indptr = np.concatenate(([0], np.cumsum(lengths)))
        indices = self.utterances[kept] - np.int32(side.start)
        data: npt.NDArray[Any] = self.multiplicities[kept].astype(dtype)
        return csr_matrix((data, indices, indptr), shape=(lengths.size, side.stop - side.start))


@dataclass(frozen=True, eq=False)
class Group:
    """Types whose counts fit one integer dtype: a sparse (types, utterances) matrix for each side."""

    dtype: type
    matrices: tuple[Any, ...]

    def counts(self, side: int, draws: Draws) -> npt.NDArray[np.unsignedinteger[Any]]:
        """Occurrences of each type in each draw: (types, D) from zeros and ones of shape (U, D)."""
        return self.matrices[side] @ np.ascontiguousarray(draws, dtype=self.dtype)

    def totals(self, side: int) -> npt.NDArray[np.unsignedinteger[Any]]:
        """Occurrences of each type in all utterances of a side: (types, 1)."""
        return self.counts(side, np.ones((self.matrices[side].shape[1], 1), dtype=np.uint8))


def divergences(incidence: Incidence, sides: tuple[slice, slice], draws: tuple[Draws, Draws]) -> Floats:
    """J between the chosen utterances of two sides, for many choices.

    Args:
        incidence: n-grams of both sides' utterances together.
        sides: the utterances of each side, as ranges.
        draws: shapes (U_a, D) and (U_b, D), of zeros and ones.

    Returns:
        shape (D,), nats; NaN where a side of a draw has no n-grams, for the caller to deal with.
    """
    shared = np.ones(incidence.keys.size, dtype=bool)
    for side in sides:
        shared &= incidence.counts_of(side) > 0
    groups = incidence.groups(shared, sides)
    totals = [np.einsum("u,ud->d", incidence.n_windows[side], drawn) for side, drawn in zip(sides, draws, strict=True)]

    def block(at: slice) -> Floats:
        n_a, n_b = totals[0][at], totals[1][at]
        overlap = np.zeros(n_a.size)
        for group in groups:
            overlap += overlaps(group.counts(0, draws[0][:, at]), group.counts(1, draws[1][:, at]), n_a, n_b)
        return from_overlap(overlap, n_a, n_b)

    # Counts of a block, types by draws, stay far below the speech itself.
    size = max(_BLOCK // 4, min(_BLOCK, _BLOCK_COUNTS // max(int(np.count_nonzero(shared)), 1)))
    return np.concatenate(list(in_blocks(block, draws[0].shape[1], size)))


def side_ranges(incidence: Incidence, n_generated: int) -> tuple[slice, slice]:
    """Utterances of the generated side, which come first, and of the real side."""
    return slice(0, n_generated), slice(n_generated, incidence.n_windows.size)


def in_blocks(work: Callable[[slice], Floats], total: int, size: int) -> Iterator[Floats]:
    """``work`` on consecutive ranges of at most ``size``, results in order. Threads: numpy and scipy release the GIL.

    The ranges do not depend on the number of threads, so neither do the results.
    """
    ranges = [slice(start, min(start + size, total)) for start in range(0, total, size)]
    threads = min(len(ranges), os.cpu_count() or 1, 4)
    if threads <= 1:
        yield from map(work, ranges)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(work, ranges)


def overlaps(a: npt.NDArray[Any], b: npt.NDArray[Any], n_a: npt.NDArray[Any], n_b: npt.NDArray[Any]) -> Floats:
    """sum phi(a / n_a, b / n_b) over types, for each draw.

    With r = n_a / n_b this is sum (y ln y - a ln a - rb ln rb) / n_a, y = a + rb: one logarithm per type and draw, the
    other two from a table of c ln c.

    Args:
        a, b: shape (types, D), counts as unsigned integers.
        n_a, n_b: shape (D,), n-grams of each draw. Where one is 0 the result means nothing.
    """
    n_a, n_b = np.maximum(n_a, 1).astype(np.float64), np.maximum(n_b, 1).astype(np.float64)
    ratio = n_a / n_b
    phi, of_b, sum_b = np.zeros(ratio.size), np.zeros(ratio.size), np.zeros(ratio.size)
    step = max(_CHUNK // max(ratio.size, 1), 1)
    for start in range(0, a.shape[0], step):
        a_part, b_part = a[start : start + step], b[start : start + step]
        y = b_part * ratio
        y += a_part
        # 0 ln 0 = 0: the smallest normal number stands for 0 here.
        np.maximum(y, np.finfo(np.float64).tiny, out=y)
        phi += np.einsum("td,td->d", y, np.log(y))
        phi -= _c_log_c(a_part).sum(axis=0)
        of_b += _c_log_c(b_part).sum(axis=0)
        sum_b += b_part.sum(axis=0, dtype=np.float64)
    return phi / n_a - (of_b + np.log(ratio) * sum_b) / n_b


def from_overlap(overlap: Floats, n_a: npt.NDArray[Any], n_b: npt.NDArray[Any]) -> Floats:
    """J = ln 2 - overlap / 2, in [0, ln 2] against rounding; NaN where a side is empty."""
    values = np.clip(LN2 - overlap / 2, 0, LN2)
    values[(n_a == 0) | (n_b == 0)] = np.nan
    return values


def _c_log_c(counts: npt.NDArray[Any]) -> Floats:
    """c ln c, with 0 at 0."""
    if counts.dtype.itemsize > 2:
        return counts * np.log(np.maximum(counts, 1))
    # mode="clip" skips a bounds check that costs 20 times the look-up for 8-bit indices; all values are in range.
    return _table(counts.dtype.itemsize).take(counts, mode="clip")


@lru_cache
def _table(itemsize: int) -> Floats:
    c = np.arange(2 ** (8 * itemsize), dtype=np.float64)
    return c * np.log(np.maximum(c, 1))


def _firsts(ascending: npt.NDArray[Any]) -> Counts:
    """Positions at which a sorted array takes a new value."""
    if ascending.size == 0:
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(np.concatenate(([True], ascending[1:] != ascending[:-1])))


def _in_range(utterances: npt.NDArray[np.int32], side: slice) -> npt.NDArray[np.bool_]:
    return (utterances >= side.start) & (utterances < side.stop)
