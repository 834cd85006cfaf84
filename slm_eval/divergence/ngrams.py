"""n-grams of phone sequences, counted by sorting integers, in a form that shards can add exactly.

Two kinds of integer stand for an n-gram. While counting, a *window key*: the phone ids as digits in base K, the
smallest integers there are, which sort fastest. In ``NGramCounts``, which travels between shards, a *packed key*: one
bit field per phone. Counts of shards with different inventories merge only after their ids are remapped to the union
inventory; radix keys would hide the difference and corrupt the sum.

Letters: P phones in all, U utterances, K phones in the inventory, N windows (n-grams with repetition), T types.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.unsignedinteger[Any]]
Counts = npt.NDArray[np.signedinteger[Any]]

# Below this many possible keys a table of counts stays in cache and beats sorting (1e7 windows of 40 phones: n=3 in
# 0.05 s; with n=4, 2.6e6 keys, sorting is as fast).
_TABLE_BOUND = 2**20
# Phones per step of counting: the temporaries stay in cache, and the allocator gives their memory out again instead of
# asking for fresh pages, which cost more than the counting.
_PIECE = 2**19


@dataclass(frozen=True, eq=False)
class Encoded:
    """Utterances as one flat array of phone ids.

    Attributes:
        ids: shape (P,), the smallest unsigned dtype that holds K ids; utterance after utterance.
        lengths: shape (U,), int64, phones per utterance; they sum to P.
        inventory: the K phones, sorted; ``inventory[id]`` is the phone.
    """

    ids: Ids
    lengths: Counts
    inventory: tuple[Hashable, ...]

    def n_windows(self, n: int) -> Counts:
        """Windows of n phones in each utterance: shape (U,); 0 where the utterance is shorter than n."""
        return np.maximum(self.lengths - n + 1, 0)


def encode(sequences: Iterable[Sequence[Hashable]]) -> Encoded:
    """Utterances of phones -> flat ids over the sorted inventory of the phones that occur.

    Args:
        sequences: one sequence of phones per utterance. Phones are hashable and sortable among themselves (strings,
            mostly); an utterance may be empty.

    Raises:
        TypeError: ``sequences`` is a string, or the phones cannot be sorted.

    >>> encode([["b", "a"], ["a"]])
    Encoded(ids=array([1, 0, 0], dtype=uint8), lengths=array([2, 1]), inventory=('a', 'b'))
    """
    if isinstance(sequences, str):
        raise TypeError("expected a sequence of utterances, each a sequence of phones; got one string")
    utterances = list(sequences)
    lengths = np.fromiter(map(len, utterances), dtype=np.int64, count=len(utterances))
    phones: set[Any] = set(chain.from_iterable(utterances))
    inventory = tuple(sorted(phones))
    id_of = {phone: index for index, phone in enumerate(inventory)}
    ids = np.fromiter(map(id_of.__getitem__, chain.from_iterable(utterances)), dtype=_id_dtype(len(inventory)))
    return Encoded(ids, lengths, inventory)


def window_keys(encoded: Encoded, orders: Iterable[int]) -> Iterator[tuple[int, Ids]]:
    """Keys of all windows of n phones, for each n asked for: equal keys are equal n-grams.

    Windows never cross utterances. Keys of one n sort as the n-grams do. They are base-K numbers of 32 bits while
    K**n <= 2**32 and of 64 bits while K**n <= 2**64. Beyond that the prefixes are replaced by their ranks, so any
    inventory and n work, but the digits can no longer be read off the key.

    Args:
        encoded: utterances.
        orders: values of n, each at least 1.

    Yields:
        (n, keys) in ascending n. ``keys`` has shape (N_n,), in the order of the windows in the utterances, and
        belongs to the caller.

    Raises:
        ValueError: an order below 1.

    >>> [(n, keys.tolist()) for n, keys in window_keys(encode(["aba", "ba"]), (1, 2))]
    [(1, [0, 1, 0, 1, 0]), (2, [1, 2, 2])]
    """
    wanted = sorted(set(orders))
    if not wanted:
        return
    if wanted[0] < 1:
        raise ValueError(f"an n-gram has at least one phone; got n={wanted[0]}")
    ids, base = encoded.ids, max(len(encoded.inventory), 1)
    ends = np.cumsum(encoded.lengths)
    # The end of the last utterance, and of empty ones after it, is crossed by no window.
    ends = ends[ends < ids.size]
    keys: Ids = ids.astype(np.uint32)
    bound = base  # keys are below it
    inside = np.ones(ids.size, dtype=bool)
    for n in range(1, wanted[-1] + 1):
        if n > 1:
            if bound * base > 2**64:
                distinct, ranks = np.unique(keys, return_inverse=True)
                keys, bound = ranks.astype(np.uint64), distinct.size
            bound *= base
            keys = keys[:-1].astype(np.uint32 if bound <= 2**32 and keys.dtype == np.uint32 else np.uint64, copy=False)
            keys *= keys.dtype.type(base)
            keys += ids[n - 1 :]
            # A window that starts n-1 phones before an end crosses it; those that start later were marked before.
            inside = inside[:-1]
            starts = ends - (n - 1)
            inside[starts[starts >= 0]] = False
        if n in wanted:
            yield n, keys[inside]


def count_keys(keys: Ids) -> tuple[Ids, Counts]:
    """Distinct keys in ascending order, shape (T,), and how often each occurs. Sorts ``keys`` in place."""
    if keys.size == 0:
        return keys, np.zeros(0, dtype=np.int64)
    keys.sort()
    first = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    return keys[first], np.diff(first, append=keys.size)


@dataclass(frozen=True, eq=False)
class NGramCounts:
    """How often each n-gram occurs in a corpus. ``merge`` adds corpora exactly.

    Attributes:
        n: phones per n-gram.
        inventory: the K phones of the corpus, sorted, those of utterances shorter than n included.
        keys: shape (T,), uint64, ascending: n fields of ``field_bits(K)`` bits, the first phone in the highest.
        counts: shape (T,), int64, at least 1.

    >>> counts = NGramCounts.from_phones(["abab", "b"], n=2)
    >>> counts.decode()
    {('a', 'b'): 2, ('b', 'a'): 1}
    >>> counts.merge(NGramCounts.from_phones(["ca"], n=2)) == NGramCounts.from_phones(["abab", "b", "ca"], n=2)
    True
    """

    n: int
    inventory: tuple[Hashable, ...]
    keys: npt.NDArray[np.uint64]
    counts: Counts

    @classmethod
    def from_phones(cls, sequences: Iterable[Sequence[Hashable]], n: int) -> NGramCounts:
        """Count the n-grams of utterances of phones.

        Raises:
            ValueError: n below 1, or n fields of this inventory exceed 64 bits.
        """
        return cls.from_encoded(encode(sequences), n)

    @classmethod
    def from_encoded(cls, encoded: Encoded, n: int) -> NGramCounts:
        """Count the n-grams of encoded utterances; errors as ``from_phones``."""
        return count_orders(encoded, (n,))[n]

    @property
    def total(self) -> int:
        """N: n-grams with repetition."""
        return int(self.counts.sum())

    def decode(self) -> dict[tuple[Hashable, ...], int]:
        """n-gram -> count, in the order of the n-grams."""
        columns = _unpack(self.keys, self.n, field_bits(len(self.inventory)))
        phones = zip(*([self.inventory[index] for index in column.tolist()] for column in columns), strict=True)
        return dict(zip(phones, self.counts.tolist(), strict=True))

    def remap(self, inventory: tuple[Hashable, ...]) -> NGramCounts:
        """The same counts over a larger inventory.

        Args:
            inventory: sorted, with every phone of this one.

        Raises:
            ValueError: n fields of that inventory exceed 64 bits.
        """
        if inventory == self.inventory:
            return self
        id_of = {phone: index for index, phone in enumerate(inventory)}
        new_ids = np.array([id_of[phone] for phone in self.inventory], dtype=np.uint64)
        columns = _unpack(self.keys, self.n, field_bits(len(self.inventory)))
        # Both inventories are sorted, so ids keep their order and the keys stay ascending.
        return NGramCounts(self.n, inventory, _pack([new_ids[c] for c in columns], inventory), self.counts)

    def merge(self, other: NGramCounts) -> NGramCounts:
        """Counts of both corpora together: the same as counting the utterances of both.

        Raises:
            ValueError: the other counts n-grams of another n, or the union inventory does not fit 64 bits.
        """
        a, b = unify(self, other)
        keys, counts = np.concatenate((a.keys, b.keys)), np.concatenate((a.counts, b.counts))
        order = np.argsort(keys)
        keys, counts = keys[order], counts[order]
        if keys.size == 0:
            return a
        first = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
        return NGramCounts(a.n, a.inventory, keys[first], np.add.reduceat(counts, first))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NGramCounts):
            return NotImplemented
        return (
            (self.n, self.inventory) == (other.n, other.inventory)
            and np.array_equal(self.keys, other.keys)
            and np.array_equal(self.counts, other.counts)
        )

    __hash__ = None  # type: ignore[assignment]


def count_orders(encoded: Encoded, orders: Iterable[int]) -> dict[int, NGramCounts]:
    """n -> counts, sharing the work between orders; errors as ``NGramCounts.from_phones``.

    >>> {n: counts.total for n, counts in count_orders(encode(["abab", "b"]), range(1, 6)).items()}
    {1: 5, 2: 3, 3: 2, 4: 1, 5: 0}
    """
    orders = sorted(set(orders))
    n_phones = len(encoded.inventory)
    counters: dict[int, _Table | _Buffer] = {}
    for n in orders:
        if n >= 1:  # window_keys refuses the others
            _require_fields(n, n_phones)
            total, bound = int(encoded.n_windows(n).sum()), max(n_phones, 1) ** n
            counters[n] = _Table(bound) if bound <= min(_TABLE_BOUND, total) else _Buffer(bound, total)
    for piece in _pieces(encoded):
        for n, keys in window_keys(piece, orders):
            counters[n].add(keys)
    result = {}
    for n in orders:
        keys, counts = counters[n].counts()
        result[n] = NGramCounts(n, encoded.inventory, _pack_windows(keys, n, n_phones), counts)
    return result


class _Table:
    """Counts of keys below a small bound."""

    def __init__(self, bound: int) -> None:
        self._table = np.zeros(bound, dtype=np.int64)

    def add(self, keys: Ids) -> None:
        self._table += np.bincount(keys, minlength=self._table.size)

    def counts(self) -> tuple[Ids, Counts]:
        present = np.flatnonzero(self._table)
        return present.astype(np.uint32), self._table[present]


class _Buffer:
    """All keys, to be sorted at the end."""

    def __init__(self, bound: int, total: int) -> None:
        self._keys: Ids = np.empty(total, dtype=np.uint32 if bound <= 2**32 else np.uint64)
        self._filled = 0

    def add(self, keys: Ids) -> None:
        self._keys[self._filled : self._filled + keys.size] = keys
        self._filled += keys.size

    def counts(self) -> tuple[Ids, Counts]:
        return count_keys(self._keys)


def _pieces(encoded: Encoded) -> Iterator[Encoded]:
    """Consecutive utterances of about ``_PIECE`` phones at a time; at least one piece."""
    ends = np.cumsum(encoded.lengths)
    first, start = 0, 0
    while True:
        last = max(int(np.searchsorted(ends, start + _PIECE, side="right")), first + 1)
        end = int(ends[last - 1]) if last <= ends.size else encoded.ids.size
        yield Encoded(encoded.ids[start:end], encoded.lengths[first:last], encoded.inventory)
        if last >= ends.size:
            return
        first, start = last, end


def unify(a: NGramCounts, b: NGramCounts) -> tuple[NGramCounts, NGramCounts]:
    """Both over the union of their inventories, so that their keys compare.

    Raises:
        ValueError: they count n-grams of different n, or the union inventory does not fit 64 bits.
    """
    if a.n != b.n:
        raise ValueError(f"counts of {a.n}-grams and of {b.n}-grams cannot be put together")
    if a.inventory == b.inventory:
        return a, b
    phones: set[Any] = {*a.inventory, *b.inventory}
    inventory = tuple(sorted(phones))
    return a.remap(inventory), b.remap(inventory)


def field_bits(n_phones: int) -> int:
    """Bits per phone of a packed key: 8, or as many as a larger inventory needs."""
    return max(8, (n_phones - 1).bit_length())


def _require_fields(n: int, n_phones: int) -> None:
    bits = field_bits(n_phones)
    if n * bits > 64:
        raise ValueError(
            f"{n}-grams over {n_phones} phones need {n} fields of {bits} bits; a key has 64: use n <= {64 // bits}"
        )


def _pack(columns: Sequence[npt.NDArray[np.uint64]], inventory: Sequence[Hashable]) -> npt.NDArray[np.uint64]:
    """One array of ids per position, each (T,) -> packed keys (T,)."""
    _require_fields(len(columns), len(inventory))
    bits = np.uint64(field_bits(len(inventory)))
    keys = columns[0].astype(np.uint64)
    for column in columns[1:]:
        keys <<= bits
        keys |= column
    return keys


def _unpack(keys: npt.NDArray[np.uint64], n: int, bits: int) -> list[npt.NDArray[np.uint64]]:
    """Packed keys (T,) -> one array of ids per position."""
    mask = np.uint64((1 << bits) - 1)
    return [(keys >> np.uint64(bits * (n - 1 - position))) & mask for position in range(n)]


def _pack_windows(keys: Ids, n: int, n_phones: int) -> npt.NDArray[np.uint64]:
    """Base-K window keys (T,) -> packed keys (T,): the lowest digits first, several at a time from a table."""
    base, bits = max(n_phones, 1), field_bits(n_phones)
    at_once = max((h for h in range(1, n + 1) if base**h <= 2**16), default=1)
    packed = np.zeros(keys.size, dtype=np.uint64)
    for done in range(0, n, at_once):
        digits = min(at_once, n - done)
        low = keys
        if done + digits < n:
            divisor = keys.dtype.type(base**digits)
            quotient = keys // divisor
            low, keys = keys - quotient * divisor, quotient
        packed |= _packed_table(base, digits, bits)[low] << np.uint64(bits * done)
    return packed


def _packed_table(base: int, digits: int, bits: int) -> npt.NDArray[np.uint64]:
    """The packed key of every number of that many digits in base K: shape (K**digits,)."""
    table = np.arange(base, dtype=np.uint64)
    for _ in range(digits - 1):
        table = np.add.outer(table << np.uint64(bits), np.arange(base, dtype=np.uint64)).ravel()
    return table


def _id_dtype(n_phones: int) -> type[np.unsignedinteger[Any]]:
    if n_phones <= 2**8:
        return np.uint8
    return np.uint16 if n_phones <= 2**16 else np.uint32
