"""n-gram counts against collections.Counter, and the exactness of merging."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slm_eval.divergence.ngrams import Encoded, NGramCounts, count_orders, encode, field_bits, window_keys

Corpus = list[list[str]]
corpora = st.lists(st.lists(st.sampled_from(["a", "b", "ts", "ʃ"]), max_size=8), max_size=6)


def by_counter(sequences: Corpus, n: int) -> dict[tuple[str, ...], int]:
    windows = (tuple(each[start : start + n]) for each in sequences for start in range(len(each) - n + 1))
    return dict(sorted(Counter(windows).items()))


@given(corpora, st.integers(1, 6))
def test_counts_equal_counter(sequences: Corpus, n: int) -> None:
    counts = NGramCounts.from_phones(sequences, n)
    assert counts.decode() == by_counter(sequences, n)
    assert list(counts.decode()) == list(by_counter(sequences, n))
    assert counts.total == sum(by_counter(sequences, n).values())


@given(corpora, corpora, st.integers(1, 4))
def test_merged_shards_equal_the_concatenation(first: Corpus, second: Corpus, n: int) -> None:
    merged = NGramCounts.from_phones(first, n).merge(NGramCounts.from_phones(second, n))
    assert merged == NGramCounts.from_phones(first + second, n)
    assert merged == NGramCounts.from_phones(second, n).merge(NGramCounts.from_phones(first, n))


def test_merge_remaps_ids_of_different_inventories() -> None:
    # In both shards the only phone has id 0: adding keys as they are would count one phone five times.
    merged = NGramCounts.from_phones([["b"] * 3], 1).merge(NGramCounts.from_phones([["a"] * 2], 1))
    assert merged.decode() == {("a",): 2, ("b",): 3}


@given(corpora, st.lists(st.integers(1, 6), min_size=1, unique=True))
def test_orders_together_equal_each_alone(sequences: Corpus, orders: list[int]) -> None:
    together = count_orders(encode(sequences), orders)
    assert together == {n: NGramCounts.from_phones(sequences, n) for n in sorted(orders)}


def test_windows_never_cross_utterances_of_any_length() -> None:
    sequences = ["", "ab", "", "", "c", "abc", "a", ""]
    assert NGramCounts.from_phones(sequences, 2).decode() == {("a", "b"): 2, ("b", "c"): 1}
    assert NGramCounts.from_phones(sequences, 3).decode() == {("a", "b", "c"): 1}
    assert NGramCounts.from_phones(sequences, 4).total == 0


@pytest.mark.parametrize(("n_phones", "n"), [(40, 5), (300, 4), (5000, 3), (70_000, 2)])
def test_large_inventories_against_counter(n_phones: int, n: int) -> None:
    rng = np.random.default_rng(0)
    sequences = [rng.integers(n_phones, size=rng.integers(1, 30)).tolist() for _ in range(200)]
    assert NGramCounts.from_phones(sequences, n).decode() == by_counter(sequences, n)
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


@pytest.mark.parametrize("piece", [1, 7, 50])
def test_counting_in_pieces_changes_nothing(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    sequences = [rng.integers(5, size=rng.integers(0, 20)).tolist() for _ in range(60)]
    monkeypatch.setattr("slm_eval.divergence.ngrams._PIECE", piece)
    for n, counts in count_orders(encode(sequences), range(1, 6)).items():
        assert counts.decode() == by_counter(sequences, n)


def test_table_and_sort_count_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = encode([np.random.default_rng(0).integers(30, size=20_000).tolist()])
    by_table = count_orders(encoded, (1, 2, 3))
    monkeypatch.setattr("slm_eval.divergence.ngrams._TABLE_BOUND", 0)
    assert count_orders(encoded, (1, 2, 3)) == by_table


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


def test_packed_keys_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"9-grams over 2 phones need 9 fields of 8 bits.*n <= 8"):
        NGramCounts.from_phones(["ab"], 9)
    assert [field_bits(k) for k in (1, 256, 257, 4096)] == [8, 8, 9, 12]


def test_merge_refuses_another_n() -> None:
    with pytest.raises(ValueError, match="2-grams and of 3-grams"):
        NGramCounts.from_phones(["ab"], 2).merge(NGramCounts.from_phones(["ab"], 3))


def test_order_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="got n=0"):
        list(window_keys(encode(["ab"]), (0, 1)))


def test_ids_may_be_given_already_encoded() -> None:
    encoded = Encoded(np.array([0, 1, 0], dtype=np.uint8), np.array([2, 1]), ("x", "y"))
    assert NGramCounts.from_encoded(encoded, 2).decode() == {("x", "y"): 1}
