"""Labellings: which system each unit is said to come from, a block of labellings at a time.

A unit is a clip, or all clips of a speaker or prompt. Every labelling has a random generator of its own, so it is the
same whichever labellings are asked for with it. Between blocks labellings are kept as bits, or drawn again where even
the bits are many: 2,000 of a million clips a system would take 4 GB as bytes.

Letters: C units, B labellings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb

import numpy as np

from slm_eval.base.arrays import Floats
from slm_eval.divergence.incidence import Draws

# Labels of a block, in bytes: a block and its copies for several threads stay far below the speech itself.
_BLOCK_BYTES = 2**24
# Labellings that are kept, as bits; more are drawn again whenever they are asked for.
_KEPT_BYTES = 2**26
# Labellings per block: numpy's calls add up in small blocks, and larger ones are no faster.
_FEWEST, _MOST, _LINE = 16, 256, 64
# Units whose labels are numbers at a time.
_UNITS = 2**12

# Labels of utterances: shape (utterances, labellings of the range), 1 where the utterance has the first label.
Labels = Callable[[slice], Draws]


@dataclass(frozen=True, eq=False)
class Labellings:
    """Hold everything that is needed to draw each labelling; the first is the observed one.

    Attributes:
        observed: shape (C,), 1 where a unit is of the first system; of pairs all ones: each as it is.
        paired: whether a label says that a pair stays (1) or is swapped (0), independently of the others. Else labels
            are shuffled, so that their numbers stay.
        size: B.
        key: of the random generators.
        everything: shape (C, B), where there are so few labellings that all are tried.
        bits: shape (B, C / 8), the labellings drawn, where they are kept.
    """

    observed: Draws
    paired: bool
    size: int
    key: tuple[int, ...]
    everything: Draws | None = None
    bits: Draws | None = None

    def kept(self) -> Labellings:
        """Return the same labellings, drawn beforehand where their bits take little memory."""
        if self.everything is not None or self.size * self.observed.size > 8 * _KEPT_BYTES:
            return self
        return replace(self, bits=np.stack([np.packbits(self._draw(number)) for number in range(self.size)]))

    def block(self, labellings: slice) -> Draws:
        """Return the labellings of a range: shape (C, labellings)."""
        if self.everything is not None:
            return self.everything[:, labellings]
        if self.bits is not None:
            drawn = np.unpackbits(self.bits[labellings], axis=1, count=self.observed.size)
            return np.ascontiguousarray(drawn.T)
        numbers = range(labellings.start, min(labellings.stop, self.size))
        return np.ascontiguousarray(np.stack([self._draw(number) for number in numbers]).T)

    def _draw(self, number: int) -> Draws:
        if number == 0:
            return self.observed
        rng = np.random.default_rng((*self.key, number))
        if not self.paired:
            return rng.permutation(self.observed)
        bits = np.frombuffer(rng.bytes((self.observed.size + 7) // 8), dtype=np.uint8)
        return np.unpackbits(bits, count=self.observed.size)


def swaps(units: int, draws: int, key: tuple[int, ...]) -> Labellings:
    """Make labellings of pairs: ``draws`` random ones, or all 2^C where there are no more than that and the observed.

    >>> swaps(2, 99, (0,)).block(slice(0, 4)).T.tolist()
    [[1, 1], [1, 0], [0, 1], [0, 0]]
    """
    observed = np.ones(units, dtype=np.uint8)
    if units >= 63 or 2**units > draws + 1:
        return Labellings(observed, True, draws + 1, key).kept()
    numbers = np.arange(2**units, dtype=np.int64)[::-1]
    everything = ((numbers >> np.arange(units)[::-1, None]) & 1).astype(np.uint8)
    return Labellings(observed, True, 2**units, key, everything)


def shuffles(first: int, second: int, draws: int, key: tuple[int, ...]) -> Labellings:
    """Make labellings of two groups of units, those of the first before those of the second; all where they are few."""
    units = first + second
    observed = (np.arange(units) < first).astype(np.uint8)
    number = comb(units, first)
    if number > draws + 1:
        return Labellings(observed, False, draws + 1, key).kept()
    everything = np.zeros((units, number), dtype=np.uint8)
    for column, members in enumerate(combinations(range(units), first)):
        everything[list(members), column] = 1
    return Labellings(observed, False, number, key, everything)


def block_size(rows: int) -> int:
    """Return how many labellings of so many clips are worked on at a time."""
    size = max(_FEWEST, min(_MOST, _BLOCK_BYTES // max(rows, 1)))
    # Rows of whole cache lines; as bits (``bitsums.Bits.from_draws``), of whole bytes.
    return size // _LINE * _LINE if size > _LINE else size


def sums_of_labels(values: Floats, labels: Draws) -> Floats:
    """Return sums over the units with a label, (M, labellings), of values (M, C) by labels (C, labellings).

    Not a matrix product: threads of BLAS wait for each other by spinning, which on a busy machine took a hundred times
    as long as the sums themselves. A few units at a time, so that labels as numbers stay in cache: 5.4 s of processor
    time became 2.7 s for 27 values of 200,000 units and 2,000 labellings, 64 at a time.
    """
    sums = np.zeros((values.shape[0], labels.shape[1]))
    for start in range(0, labels.shape[0], _UNITS):
        part = slice(start, start + _UNITS)
        sums += np.einsum("mc,cb->mb", values[:, part], labels[part].astype(np.float64))
    return sums
