"""The fused law from runs: recovered without noise, several ways to it agree, and what saturates is told apart."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from scipy.optimize import least_squares

from slm_eval.base.arrays import Floats
from slm_eval.base.errors import UsageError
from slm_eval.scaling import PUBLISHED, LossFit, fit_loss_law, fit_metric_law
from slm_eval.scaling.fitting.metric_surface import MetricSurface
from slm_eval.scaling.runs.points import gather
from tests.scaling.known_surface import METRIC, grid, noise

N, D, C = grid()
TRAIN = C < 4e20
CANONICAL = ("low", "high", "c", "A", "B", "alpha", "beta", "gamma")
PJSD = (0.0, math.log(2))


def noisy(seed: int) -> Floats:
    return METRIC(N, D) * noise(N.size, seed + 1000)


@cache
def loss_fit() -> LossFit:
    return fit_loss_law(N[TRAIN], D[TRAIN], (PUBLISHED(N, D) * noise(N.size, 0))[TRAIN])


def test_the_law_is_recovered_without_noise() -> None:
    fit = fit_metric_law(N, D, METRIC(N, D))
    for name in CANONICAL:
        assert getattr(fit, name) == pytest.approx(getattr(METRIC, name), rel=1e-6)
    assert fit.limit == pytest.approx(0.21383297920521951, rel=1e-9)
    assert fit.converged
    assert fit.warnings == ()


def test_a_metric_of_which_more_is_better() -> None:
    fit = fit_metric_law(N, D, 4.5 - 2 * METRIC(N, D), limits=(1, 10))
    assert (fit.low, fit.high) == pytest.approx((4.2, 3.3), rel=1e-6)
    assert fit.low > fit.high
    assert fit.alpha == pytest.approx(METRIC.alpha, rel=1e-6)
    assert fit.limit == pytest.approx(4.5 - 2 * METRIC.limit, rel=1e-8)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_can_be_reported_is_found_in_noise(seed: int) -> None:
    """1 % noise: exponents, optimum and limit; gamma, low and high are free to differ."""
    metric = noisy(seed)
    fit = fit_metric_law(N[TRAIN], D[TRAIN], metric[TRAIN], loss_fit())
    assert fit.converged
    assert fit.agreement > 0.5
    assert (fit.alpha, fit.beta) == pytest.approx((METRIC.alpha, METRIC.beta), rel=0.06)
    assert pytest.approx(METRIC.exponents.N, abs=0.015) == fit.exponents.N
    assert fit.limit == pytest.approx(METRIC.limit, rel=0.1)
    held_out = np.mean(np.abs(fit(N[~TRAIN], D[~TRAIN]) / metric[~TRAIN] - 1))
    assert held_out < 0.012


def test_another_optimiser_in_other_coordinates_does_no_better() -> None:
    """scipy's trust-region least squares with the same Huber loss, on equation 4.3 as the paper writes it."""
    metric = noisy(0)[TRAIN]
    n, d = N[TRAIN], D[TRAIN]

    def residual(theta: Floats) -> Floats:
        low, high, c, A, B, alpha, beta, gamma = theta
        with np.errstate(over="ignore"):
            inner = (np.exp(A) * n**-alpha + np.exp(B) * d**-beta) ** gamma
            return (low + (high - low) / (1 + np.exp(-(c + inner)))) / metric - 1

    fit = fit_metric_law(n, d, metric, loss_fit())
    truth = [getattr(METRIC, name) for name in CANONICAL]
    truth[3:5] = np.log(truth[3:5])
    theirs = least_squares(residual, truth, loss="huber", f_scale=1e-2, x_scale="jac", max_nfev=500, xtol=1e-14)
    assert fit.objective <= theirs.cost * (1 + 1e-6)
    again = [getattr(fit, name) for name in CANONICAL]
    again[3:5] = np.log(again[3:5])
    assert np.sum(_huber(residual(np.array(again)))) == pytest.approx(fit.objective, rel=1e-8)


def _huber(r: Floats, delta: float = 1e-2) -> Floats:
    return np.where(np.abs(r) <= delta, r**2 / 2, delta * (np.abs(r) - delta / 2))


def test_the_search_finds_the_same_law_without_a_loss_to_start_from() -> None:
    metric = noisy(0)[TRAIN]
    given, searched = (fit_metric_law(N[TRAIN], D[TRAIN], metric, start) for start in (loss_fit(), None))
    assert searched.objective == pytest.approx(given.objective, rel=1e-6)
    assert searched.loss_law is None
    assert searched.sigmoid is None


def test_basin_hopping_does_no_better() -> None:
    metric = noisy(2)[TRAIN]
    fast = fit_metric_law(N[TRAIN], D[TRAIN], metric, loss_fit())
    paper = fit_metric_law(N[TRAIN], D[TRAIN], metric, loss_fit(), method="paper", iterations=30)
    assert fast.objective <= paper.objective * (1 + 1e-6)


