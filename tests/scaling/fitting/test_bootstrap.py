"""Intervals: against fits of the resamples one by one, by coverage over fresh noise, and what they cannot be."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from slm_eval.base.arrays import Floats
from slm_eval.base.errors import UsageError
from slm_eval.scaling import (
    PUBLISHED,
    Bootstrap,
    LossLaw,
    bootstrap_loss_law,
    bootstrap_metric_law,
    fit_loss_law,
    fit_metric_law,
)
from slm_eval.scaling.fitting.resampling import resample
from slm_eval.scaling.runs.points import budgets, gather
from tests.scaling.known_surface import METRIC, grid, noise

N, D, C = grid(sizes=7)
LOSS = PUBLISHED(N, D) * noise(N.size, 0)
SEEDS = 3
MANY_N, MANY_D = np.tile(N, SEEDS), np.tile(D, SEEDS)
MANY = PUBLISHED(MANY_N, MANY_D) * noise(MANY_N.size, 7)


@cache
def of_points() -> Bootstrap[LossLaw]:
    return bootstrap_loss_law(N, D, LOSS, n=200, unit="point")


def test_every_resample_is_the_fit_of_its_weights() -> None:
    fit = fit_loss_law(N, D, LOSS)
    draws = resample(fit.points, "point", 200, 6, np.random.default_rng(0))
    for k in (0, 5, 17, 199):
        alone = fit_loss_law(N, D, LOSS, weights=draws.weights[k])
        together = of_points().laws[k]
        assert pytest.approx(alone.exponents.N, abs=1e-3) == together.exponents.N
        assert together(N, D) == pytest.approx(alone(N, D), rel=1e-3)


def test_every_resample_of_seeds_is_the_fit_of_its_means() -> None:
    boot = bootstrap_loss_law(MANY_N, MANY_D, MANY, n=20, unit="seed", seed=3)
    points = gather(MANY_N, MANY_D, MANY)
    draws = resample(points, "seed", 20, 6, np.random.default_rng(3))
    for k in (0, 11, 19):
        alone = fit_loss_law(points.N, points.D, draws.values[k])
        assert boot.laws[k](N, D) == pytest.approx(alone(N, D), rel=1e-4)


def test_intervals_hold_the_truth_and_any_function_of_the_law() -> None:
    boot = of_points()
    for of in ("alpha", "beta", "E", lambda law: law.exponents.N, lambda law: law.optimal(1e21).r):
        low, high = boot.interval(of)
        truth = getattr(PUBLISHED, of) if isinstance(of, str) else of(PUBLISHED)
        assert low < truth < high
    low, high = boot.interval(lambda law: law.optimal([1e19, 1e20, 1e21]).N)
    assert low.shape == high.shape == (3,)
    narrow = boot.interval("alpha", level=0.5)
    wide = boot.interval("alpha")
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert boot.sample("alpha").shape == (200,)


def test_the_interval_is_as_wide_as_fits_of_fresh_runs_are_apart() -> None:
    """The exponent of N* over 60 fresh draws of the noise against the bootstrap of one."""
    fresh = [fit_loss_law(N, D, PUBLISHED(N, D) * noise(N.size, 100 + k), starts=4).exponents.N for k in range(60)]
    spread = of_points().sample(lambda law: law.exponents.N).std()
    assert 0.6 < spread / np.std(fresh) < 1.6


def test_the_same_seed_draws_the_same() -> None:
    one, same, other = (bootstrap_loss_law(N, D, LOSS, n=5, seed=seed) for seed in (1, 1, 2))
    assert one.laws == same.laws
    assert one.laws != other.laws


def test_gamma_stays_fixed() -> None:
    boot = bootstrap_loss_law(N, D, LOSS, 1, n=10)
    assert set(boot.sample("gamma")) == {1.0}
    assert boot.bounds_hit == {}
    given = bootstrap_loss_law(N, D, LOSS, n=10, fit=fit_loss_law(N, D, LOSS, 1))
    assert given.laws == boot.laws


# ---- what is drawn ----


def test_points_are_drawn_with_replacement() -> None:
    points = gather(N, D, LOSS)
    draws = resample(points, "point", 50, 6, np.random.default_rng(0))
    assert (draws.weights.sum(axis=1) == points.n).all()
    assert draws.weights.var() == pytest.approx(1, abs=0.1)
    assert draws.values.shape == (1, points.n)


def test_budgets_are_drawn_whole() -> None:
    points = gather(N, D, LOSS)
    label, _ = budgets(points.N * points.D)
    draws = resample(points, "budget", 50, 6, np.random.default_rng(0))
    for index in range(10):
        of_budget = draws.weights[:, label == index]
        assert (of_budget == of_budget[:, :1]).all()
    assert (draws.weights[:, ::7].sum(axis=1) == 10).all()


def test_seeds_are_drawn_within_their_point() -> None:
    points = gather(MANY_N, MANY_D, MANY)
    draws = resample(points, "seed", 4000, 6, np.random.default_rng(0))
    runs = MANY.reshape(SEEDS, -1)
    assert draws.values.mean(axis=0) == pytest.approx(points.value, rel=1e-3)
    # Of k seeds, a mean of k drawn ones has variance s²/k with the s² that divides by k.
    assert draws.values.var(axis=0) == pytest.approx(runs.var(axis=0) / SEEDS, rel=0.15)


def test_a_resample_without_enough_points_is_drawn_again() -> None:
    small = np.arange(0, 70, 9)
    points = gather(N[small], D[small], LOSS[small])
    draws = resample(points, "point", 100, 6, np.random.default_rng(0))
    assert points.n == 8
    assert ((draws.weights > 0).sum(axis=1) >= 6).all()
    assert draws.redrawn > 0
    boot = bootstrap_loss_law(N[small], D[small], LOSS[small], n=30)
    assert any("too few points" in warning for warning in boot.warnings)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown unit of a bootstrap 'points'; did you mean 'point'"):
        bootstrap_loss_law(N, D, LOSS, n=5, unit="points")
    with pytest.raises(UsageError, match=r"every \(N, D\) came once"):
        bootstrap_loss_law(N, D, LOSS, n=5, unit="seed")
    with pytest.raises(UsageError, match="at least 3, and there are 2"):
        bootstrap_loss_law(N[:14], D[:14], LOSS[:14], n=5, unit="budget")
    with pytest.raises(UsageError, match="at least 2 resamples"):
        bootstrap_loss_law(N, D, LOSS, n=1)
    with pytest.raises(UsageError, match="the fit is of other runs: it has 70 points, and 63 came"):
        bootstrap_loss_law(N[7:], D[7:], LOSS[7:], n=5, fit=fit_loss_law(N, D, LOSS))
    with pytest.raises(UsageError, match="level of an interval"):
        of_points().interval("alpha", level=95)


def shared(sd: float, seed: int = 5) -> Floats:
    """Noise that all points of a budget share."""
    return np.repeat(np.exp(sd * np.random.default_rng(seed).standard_normal(10)), 7)


def test_budgets_are_drawn_where_residuals_cluster_by_them() -> None:
    loss = PUBLISHED(N, D) * noise(N.size, 3) * shared(0.02)
    boot = bootstrap_loss_law(N, D, loss, n=20)
    assert boot.unit == "budget"
    assert boot.laws == bootstrap_loss_law(N, D, loss, n=20, unit="budget").laws
    assert boot.clustering is not None
    assert boot.clustering.groups == 10
    assert boot.clustering.p < 0.01
    assert "cluster by budget" in boot.why
    assert boot.warnings == ()


def test_points_are_drawn_where_they_do_not() -> None:
    boot = bootstrap_loss_law(N, D, PUBLISHED(N, D) * noise(N.size, 3), n=20)
    assert boot.unit == "point"
    assert boot.clustering is not None
    assert boot.clustering.p > 0.2
    assert "do not cluster" in boot.why


def test_points_that_cluster_are_drawn_with_a_warning() -> None:
    loss = PUBLISHED(N, D) * noise(N.size, 3) * shared(0.02)
    boot = bootstrap_loss_law(N, D, loss, n=20, unit="point")
    assert (boot.unit, boot.why) == ("point", "as asked")
    assert any("residuals cluster by budget" in line and "too narrow" in line for line in boot.warnings)


def test_the_unit_of_a_metric_follows_from_its_own_residuals() -> None:
    metric = METRIC(N, D) * noise(N.size, 4, sd=0.005) * shared(0.02)
    assert bootstrap_metric_law(N, D, metric, n=10, limits=(0, math.log(2))).unit == "budget"


def test_budgets_have_names() -> None:
    """Two grids at the same compute: those by name are drawn whole; by compute they are ten budgets."""
    half = np.where(np.arange(N.size) % 2 == 0, "even", "odd")
    named = np.char.add(half, C.astype(str))
    fit = fit_loss_law(N, D, LOSS, budget=named)
    assert np.unique(fit.points.budget).size == 20
    draws = resample(fit.points, "budget", 50, 6, np.random.default_rng(0))
    apart = draws.weights[:, 0] != draws.weights[:, 1]
    assert apart.any()
    assert (draws.weights[:, 0] == draws.weights[:, 2]).all()
    with pytest.raises(UsageError, match="70 N, 3 budget"):
        fit_loss_law(N, D, LOSS, budget=["a", "b", "c"])


# ---- metrics ----


def test_the_limit_of_a_metric_has_an_interval() -> None:
    metric = METRIC(N, D) * noise(N.size, 4)
    boot = bootstrap_metric_law(N, D, metric, n=60, limits=(0, math.log(2)))
    low, high = boot.interval("limit")
    assert low < METRIC.limit < high
    low, high = boot.interval(lambda law: law.exponents.N)
    assert low < METRIC.exponents.N < high
    assert boot.converged > 0.9


def test_every_resample_of_a_metric_is_the_fit_of_its_weights() -> None:
    metric = METRIC(N, D) * noise(N.size, 4)
    fit = fit_metric_law(N, D, metric)
    boot = bootstrap_metric_law(N, D, metric, n=10, fit=fit, unit="point")
    draws = resample(fit.points, "point", 10, 8, np.random.default_rng(0))
    for k in (0, 4, 9):
        alone = fit_metric_law(N, D, metric, weights=draws.weights[k])
        assert boot.laws[k](N, D) == pytest.approx(alone(N, D), rel=0.01)


def test_a_tied_law_is_resampled_with_the_loss() -> None:
    metric = METRIC(N, D) * noise(N.size, 4)
    some = np.arange(N.size) % 2 == 0
    loss = fit_loss_law(N, D, LOSS)
    boot = bootstrap_metric_law(N[some], D[some], metric[some], loss, n=40, tie="loss", unit="point")
    assert boot.converged > 0.9
    for of in ("limit", lambda law: law.exponents.N):
        low, high = boot.interval(of)
        assert low < (METRIC.limit if of == "limit" else of(METRIC)) < high
    # The resample's weights are those of the loss, and the metric's points follow.
    draws = resample(loss.points, "point", 40, 6, np.random.default_rng(0))
    for k in (3, 20):
        of_draw = fit_loss_law(N, D, LOSS, weights=draws.weights[k])
        drawn = draws.weights[k][some] > 0
        alone = fit_metric_law(
            N[some][drawn],
            D[some][drawn],
            metric[some][drawn],
            of_draw,
            tie="loss",
            weights=draws.weights[k][some][drawn],
        )
        assert boot.laws[k](N, D) == pytest.approx(alone(N, D), rel=0.01)


def test_a_tied_law_cannot_be_resampled_without_its_loss() -> None:
    metric, loss = METRIC(N, D) * noise(N.size, 4), fit_loss_law(N, D, LOSS)
    fit = fit_metric_law(N, D, metric, loss, tie="loss")
    with pytest.raises(UsageError, match="needs loss_fit"):
        bootstrap_metric_law(N, D, metric, n=5, fit=fit)
    with pytest.raises(UsageError, match="no bootstrap of seeds"):
        bootstrap_metric_law(N, D, metric, loss, n=5, fit=fit, unit="seed")
    with pytest.raises(UsageError, match=r"7 points .* without a loss"):
        bootstrap_metric_law(N, D, metric, fit_loss_law(N[7:], D[7:], LOSS[7:]), n=5, fit=fit)
