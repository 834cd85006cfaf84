"""Counts of n-grams in drawn utterances against Counters."""

from __future__ import annotations

import numpy as np
import pytest

from slm_eval.divergence.incidence import Incidence, divergences
from slm_eval.divergence.resampling import (
    draw_halves,
)
from tests.divergence.chains import as_counter, brute_force, chain, chosen, incidence_of, sample


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("length", [5, 3000])
def test_divergences_of_draws_equal_brute_force(n: int, length: int) -> None:
    # 3,000 phones per utterance give counts beyond 8 and 16 bits; 70 draws are more than one block.
    rng = np.random.default_rng(n)
    generated, real = sample(chain(1, 4), 30, length, rng), sample(chain(2, 4), 25, length, rng)
    draws = 70 if length < 100 else 3
    masks = (draw_halves(np.arange(30), draws, rng), draw_halves(np.arange(25), draws, rng))
    incidence = incidence_of([*generated, *real], n)
    got = divergences(incidence, (slice(0, 30), slice(30, 55)), masks)
    expected = [
        brute_force(chosen(generated, masks[0][:, draw]), chosen(real, masks[1][:, draw]), n) for draw in range(draws)
    ]
    np.testing.assert_allclose(got, expected, atol=1e-12, rtol=0)


def test_incidence_counts_equal_counter() -> None:
    utterances = sample(chain(1), 20, 30, np.random.default_rng(0))
    incidence = incidence_of(utterances, 3)
    mask = np.arange(20) % 3 == 0
    expected = as_counter([phones for phones, taken in zip(utterances, mask, strict=True) if taken], 3)
    counts = incidence.counts(mask)
    assert sorted(counts[counts > 0].tolist()) == sorted(expected.values())
    assert incidence.multiplicities.sum() == incidence.n_windows.sum() == incidence.windows.size


def test_incidence_of_keys_too_wide_for_pairs() -> None:
    keys = np.array([2**63, 5, 2**63, 7], dtype=np.uint64)
    incidence = Incidence.build(keys, np.array([1, 3]))
    assert incidence.counts(np.array([True, True])).tolist() == [1, 1, 2]
