"""Labellings: all of them where they are few, fair draws elsewhere, the same in any block."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest

from slm_eval.base.arrays import Floats
from slm_eval.compare import labellings
from slm_eval.compare.labellings import Labellings, shuffles, swaps
from slm_eval.compare.pool import Pool
from tests.compare.labelled import all_of, corpus, rng, welch
from tests.divergence.chains import incidence_of


def test_swaps_are_all_signs_where_there_are_few_and_the_observed_one_is_first() -> None:
    everything = all_of(swaps(3, 99, (0,)))
    assert {tuple(column) for column in everything.T.tolist()} == set(product((0, 1), repeat=3))
    assert everything.shape == (3, 8)
    assert everything[:, 0].tolist() == [1, 1, 1]
    drawn = all_of(swaps(40, 99, (0,)))
    assert drawn.shape == (40, 100)
    assert drawn[:, 0].all()


def test_shuffles_are_all_choices_where_there_are_few_and_keep_the_sizes() -> None:
    everything = all_of(shuffles(2, 3, 99, (0,)))
    assert {tuple(np.flatnonzero(column)) for column in everything.T} == set(combinations(range(5), 2))
    assert np.flatnonzero(everything[:, 0]).tolist() == [0, 1]
    drawn = all_of(shuffles(20, 30, 99, (0,)))
    assert drawn.shape == (50, 100)
    assert (drawn.sum(axis=0) == 20).all()
    assert np.flatnonzero(drawn[:, 0]).tolist() == list(range(20))


def test_the_largest_enumeration_counts_no_more_labellings_than_were_asked_for() -> None:
    assert all_of(swaps(7, 127, (0,))).shape == (7, 128)
    assert all_of(swaps(7, 126, (0,))).shape == (7, 127)
    assert all_of(shuffles(4, 4, 69, (0,))).shape == (8, 70)
    assert all_of(shuffles(4, 4, 68, (0,))).shape == (8, 69)


@pytest.mark.parametrize("drawn", [swaps(300, 99, (3,)), shuffles(120, 180, 99, (3,))])
def test_labellings_are_the_same_in_any_block_and_kept_or_drawn_again(drawn: Labellings) -> None:
    again = Labellings(drawn.observed, drawn.paired, drawn.size, drawn.key)
    assert drawn.bits is not None
    assert again.bits is None
    whole = all_of(drawn)
    assert np.array_equal(whole, all_of(again))
    for labelled in (drawn, again):
        blocks = [labelled.block(slice(start, start + 7)) for start in range(0, labelled.size, 7)]
        assert np.array_equal(whole, np.concatenate(blocks, axis=1))
    assert len({tuple(column) for column in whole.T.tolist()}) == 100


@pytest.mark.parametrize("rows", [1, 10**9])
def test_the_size_of_a_block_moves_no_statistic(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = rng()
    utterances = corpus(random.dirichlet(np.full(6, 0.5), 6), 45, 12, random)
    incidence = incidence_of(utterances, 2)
    pool = Pool.from_incidence(incidence, slice(0, 30), slice(30, 45))
    drawn, scores = shuffles(10, 20, 500, (0,)), random.normal(size=30)

    def statistics() -> list[Floats]:
        return [
            pool.statistics(drawn.block, drawn.size, rng(), centred=True),
            welch(scores, np.arange(30), drawn),
        ]

    whole = statistics()
    monkeypatch.setattr(labellings, "_BLOCK_BYTES", 2**24 // rows)
    monkeypatch.setattr(labellings, "_MOST", 10**9 if rows == 1 else 256)
    for before, after in zip(whole, statistics(), strict=True):
        assert before.tolist() == after.tolist()


def test_the_generator_of_labels_is_fair() -> None:
    """Each unit is labelled as of the first as often as any other: 2,000 draws, five sds."""
    drawn = all_of(shuffles(6, 10, 2000, (0,)))[:, 1:]
    assert np.abs(drawn.mean(axis=1) - 6 / 16).max() < 5 * math.sqrt(6 / 16 * 10 / 16 / 2000)
    assert Counter(all_of(swaps(20, 2000, (0,)))[:, 1:].ravel().tolist())[1] == pytest.approx(20_000, abs=5 * 100)
