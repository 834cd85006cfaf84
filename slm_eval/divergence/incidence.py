"""Which n-grams occur in which utterances, and divergences of many choices of utterances at once.

Every resampling statistic draws utterances, so all it needs is the matrix of n-gram types by utterances, once per n.
Two facts make thousands of draws affordable:

- With p and q the frequencies of a type on the two sides, J = ln 2 - 1/2 sum phi(p, q), where
  phi = (p+q) ln(p+q) - p ln p - q ln q is 0 unless both are positive. Only types that both sides *can* have count;
  most singletons drop out.
- A draw is a vector of zeros and ones, so counts are sums of bits, 64 draws in a word (``bitsums``). Most types are
  rare; of these only a few pairs of counts are possible, so it is enough to know how many types have each pair.

Letters: N windows, T types, U utterances, D draws.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats
from slm_eval.divergence.bitsums import Bits, Draws, Group, Side, grouped
from slm_eval.divergence.estimators import LN2
from slm_eval.divergence.ngrams import Counts, Ids

# Elements per step of the divergence: six float64 temporaries of this size fit the second-level cache.
_CHUNK = 2**15
# Pairs of counts up to which types are counted by pair; a logarithm for each takes as long as some twenty pairs.
_PAIRS = 16
# Rows of zeros and ones whose sum a byte holds.
_BYTE = 255

_Part = TypeVar("_Part")


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
        """Build it from the window keys of all utterances (``ngrams.window_keys``) and their number per utterance."""
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
        """Return occurrences of each type in the chosen utterances: shape (T,), from a mask of shape (U,)."""
        return self._sum_rows(np.where(chosen[self.utterances], self.multiplicities, 0))

    def counts_of(self, utterances: slice) -> Counts:
        """Return occurrences of each type in a range of utterances: shape (T,)."""
        bounds = utterances.start, utterances.stop
        if bounds not in self._counts_of:
            self._counts_of[bounds] = self._sum_rows(
                np.where(_in_range(self.utterances, utterances), self.multiplicities, 0)
            )
        return self._counts_of[bounds]

    def of_types(self, rows: npt.NDArray[np.bool_]) -> Incidence:
        """Return it without the other types; utterances keep their numbers and their sizes.

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
        """Return the position in ``windows`` of the utterance's first window."""
        return int(self.n_windows[:utterance].sum())

    def groups(self, rows: npt.NDArray[np.bool_], sides: tuple[slice, ...]) -> list[Group]:
        """Return the chosen rows, grouped by how often they occur on each side.

        Args:
            rows: shape (T,), mask of types that occur on every side.
            sides: ranges of utterances, one or two.
        """
        firsts = self._firsts[rows]
        return grouped(
            self._occurrences,
            tuple(
                Side(firsts + self.counts_of(slice(0, side.start))[rows], self.counts_of(side)[rows], side)
                for side in sides
            ),
        )

    @cached_property
    def _counts_of(self) -> dict[tuple[int, int], Counts]:
        """Return the counts that were asked for, by range of utterances."""
        return {(0, 0): np.zeros(self.keys.size, dtype=np.int32)}

    @cached_property
    def _occurrences(self) -> npt.NDArray[np.int32]:
        """Return the utterance of every window, by type and ascending: shape (N,)."""
        return np.repeat(self.utterances, self.multiplicities)

    @cached_property
    def _firsts(self) -> Counts:
        """Return the position of the first occurrence of each type: shape (T,)."""
        totals = self._sum_rows(self.multiplicities)
        return np.cumsum(totals) - totals

    def _sum_rows(self, entries: npt.NDArray[Any]) -> Counts:
        if not self.keys.size:
            return np.zeros(0, dtype=np.int64)
        return np.add.reduceat(entries, self.starts[:-1], dtype=np.int64)


def divergences(incidence: Incidence, sides: tuple[slice, slice], draws: tuple[Draws, Draws]) -> Floats:
    """Return J between the chosen utterances of two sides, for many choices.

    Args:
        incidence: n-grams of both sides' utterances together.
        sides: the utterances of each side, as ranges.
        draws: shapes (U_a, D) and (U_b, D), of zeros and ones.

    Returns:
        shape (D,), nats; NaN where a side of a draw has no n-grams, for the caller to deal with.
    """
    return _divergences(incidence, sides, draws, lambda counts, totals: counts)


def divergences_of_halves(incidence: Incidence, sides: tuple[slice, slice], halves: tuple[Draws, Draws]) -> Floats:
    """Return J between the chosen utterances of two sides, then between those that are left: shape (2D,).

    Arguments as for ``divergences``.
    """
    return _divergences(
        incidence, sides, halves, lambda counts, totals: np.concatenate((counts, totals - counts), axis=-1)
    )


def _divergences(
    incidence: Incidence,
    sides: tuple[slice, slice],
    draws: tuple[Draws, Draws],
    expand: Callable[[npt.NDArray[Any], npt.NDArray[Any]], npt.NDArray[Any]],
) -> Floats:
    """Return J of all draws that ``expand`` makes of counts (T, D) and totals (T, 1)."""
    shared = (incidence.counts_of(sides[0]) > 0) & (incidence.counts_of(sides[1]) > 0)
    bits = [Bits.from_draws(drawn) for drawn in draws]
    n_a, n_b = (
        expand(n_ngrams(incidence.n_windows[side], drawn), incidence.n_windows[side].sum(keepdims=True))
        for side, drawn in zip(sides, draws, strict=True)
    )

    def overlap(types: Group) -> Floats:
        counts = [types.counts(side, bits[side]) for side in (0, 1)]
        a, b = (
            expand(drawn, side.totals[:, None].astype(drawn.dtype))
            for drawn, side in zip(counts, types.sides, strict=True)
        )
        pairs = types.equal
        return overlaps(a, b, n_a, n_b) if pairs is None else overlaps_of_rare(a, b, pairs, n_a, n_b)

    return from_overlap(add_up(overlap, incidence.groups(shared, sides), bits[0].words.shape[1], n_a.size), n_a, n_b)