def test_limits_hold() -> None:
    """Noise of seed 1 lets low and high run off; a pJSD cannot exceed ln 2."""
    metric = noisy(1)[TRAIN]
    free, held = (
        fit_metric_law(N[TRAIN], D[TRAIN], metric, loss_fit(), limits=limits) for limits in ((0, math.inf), PJSD)
    )
    assert free.high > math.log(2)
    assert held.high == pytest.approx(math.log(2))
    assert held.bounds_hit == ("high",)
    assert held.objective >= free.objective
    assert any("high ended on its limit" in warning for warning in held.warnings)


def test_the_papers_ten_parameters_in_the_gauge_of_the_loss_fit() -> None:
    fit = fit_metric_law(N[TRAIN], D[TRAIN], noisy(0)[TRAIN], loss_fit())
    assert fit.loss_law is not None
    assert fit.sigmoid is not None
    assert (fit.loss_law.E, fit.loss_law.A) == (loss_fit().E, loss_fit().A)
    assert fit.sigmoid(fit.loss_law(N, D)) == pytest.approx(fit(N, D), rel=1e-10)


def test_tied_to_the_loss_all_ten_are_recovered() -> None:
    exact = fit_loss_law(N, D, PUBLISHED(N, D))
    fit = fit_metric_law(N, D, METRIC(N, D), exact, tie="loss")
    assert fit.loss_law is not None
    assert fit.sigmoid is not None
    assert vars(fit.loss_law) == pytest.approx(vars(PUBLISHED), rel=1e-6)
    assert (fit.sigmoid.L0, fit.sigmoid.k) == pytest.approx((0.0075, 900), rel=1e-6)
    assert (fit.free, fit.tied) == (10, True)


def test_tied_with_noise_one_law_serves_both() -> None:
    fit = fit_metric_law(N[TRAIN], D[TRAIN], noisy(0)[TRAIN], loss_fit(), tie="loss")
    assert fit.converged
    assert fit.agreement > 0.5
    assert fit.loss_law is not None
    assert fit.loss_law.alpha == fit.alpha
    loss = loss_fit().points
    assert np.mean(np.abs(fit.loss_law(loss.N, loss.D) / loss.value - 1)) < 1.05 * loss_fit().mre + 0.001
    assert fit.mre < 0.01


def test_a_metric_on_some_of_the_runs_can_be_tied() -> None:
    some = TRAIN & (np.arange(N.size) % 4 == 0)
    fit = fit_metric_law(N[some], D[some], noisy(0)[some], loss_fit(), tie="loss")
    assert fit.n == some.sum()
    assert fit.converged


# ---- metrics that do not follow a law ----


def opinion(values: Floats | float, seed: int = 3) -> Floats:
    return values + 0.05 * np.random.default_rng(seed).standard_normal(N.size)


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (opinion(3.5), "the data do not support the law: metric hardly changes with N and D"),
        (opinion(np.where(C < 3e18, 3.0, 3.5)), "the metric saturates"),
    ],
)
def test_a_metric_that_saturates_is_said(metric: Floats, said: str) -> None:
    fit = fit_metric_law(N, D, metric, limits=(1, 5))
    assert any(said in warning for warning in fit.warnings), fit.warnings


def test_a_metric_that_scales_is_not_said_to_saturate() -> None:
    for seed in range(4):
        fit = fit_metric_law(N, D, noisy(seed), limits=PJSD)
        assert not any("saturates" in warning or "do not support" in warning for warning in fit.warnings)


def test_what_cannot_be_fitted_is_refused() -> None:
    metric = METRIC(N, D)
    with pytest.raises(UsageError, match=r"every run has the same metric \(3\.5\)"):
        fit_metric_law(N, D, np.full(N.size, 3.5))
    with pytest.raises(UsageError, match=r"7 different .* came, and the law has 8 free parameters"):
        fit_metric_law(N[:7], D[:7], metric[:7])
    with pytest.raises(UsageError, match="needs loss_fit"):
        fit_metric_law(N, D, metric, tie="loss")
    with pytest.raises(UsageError, match="unknown tie 'los'; did you mean 'loss'"):
        fit_metric_law(N, D, metric, tie="los")
    with pytest.raises(UsageError, match="expected limits of a metric"):
        fit_metric_law(N, D, metric, limits=(1, 0))
    with pytest.raises(UsageError, match=r"metric\[0\] is -"):
        fit_metric_law(N, D, -metric)


@pytest.mark.parametrize(("omega", "size"), [(-3000.0, "N"), (3000.0, "D")])
def test_a_metric_of_one_size_alone_is_no_law_of_both(omega: float, size: str) -> None:
    """The share of the other size becomes too small for a number: said in words, not in coefficients."""
    surface = MetricSurface(gather(N, D, noisy(0), None, what="metric"), PJSD, 1e-2)
    theta = surface.theta(METRIC)
    theta[4] = omega
    with pytest.raises(UsageError, match=f"in these runs it does not change with {size}: a law of N and D"):
        surface.law(theta)
