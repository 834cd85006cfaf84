"""n-grams of phone sequences as integers, told apart and counted by sorting.

An n-gram is a *window key*: the phone ids as digits in base K, the smallest integers there are, which sort fastest.

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
        """Return the windows of n phones in each utterance: shape (U,); 0 where the utterance is shorter than n."""
        return np.maximum(self.lengths - n + 1, 0)


def encode(sequences: Iterable[Sequence[Hashable]]) -> Encoded:
    """Turn utterances of phones into flat ids over the sorted inventory of the phones that occur.

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
    """Yield keys of all windows of n phones, for each n asked for: equal keys are equal n-grams.

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
        raise ValueError(f"n must be at least 1, since an n-gram has at least one phone; got n={wanted[0]}")
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
    """Return distinct keys in ascending order, shape (T,), and how often each occurs. Sorts ``keys`` in place."""
    if keys.size == 0:
        return keys, np.zeros(0, dtype=np.int64)
    keys.sort()
    first = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    return keys[first], np.diff(first, append=keys.size)


def _id_dtype(n_phones: int) -> type[np.unsignedinteger[Any]]:
    if n_phones <= 2**8:
        return np.uint8
    return np.uint16 if n_phones <= 2**16 else np.uint32
