"""n-grams and their counts against collections.Counter."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slm_eval.divergence.ngrams import count_keys, encode, window_keys

Corpus = list[list[str]]
corpora = st.lists(st.lists(st.sampled_from(["a", "b", "ts", "ʃ"]), max_size=8), max_size=6)


def by_counter(sequences: Corpus, n: int) -> dict[tuple[str, ...], int]:
    windows = (tuple(each[start : start + n]) for each in sequences for start in range(len(each) - n + 1))
    return dict(sorted(Counter(windows).items()))


def counted(sequences: Corpus, *orders: int) -> list[list[int]]:
    """Return the counts of each order, in the order of the n-grams, which is that of their keys."""
    return [count_keys(keys)[1].tolist() for _, keys in window_keys(encode(sequences), orders)]


def read_off(key: int, inventory: tuple[object, ...], n: int) -> tuple[object, ...]:
    """Return the phones that the digits of a key stand for."""
    base = len(inventory)
    return tuple(inventory[key // base**place % base] for place in reversed(range(n)))


@given(corpora, st.integers(1, 6))
def test_counts_equal_counter(sequences: Corpus, n: int) -> None:
    encoded = encode(sequences)
    ((_, keys),) = window_keys(encoded, (n,))
    assert keys.size == encoded.n_windows(n).sum()
    distinct, counts = count_keys(keys)
    ngrams = [read_off(key, encoded.inventory, n) for key in distinct.tolist()]
    assert list(zip(ngrams, counts.tolist(), strict=True)) == list(by_counter(sequences, n).items())


@given(corpora, st.lists(st.integers(1, 6), min_size=1, unique=True))
def test_orders_together_equal_each_alone(sequences: Corpus, orders: list[int]) -> None:
    assert counted(sequences, *orders) == [counted(sequences, n)[0] for n in sorted(orders)]


def test_windows_never_cross_utterances_of_any_length() -> None:
    sequences = [list(each) for each in ("", "ab", "", "", "c", "abc", "a", "")]
    assert counted(sequences, 2, 3, 4) == [[2, 1], [1], []]  # ab, bc; abc


@pytest.mark.parametrize(("n_phones", "n"), [(40, 5), (300, 4), (5000, 3), (70_000, 2)])
def test_large_inventories_against_counter(n_phones: int, n: int) -> None:
    rng = np.random.default_rng(0)
    sequences = [rng.integers(n_phones, size=rng.integers(1, 30)).tolist() for _ in range(200)]
    assert counted(sequences, n) == [list(by_counter(sequences, n).values())]
    assert len(set(map(int, encode(sequences).ids))) == len(encode(sequences).inventory)


@pytest.mark.parametrize("n", [3, 8, 20])
def test_window_keys_of_any_inventory_and_n_tell_ngrams_apart(n: int) -> None:
    # 3,000 phones pass 2**32 at n=3 and 2**64 at n=6: beyond, prefixes are ranked.
    rng = np.random.default_rng(0)
    pool = [rng.integers(3000, size=30).tolist() for _ in range(10)]
    sequences = [pool[index][: rng.integers(30)] for index in rng.integers(10, size=60)]
    sequences.append(list(range(3000)))
    ((_, keys),) = window_keys(encode(sequences), (n,))
    windows = [tuple(each[start : start + n]) for each in sequences for start in range(len(each) - n + 1)]
    assert len(windows) == keys.size
    assert len(set(zip(windows, keys.tolist(), strict=True))) == len(set(windows)) == len(set(keys.tolist()))
    assert sorted(set(windows)) == [window for _, window in sorted(set(zip(keys.tolist(), windows, strict=True)))]


def test_encode_gives_sorted_inventory_and_flat_ids() -> None:
    encoded = encode([["b", "a"], [], ["c"]])
    assert encoded.inventory == ("a", "b", "c")
    assert encoded.ids.tolist() == [1, 0, 2]
    assert encoded.lengths.tolist() == [2, 0, 1]
    assert encoded.n_windows(2).tolist() == [1, 0, 0]
    assert encode([]).ids.size == 0


def test_one_string_is_refused() -> None:
    with pytest.raises(TypeError, match="got one string"):
        encode("abba")


def test_order_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="got n=0"):
        list(window_keys(encode(["ab"]), (0, 1)))
