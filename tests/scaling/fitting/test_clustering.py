"""Residuals that cluster by budget: the correlation against scipy, p under noise that went through a fit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import f_oneway, kstest, norm

from slm_eval.base.arrays import Floats
from slm_eval.scaling.fitting.clustering import Clustering, choose_unit, clustering, warn_of_points

SIZES = np.array([3, 5, 8, 12, 4, 9])  # of six budgets
GROUP = np.repeat(np.arange(6), SIZES)
LEVEL = np.ones((1, GROUP.size))  # a fit of a constant


def through_a_fit(noise: Floats, jacobian: Floats) -> Floats:
    """Residuals of least squares."""
    return noise - jacobian.T @ np.linalg.lstsq(jacobian.T, noise, rcond=None)[0]


def test_the_correlation_is_that_of_an_analysis_of_variance() -> None:
    rng = np.random.default_rng(0)
    residuals = rng.normal(size=GROUP.size) + rng.normal(size=6)[GROUP]
    ranks = residuals.argsort().argsort()
    scores = norm.ppf((ranks + 0.5) / ranks.size)
    F = f_oneway(*(scores[index == GROUP] for index in range(6))).statistic
    typical = (SIZES.sum() - (SIZES**2).sum() / SIZES.sum()) / 5
    clusters = clustering(residuals, LEVEL, GROUP)
    assert clusters is not None
    assert clusters.correlation == pytest.approx((F - 1) / (F - 1 + typical))


def test_p_is_uniform_where_nothing_is_shared() -> None:
    """Also where the fit has a slope from budget to budget, which takes up what budgets share."""
    jacobian = np.stack([np.ones(GROUP.size), GROUP, GROUP**2, np.tile(np.arange(41), 1)])
    shares = []
    for seed in range(200):
        residuals = through_a_fit(np.random.default_rng(seed).standard_normal(GROUP.size), jacobian)
        clusters = clustering(residuals, jacobian, GROUP, seed=seed + 1000)
        assert clusters is not None
        shares.append(clusters.p)
    assert kstest(shares, "uniform").pvalue > 0.01


def test_a_fit_that_takes_up_what_budgets_share_leaves_less_and_it_is_found_still() -> None:
    jacobian = np.stack([np.ones(GROUP.size), GROUP, GROUP**2])
    shares = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal(GROUP.size) + rng.standard_normal(6)[GROUP]
        clusters = clustering(through_a_fit(noise, jacobian), jacobian, GROUP)
        assert clusters is not None
        shares.append(clusters.p < 0.2)
    assert np.mean(shares) > 0.7


def test_one_diverged_run_is_no_cluster() -> None:
    residuals = np.random.default_rng(1).standard_normal(GROUP.size)
    plain = clustering(residuals, LEVEL, GROUP)
    residuals[residuals.argmax()] = 1e6
    assert clustering(residuals, LEVEL, GROUP) == plain


@pytest.mark.parametrize(
    ("residuals", "group"),
    [(np.arange(5.0), np.arange(5)), (np.arange(5.0), np.zeros(5, int)), (np.zeros(6), np.repeat([0, 1, 2], 2))],
)
def test_where_it_cannot_be_looked_for(residuals: Floats, group: Floats) -> None:
    """No budget with two points; one budget; a fit that misses nothing."""
    assert clustering(residuals, np.ones((1, residuals.size)), group) is None


@pytest.mark.parametrize(
    ("clusters", "n_budgets", "unit", "why"),
    [
        (None, 9, "point", "too few runs share a budget"),
        (Clustering(9, 0.01, 0.4), 9, "point", "do not cluster by budget (intraclass correlation 0.01 in 9 groups, p"),
        (Clustering(9, 0.3, 0.1), 9, "budget", "residuals cluster by budget"),
        (Clustering(2, 0.3, 0.001), 2, "point", "but 2 budgets cannot be drawn"),
    ],
)
def test_the_unit_and_why(clusters: Clustering | None, n_budgets: int, unit: str, why: str) -> None:
    choice = choose_unit(clusters, n_budgets)
    assert (choice.unit, choice.clustering) == (unit, clusters)
    assert why in choice.why
    assert bool(warn_of_points(choice)) == (n_budgets == 2)