def n_ngrams(n_windows: Counts, draws: Draws) -> Counts:
    """Return the n-grams of each draw, (D,), from those of the utterances, (U,), and zeros and ones, (U, D)."""
    return np.einsum("u,ud->d", n_windows, draws)


def add_up(work: Callable[[Group], Floats], groups: list[Group], words: int, *shape: int) -> Floats:
    """Return the sum of ``work`` over all types, a few at a time; threads as in ``in_blocks``.

    Args:
        work: returns an array of the shape.
        words: of the draws that it counts in.
        shape: of the sum.
    """
    total = np.zeros(shape)
    for part in in_order(work, [part for group in groups for part in group.parts(words)]):
        total += part
    return total


def side_ranges(incidence: Incidence, n_generated: int) -> tuple[slice, slice]:
    """Return the utterances of the generated side, which come first, and of the real side."""
    return slice(0, n_generated), slice(n_generated, incidence.n_windows.size)


def in_blocks(work: Callable[[slice], Floats], total: int, size: int) -> Iterator[Floats]:
    """Do ``work`` on consecutive ranges of at most ``size``, and return its results in order.

    The ranges do not depend on the number of threads, so neither do the results.
    """
    return in_order(work, [slice(start, min(start + size, total)) for start in range(0, total, size)])


def in_order(work: Callable[[_Part], Floats], parts: Sequence[_Part]) -> Iterator[Floats]:
    """Do ``work`` on all parts in threads, since numpy releases the GIL, and return its results in order."""
    threads = min(len(parts), os.cpu_count() or 1, 4)
    if threads <= 1:
        yield from map(work, parts)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(work, parts)


def overlaps(a: npt.NDArray[Any], b: npt.NDArray[Any], n_a: npt.NDArray[Any], n_b: npt.NDArray[Any]) -> Floats:
    """Return sum phi(a / n_a, b / n_b) over types, for each draw.

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


def overlaps_of_rare(
    a: npt.NDArray[np.uint8],
    b: npt.NDArray[np.uint8],
    most: tuple[int, ...],
    n_a: npt.NDArray[Any],
    n_b: npt.NDArray[Any],
) -> Floats:
    """Return ``overlaps`` of types that occur at most so many times on either side: how many have each two counts."""
    if most[0] * most[1] > _PAIRS:
        return overlaps(a, b, n_a, n_b)
    n_a, n_b = np.maximum(n_a, 1), np.maximum(n_b, 1)
    overlap = np.zeros(n_a.size)
    of_b = [(times, b == times) for times in range(1, most[1] + 1)]
    for times_a in range(1, most[0] + 1):
        of_a = a == times_a
        for times_b, of_other in of_b:
            overlap += column_sums(of_a & of_other) * phi(times_a / n_a, times_b / n_b)
    return overlap


def column_sums(mask: npt.NDArray[np.bool_]) -> Counts:
    """Return how many are true in each column; adding up bytes is several times as fast as wider numbers."""
    starts = range(0, mask.shape[0], _BYTE)
    parts = [np.add.reduce(mask[start : start + _BYTE].view(np.uint8), axis=0, dtype=np.uint8) for start in starts]
    return np.add.reduce(parts, axis=0, dtype=np.int64)


def phi(p: Floats, q: Floats) -> Floats:
    """Return (p+q) ln(p+q) - p ln p - q ln q."""
    from scipy.special import xlogy

    both = p + q
    return np.asarray(xlogy(both, both) - xlogy(p, p) - xlogy(q, q), dtype=np.float64)


def from_overlap(overlap: Floats, n_a: npt.NDArray[Any], n_b: npt.NDArray[Any]) -> Floats:
    """Return J = ln 2 - overlap / 2, in [0, ln 2] against rounding; NaN where a side is empty."""
    values = np.clip(LN2 - overlap / 2, 0, LN2)
    values[(n_a == 0) | (n_b == 0)] = np.nan
    return values


def _c_log_c(counts: npt.NDArray[Any]) -> Floats:
    """Return c ln c, with 0 at 0."""
    if counts.dtype.itemsize > 2:
        return counts * np.log(np.maximum(counts, 1))
    # mode="clip" skips a bounds check that costs 20 times the look-up for 8-bit indices; all values are in range.
    return _table(counts.dtype.itemsize).take(counts, mode="clip")


@lru_cache
def _table(itemsize: int) -> Floats:
    c = np.arange(2 ** (8 * itemsize), dtype=np.float64)
    return c * np.log(np.maximum(c, 1))


def _firsts(ascending: npt.NDArray[Any]) -> Counts:
    """Return the positions at which a sorted array takes a new value."""
    if ascending.size == 0:
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(np.concatenate(([True], ascending[1:] != ascending[:-1])))


def _in_range(utterances: npt.NDArray[np.int32], side: slice) -> npt.NDArray[np.bool_]:
    return (utterances >= side.start) & (utterances < side.stop)
