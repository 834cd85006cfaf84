"""How often n-gram types occur in each of many draws of utterances: sums of bits, 64 draws in a word.

A draw takes an utterance or leaves it: one bit. So all draws of an utterance are a row of words, and the counts of a
type are the sum of the rows of its occurrences. Rows are added in pairs, sums of two in pairs, and so on, each number
kept as one word for every binary digit. For 500 draws that is five times as fast as a sparse matrix product of bytes,
which reads as many bytes for every occurrence as this reads bits.

Letters: N occurrences, T types, U utterances, D draws, W words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Draws = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]
Totals = npt.NDArray[np.signedinteger[Any]]

# Occurrences that are added up to a number before numbers become bytes; eight binary digits hold it.
_PIECE = 128
# Words that are added up at a time, and counts that come of it: with half as many, numpy's calls take a tenth more.
_WORDS, _COUNTS = 2**17, 2**20
# Up to this many occurrences, types of one group have equally many; beyond, less than twice as many.
LARGEST = 15


@dataclass(frozen=True, eq=False)
class Bits:
    """Hold draws of utterances as bits.

    Attributes:
        words: shape (U + 1, W); the last row is of no utterance, and zero.
        draws: D, at most 64 W; what is beyond is zero.
    """

    words: Words
    draws: int

    @classmethod
    def from_draws(cls, *draws: Draws) -> Bits:
        """Pack zeros and ones of shape (U, D), or of several such blocks, in order; D of all but the last is 8 k."""
        packed = np.concatenate([np.packbits(block, axis=1) for block in draws], axis=1)
        rows = np.zeros((packed.shape[0] + 1, -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
        rows[:-1, : packed.shape[1]] = packed
        return cls(rows.view(np.uint64), sum(block.shape[1] for block in draws))

    def sums(self, rows: npt.NDArray[np.integer[Any]], count_type: type) -> npt.NDArray[Any]:
        """Return sums of rows: shape (T, D), from the numbers of the rows of each, (L, T).

        Args:
            rows: L is a power of two up to ``_PIECE``, or a multiple of that.
            count_type: an unsigned integer that holds the largest sum.
        """
        piece = min(rows.shape[0], _PIECE)
        digits = [self.words.take(rows.reshape(piece, -1), axis=0)]
        while piece > 1:
            piece //= 2
            digits = _added([digit[:piece] for digit in digits], [digit[piece:] for digit in digits])
        numbers = self._as_bytes([digit[0] for digit in digits])
        if rows.shape[0] <= _PIECE:
            return numbers.astype(count_type, copy=False)
        return np.add.reduce(numbers.reshape(-1, rows.shape[1], self.draws), axis=0, dtype=count_type)

    def _as_bytes(self, digits: list[Words]) -> npt.NDArray[np.uint8]:
        """Return numbers, each (W,) words for every binary digit, the lowest first, as (D,) bytes."""
        numbers, *higher = (np.unpackbits(digit.view(np.uint8), axis=1, count=self.draws) for digit in digits)
        for power, digit in enumerate(higher, 1):
            digit <<= power
            numbers |= digit
        return numbers


def _added(a: list[Words], b: list[Words]) -> list[Words]:
    """Return the digits of a + b, one more than either has."""
    digits, carry = [a[0] ^ b[0]], a[0] & b[0]
    # A full adder: the sum of three bits is their exclusive or, and there is a carry where two of them are set.
    for digit_a, digit_b in zip(a[1:], b[1:], strict=True):
        either = digit_a ^ digit_b
        digits.append(either ^ carry)
        either &= carry
        carry = digit_a & digit_b
        carry |= either
    return [*digits, carry]


@dataclass(frozen=True, eq=False)
class Side:
    """Hold where in a list of occurrences those of some types are that are on one side.

    Attributes:
        first: shape (T,), position of the first occurrence of each type; the others follow it.
        totals: shape (T,), occurrences of each.
        utterances: range of the utterances of the side.
    """

    first: Totals
    totals: Totals
    utterances: slice

    def of_types(self, chosen: npt.NDArray[np.intp] | slice) -> Side:
        """Return what it holds of some types."""
        return Side(self.first[chosen], self.totals[chosen], self.utterances)


@dataclass(frozen=True, eq=False)
class Group:
    """Types that are about equally frequent on each side.

    Attributes:
        occurrences: shape (N,), the utterance of every occurrence.
        sides: of one or two, for T types.
    """

    occurrences: npt.NDArray[np.int32]
    sides: tuple[Side, ...]

    @property
    def equal(self) -> tuple[int, ...] | None:
        """Return how often each of these types occurs on each side where all are rare, or None."""
        totals = tuple(int(side.totals[0]) for side in self.sides)
        return totals if max(totals) <= LARGEST else None

    def counts(self, side: int, bits: Bits) -> npt.NDArray[Any]:
        """Return occurrences of each type in each draw: shape (T, D), of the smallest integer that holds them."""
        types = self.sides[side]
        length = _padded(int(types.totals.max()))
        count_type = np.min_scalar_type(int(types.totals.max())).type
        n_types = types.totals.size
        step = max(_WORDS // bits.words.shape[1] // n_types // _PIECE, 1) * _PIECE
        counts = None
        for start in range(0, length, step):
            nth = np.arange(start, min(start + step, length))[:, None]
            rows = self.occurrences.take(types.first + nth, mode="clip") - np.int32(types.utterances.start)
            np.copyto(rows, bits.words.shape[0] - 1, where=nth >= types.totals)
            part = bits.sums(rows, count_type)
            counts = part if counts is None else counts + part
        assert counts is not None
        return counts

    def parts(self, words: int) -> Iterator[Group]:
        """Yield it a few types at a time, as many as are counted at once in draws of so many words."""
        length = max(_padded(int(side.totals.max())) for side in self.sides)
        step = max(min(_WORDS // (length * words), _COUNTS // (64 * words)), 1)
        for start in range(0, self.sides[0].totals.size, step):
            part = slice(start, start + step)
            yield Group(self.occurrences, tuple(side.of_types(part) for side in self.sides))


def grouped(occurrences: npt.NDArray[np.int32], sides: tuple[Side, ...]) -> list[Group]:
    """Group types by how often they occur on each side.

    Args:
        occurrences, sides: as for ``Group``; every type occurs on every side.
    """
    if not sides[0].totals.size:
        return []
    lengths = [_lengths(side.totals) for side in sides]
    order = np.lexsort(lengths)
    changes = np.any([np.diff(length[order]) != 0 for length in lengths], axis=0)
    return [
        Group(occurrences, tuple(side.of_types(types) for side in sides))
        for types in np.split(order, np.flatnonzero(changes) + 1)
    ]


def _lengths(totals: Totals) -> npt.NDArray[np.int32]:
    """Return the same number for types that are one group: up to ``LARGEST`` their total."""
    distinct, place = np.unique(totals, return_inverse=True)
    return np.array([total if total <= LARGEST else LARGEST + _padded(total) for total in distinct.tolist()])[place]


def _padded(total: int) -> int:
    """Return how many rows are added up for so many occurrences: a power of two, or so many pieces."""
    if total <= _PIECE:
        return 1 << (total - 1).bit_length()
    pieces = -(-total // _PIECE)
    coarse = 1 << max(pieces.bit_length() - 3, 0)
    return -(-pieces // coarse) * coarse * _PIECE
