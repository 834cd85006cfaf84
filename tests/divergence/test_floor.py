"""The floor against scores of fresh samples of one source, and where it cannot be measured."""

from __future__ import annotations

import math

import numpy as np
import pytest

from slm_eval.divergence.analysis import Analysis, analyse
from slm_eval.divergence.estimators import LN2
from slm_eval.divergence.floor import Floor, cut_segments, draw_splits, floor
from slm_eval.divergence.resampling import (
    Undefined,
)
from tests.divergence.chains import brute_force, chain, incidence_of, sample


@pytest.mark.parametrize("ratio", [0.2, 1.0, 1.3])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_floor_is_the_score_of_fresh_samples(n: int, ratio: float) -> None:
    # Sources of 12 phones, 100 real utterances of 40. The floor varies with the real side that it was measured on:
    # three of them are averaged.
    rng = np.random.default_rng(n)
    n_generated = int(100 * ratio)
    truth, floors = [], []
    for repeat in range(20):
        generated, real = sample(chain(1), n_generated, 40, rng), sample(chain(1), 100, 40, rng)
        incidence = incidence_of([*generated, *real], n)
        truth.append(brute_force(generated, real, n))
        if repeat < 3:
            side, wanted = (
                slice(n_generated, n_generated + 100),
                tuple(
                    int(incidence.n_windows[part].sum()) for part in (slice(0, n_generated), slice(n_generated, None))
                ),
            )
            result = floor(incidence, side, np.arange(100), wanted, draw_splits(np.arange(100), 40, rng))  # type: ignore[arg-type]
            assert isinstance(result, Floor)
            assert result.scale == pytest.approx(1 / (1 + ratio), rel=0.15)
            assert sorted(result.measured, reverse=True) == list(result.measured)
            floors.append(result)
    sd = np.std(truth, ddof=1)
    assert np.mean([estimate.value for estimate in floors]) == pytest.approx(np.mean(truth), abs=1.5 * sd)
    assert 0.5 * sd < np.mean([estimate.sd for estimate in floors]) < 2.5 * sd


def test_floor_of_a_saturated_order_is_ln2_without_nan() -> None:
    real = [list(range(start, start + 10)) for start in range(0, 200, 10)]
    result = analyse(real[:10], real, (3,))[3]
    assert isinstance(result, Analysis)
    assert result.floor == LN2
    assert result.floor_sd == 0


def test_floor_of_one_phone_is_zero_without_nan() -> None:
    result = analyse([[0] * 20] * 20, [[0] * 20] * 20, (2,))[2]
    assert isinstance(result, Analysis)
    assert (result.value, result.floor, result.floor_sd, result.sd) == (0, 0, 0, 0)


def test_floor_saturated_at_smaller_scales_is_finite() -> None:
    # One n-gram in two utterances only: most splits and all but a few quarters share nothing.
    real = [list(range(start, start + 10)) for start in range(0, 200, 10)]
    real[1][:3] = real[0][:3]
    for seed in range(5):
        result = analyse(real[:10], real, (3,), seed=seed)[3]
        assert isinstance(result, Analysis)
        assert result.floor is not None
        assert result.floor_sd is not None
        assert 0.6 < result.floor <= LN2
        assert math.isfinite(result.floor_sd)


def test_segments_have_the_asked_shares_and_are_never_empty() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(20, 60, size=400)
    segments = cut_segments(sizes, draw_splits(np.arange(400), 10, rng), (0.25, 0.75), 4)
    for split in segments:
        totals = np.bincount(split, weights=sizes, minlength=8) / sizes.sum()
        np.testing.assert_allclose(totals, [0.25 / 4] * 4 + [0.75 / 4] * 4, atol=0.004)
    # Shares that leave a quarter out.
    for split in cut_segments(sizes, draw_splits(np.arange(400), 10, rng), (0.25, 0.5), 4):
        totals = np.bincount(split, weights=sizes, minlength=9) / sizes.sum()
        np.testing.assert_allclose(totals, [0.25 / 4] * 4 + [0.5 / 4] * 4 + [0.25], atol=0.004)
    # Eight clusters, one of them far larger than a segment, and two without n-grams.
    few = cut_segments(np.array([500, 1, 1, 1, 0, 1, 1, 1, 1, 0]), draw_splits(np.arange(10), 30, rng), (0.5, 0.5), 4)
    for split in few:
        assert sorted(split[[0, 1, 2, 3, 5, 6, 7, 8]].tolist()) == list(range(8))


def test_floor_refuses_what_cannot_be_split() -> None:
    real = sample(chain(1), 30, 20, np.random.default_rng(0))
    few = analyse(real[:20], real[20:27], (1,))[1]
    assert isinstance(few, Analysis)
    assert (few.floor, few.floor_sd, few.excess) == (None, None, None)
    assert any(
        "no floor: at least 12 clips (or clusters) with n-grams are needed; there are 7" in line
        for line in few.warnings
    )
    tiny = analyse(real[:1], real[1:], (1,))[1]
    assert isinstance(tiny, Analysis)
    assert isinstance(tiny.floor_detail, Undefined)
    assert "too little speech: this one cannot be split in the same proportion" in tiny.floor_detail.reason
    large = analyse(real[:15] * 4, real[15:], (1,))[1]
    assert isinstance(large, Analysis)
    assert isinstance(large.floor_detail, Undefined)
    assert "more than 1.5 times as much speech" in large.floor_detail.reason
