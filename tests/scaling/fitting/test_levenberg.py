"""The optimiser and the derivatives it is given: finite differences, and scipy's own robust least squares."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.special import huber as scipy_huber

from slm_eval.base.arrays import Floats
from slm_eval.scaling import PUBLISHED
from slm_eval.scaling.fitting.levenberg import huber, minimise
from slm_eval.scaling.fitting.metric_surface import MetricSurface, box_cox
from slm_eval.scaling.fitting.solver import Surface
from slm_eval.scaling.fitting.surface import LossSurface
from slm_eval.scaling.fitting.tied_surface import TiedSurface
from slm_eval.scaling.runs.points import gather
from tests.scaling.known_surface import METRIC, grid, noise

N, D, C = grid(sizes=4)
LOSS = gather(N, D, PUBLISHED(N, D) * noise(N.size, 0))
VALUE = gather(N[:30], D[:30], METRIC(N[:30], D[:30]) * noise(30, 1))
LIMITS = (0.0, 1.0)


def surfaces() -> dict[str, tuple[Surface, Floats]]:
    """Each with parameters near the truth and far from it."""
    loss = LossSurface(LOSS)
    metric = MetricSurface(VALUE, LIMITS, 0.01)
    tied = TiedSurface(LOSS, VALUE, LIMITS, 1e-3, 1e-2)
    return {
        "loss": (loss, np.stack([loss.theta(PUBLISHED), [-6.0, -9.0, -8.0, 0.9, 0.2, 1.7]])),
        "metric": (metric, np.stack([metric.theta(METRIC), [0.4, 0.1, 0.5, -1.0, 1.2, 0.2, 1.1, 0.06]])),
        "tied": (tied, tied.starts(PUBLISHED, 3)),
    }


@pytest.mark.parametrize("name", ["loss", "metric", "tied"])
def test_derivatives_are_those_of_finite_differences(name: str) -> None:
    surface, theta = surfaces()[name]
    every = np.arange(len(theta))
    _, jacobian = surface.residuals(theta, every)
    step = 1e-6
    for parameter in range(theta.shape[1]):
        moved = np.zeros(theta.shape[1])
        moved[parameter] = step
        up, down = (surface.residuals(theta + sign * moved, every)[0] for sign in (1, -1))
        size = np.abs(jacobian[:, parameter]).max()
        assert np.abs((up - down) / (2 * step) - jacobian[:, parameter]).max() < 1e-7 * max(size, 1)


@pytest.mark.parametrize("name", ["loss", "metric"])
def test_a_law_survives_the_coordinates_it_is_fitted_in(name: str) -> None:
    surface, theta = surfaces()[name]
    for row in theta:
        again = surface.theta(surface.law(row))  # type: ignore[attr-defined]
        assert again == pytest.approx(row, rel=1e-10, abs=1e-10)


def test_residuals_are_those_of_the_law() -> None:
    loss, _ = surfaces()["loss"]
    r, _ = loss.residuals(loss.theta(PUBLISHED)[None], np.array([0]))  # type: ignore[attr-defined]
    assert r[0] == pytest.approx(np.log(PUBLISHED(LOSS.N, LOSS.D) / LOSS.value), abs=1e-13)
    metric, _ = surfaces()["metric"]
    r, _ = metric.residuals(metric.theta(METRIC)[None], np.array([0]))  # type: ignore[attr-defined]
    assert r[0] == pytest.approx(METRIC(VALUE.N, VALUE.D) / VALUE.value - 1, abs=1e-13)


def test_box_cox_is_smooth_where_its_power_vanishes() -> None:
    log_x = np.linspace(-3, 3, 13)
    for gamma in (1e-9, 1e-5, 3.3e-5, 1e-4, 0.3):
        bend, by_gamma = box_cox(log_x, np.float64(gamma))
        # Taylor's series, exact to rounding for small powers.
        power = gamma * log_x
        terms = [power**k / np.prod(np.arange(1.0, k + 2)) for k in range(12)]
        assert bend == pytest.approx(log_x * sum(terms), rel=1e-9)
        slopes = [k * power ** (k - 1) / np.prod(np.arange(1.0, k + 2)) for k in range(1, 12)]
        assert by_gamma == pytest.approx(log_x**2 * sum(slopes), rel=1e-6, abs=1e-12)


def test_huber_is_scipys() -> None:
    r = np.linspace(-5, 5, 41)
    assert huber(r, 0.7) == pytest.approx(scipy_huber(0.7, r))


def line(theta: Floats, which: np.ndarray) -> tuple[Floats, Floats]:
    """Residuals of y = a + b x on data that differ from problem to problem."""
    jacobian = np.broadcast_to(np.stack([np.ones_like(X), X]), (len(theta), 2, X.size))
    return theta[:, :1] + theta[:, 1:] * X - Y[which], jacobian.copy()


X = np.linspace(0, 1, 20)
Y = 1 + 2 * X + 0.1 * np.random.default_rng(0).standard_t(2, size=(5, 20))


def test_a_batch_is_its_problems_one_by_one() -> None:
    """Against scipy.optimize.least_squares with the same loss, problem by problem, with weights."""
    weights = np.random.default_rng(1).integers(0, 3, size=Y.shape).astype(float)
    bounds = np.full(2, -np.inf), np.full(2, np.inf)
    minima = minimise(line, np.zeros((5, 2)), *bounds, weights, 0.05)
    assert minima.converged.all()
    for problem in range(5):
        # scipy's objective is sum of delta²/2 rho((r/delta)²): the same Huber loss, each row repeated by its weight.
        rows = np.repeat(np.arange(20), weights[problem].astype(int))
        by_scipy = least_squares(
            lambda t, rows=rows, problem=problem: (t[0] + t[1] * X - Y[problem])[rows],
            [0, 0], loss="huber", f_scale=0.05, xtol=1e-15, ftol=1e-15, gtol=1e-15,
        )  # fmt: skip
        assert minima.objective[problem] == pytest.approx(by_scipy.cost, rel=1e-8)
        assert minima.objective[problem] <= by_scipy.cost * (1 + 1e-9)


def test_bounds_hold_and_the_rest_is_at_its_best() -> None:
    lower, upper = np.array([-np.inf, -1.0]), np.array([np.inf, 1.5])
    minima = minimise(line, np.zeros((5, 2)), lower, upper, np.ones(Y.shape), 1e6)
    assert minima.theta[:, 1] == pytest.approx(1.5)
    assert minima.theta[:, 0] == pytest.approx((Y - 1.5 * X).mean(axis=1), rel=1e-5)
    assert minima.converged.all()


def test_running_out_of_iterations_is_said() -> None:
    surface, theta = surfaces()["loss"]
    weights = np.ones((2, LOSS.n))
    minima = minimise(surface.residuals, theta, surface.lower, surface.upper, weights, 1e-3, max_iterations=2)
    assert not minima.converged[1]
    assert minima.iterations == 2


def test_a_projection_does_not_move_the_minimum() -> None:
    surface, theta = surfaces()["metric"]
    weights = np.ones((2, VALUE.n))
    arguments = surface.residuals, theta[:1], surface.lower, surface.upper, weights, 0.01
    plain = minimise(*arguments, max_iterations=20_000)
    projected = minimise(*arguments, project=surface.project)  # type: ignore[attr-defined]
    assert projected.converged[0]
    assert projected.objective[0] == pytest.approx(plain.objective[0], rel=1e-6)
    assert projected.iterations < plain.iterations
