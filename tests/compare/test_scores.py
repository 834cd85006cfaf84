"""Scores of two systems against the t tests of scipy, and pairs against all signs by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from slm_eval.compare import compare
from slm_eval.compare.labellings import swaps
from slm_eval.compare.permutation import p_value
from slm_eval.compare.scores import paired_sums
from slm_eval.metrics.means import NOTHING_VARIES, TOO_FEW_CLIPS
from tests.compare.chains import rng
from tests.compare.made_runs import make_run, numbered


def test_paired_p_is_that_of_all_signs_by_hand() -> None:
    """Differences 1, 2, 3: of the eight signed sums only +6 and -6 are as extreme: p = 2/8."""
    drawn = swaps(3, 99, (0,))
    assert p_value(paired_sums(np.array([[1.0, 2.0, 3.0]]), drawn)[0]) == 0.25
    assert p_value(paired_sums(np.array([[1.0, -1.0, 1.0]]), drawn)[0]) == 1.0  # every sum is 1 or 3 in size
    assert p_value(paired_sums(np.zeros((1, 3)), drawn)[0]) == 1.0


def test_pairs_have_the_interval_of_the_paired_t_test() -> None:
    a, b = rng(1).normal(3, 1, 30), rng(2).normal(2.6, 1, 30)
    found = compare(make_run("a", numbered(a)), make_run("b", numbered(b)))
    row = found.differences["mos.x"]
    expected = scipy.stats.ttest_rel(a, b)
    assert found.paired
    assert row.difference == pytest.approx(expected.statistic * np.std(a - b, ddof=1) / np.sqrt(30))
    assert row.ci95 == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert row.effect == pytest.approx(expected.statistic / np.sqrt(30))
    # A permutation test of the mean is close to the t test where scores are normal: binomial error of 2,000 draws.
    assert row.p == pytest.approx(expected.pvalue, abs=4 * np.sqrt(expected.pvalue / 2000) + 0.01)


def test_samples_have_the_interval_of_welch() -> None:
    a, b = rng(1).normal(3, 1, 25), rng(2).normal(2.2, 2, 40)
    mine = make_run("a", {f"a{index}": value for index, value in enumerate(a)})
    other = make_run("b", {f"b{index}": value for index, value in enumerate(b)})
    found = compare(mine, other)
    row = found.differences["mos.x"]
    expected = scipy.stats.ttest_ind(a, b, equal_var=False)
    assert not found.paired
    assert row.ci95 == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert row.n == (25, 40)
    pooled = np.sqrt((24 * np.var(a, ddof=1) + 39 * np.var(b, ddof=1)) / 63)
    assert row.effect == pytest.approx((a.mean() - b.mean()) / pooled)


def test_clips_that_a_metric_could_not_score_are_left_out_as_pairs() -> None:
    a, b = numbered([1.0, 2.0, None, 4.0]), numbered([1.5, None, 3.0, 4.5])
    row = compare(make_run("a", a), make_run("b", b)).differences["mos.x"]
    assert (row.n, row.difference) == ((2, 2), -0.5)


def test_equal_systems_and_single_clips_have_no_number_that_means_nothing() -> None:
    constant = numbered([3.0] * 10)
    row = compare(make_run("a", constant), make_run("b", constant)).differences["mos.x"]
    assert (row.difference, row.p, row.ci95, row.effect, row.better) == (0.0, 1.0, None, None, None)
    assert row.notes == (f"there is no interval: {NOTHING_VARIES}",)
    one = compare(make_run("a", numbered([3.0])), make_run("b", numbered([2.0]))).differences["mos.x"]
    assert (one.p, one.ci95, one.effect, one.better) == (1.0, None, None, None)
    assert one.notes == (f"there is no interval: {TOO_FEW_CLIPS}",)
