"""The fused law in the coordinates it is fitted in: nearly the same surface has very different low, high, c and gamma.

Equation 4.3 in canonical form is M = low + (high - low) sigmoid(c + X^gamma), with X = A/N^alpha + B/D^beta. Written
down like this a fit crawls: as gamma falls, c and X run to opposite infinities along a curved valley. Two changes mend
it. With x = X / X0, X0 in the middle of the data, the argument is

    c + X^gamma = centre + slope (x^gamma - 1) / gamma,  slope = gamma X0^gamma,  centre = c + X0^gamma,

a Box-Cox transform of x: centre and slope are the argument and its derivative by ln x in the middle of the data, which
the data know, and gamma is left with the bend alone. And low and high, in which M is linear, are put at their best
after every step (variable projection; Golub and Pereyra 1973).

theta = (low, high, centre, ln slope, omega, alpha, beta, gamma), omega the logit of the share of the N term in X0.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from slm_eval.base.arrays import Floats
from slm_eval.base.errors import UsageError
from slm_eval.scaling.fitting.levenberg import Which
from slm_eval.scaling.fitting.surface import EXPONENTS, GAMMA, GRID_EXPONENTS, of_problems
from slm_eval.scaling.law import MetricLaw, expit
from slm_eval.scaling.runs.points import Points

# Beyond these a sigmoid is an exponential to 0.03 %, and a logit per factor e of X is flat or a step.
CENTRE = (-8.0, 8.0)
LOG_SLOPE = (-4.0, 4.0)

# The grid of starts: 13 x 13 x 5 sigmoids on the level sets of a loss law; 5 x 5 x 5 of both where there is no law.
GRID_CENTRE = np.linspace(-6.0, 3.0, 13)
GRID_SLOPE = np.geomspace(0.1, 10.0, 13)
GRID_GAMMA = (0.05, 0.15, 0.4, 0.8, 1.6)


class MetricSurface:
    """Relative error of the fused law at given points as a function of theta.

    Args:
        points: of the metric.
        limits: what the metric can be at all: low and high stay within.
        delta: of the Huber loss.
        middle: means of ln N and ln D to centre on; None takes those of the points.
        values: metrics (K, n) of K problems instead of those of the points.
    """

    names: tuple[str, ...] = ("low", "high", "centre", "slope", "share", "alpha", "beta", "gamma")

    def __init__(
        self,
        points: Points,
        limits: tuple[float, float],
        delta: float,
        middle: tuple[float, float] | None = None,
        values: Floats | None = None,
    ) -> None:
        n, d = np.log(points.N), np.log(points.D)
        self.middle = (float(n.mean()), float(d.mean())) if middle is None else middle
        self.n, self.d = n - self.middle[0], d - self.middle[1]
        self.metric = points.value[None] if values is None else values
        self.delta = delta
        exponents = (EXPONENTS, EXPONENTS, GAMMA)
        free = (-math.inf, math.inf)
        self.lower, self.upper = np.array([limits, limits, CENTRE, LOG_SLOPE, free, *exponents]).T

    def residuals(self, theta: Floats, which: Which) -> tuple[Floats, Floats]:
        """Return fitted over measured metric, less 1 (B, n), and derivatives (B, 8, n), of parameters (B, 8)."""
        low, high, centre, log_slope, omega, alpha, beta, gamma = (theta[:, i, None] for i in range(8))
        N_term = -np.logaddexp(0, -omega) - alpha * self.n
        log_x = np.logaddexp(N_term, -np.logaddexp(0, omega) - beta * self.d)
        share = np.exp(N_term - log_x)
        slope = np.exp(log_slope)
        bend, by_gamma = box_cox(log_x, gamma)
        s = expit(centre + slope * bend)
        jacobian = np.empty((len(theta), 8, self.n.size))
        metric = of_problems(self.metric, which)
        jacobian[:, 0] = (1 - s) / metric
        jacobian[:, 1] = s / metric
        jacobian[:, 2] = (high - low) * s * jacobian[:, 0]
        jacobian[:, 3] = jacobian[:, 2] * slope * bend
        by_log_x = jacobian[:, 2] * slope * np.exp(gamma * log_x)
        jacobian[:, 4] = by_log_x * (share - expit(omega))
        jacobian[:, 5] = -by_log_x * share * self.n
        jacobian[:, 6] = -by_log_x * (1 - share) * self.d
        jacobian[:, 7] = jacobian[:, 2] * slope * by_gamma
        return low * jacobian[:, 0] + high * jacobian[:, 1] - 1, jacobian

    def project(self, theta: Floats, which: Which, weights: Floats) -> Floats:
        """Return theta (B, 8) with the low and high that fit best within their limits, by reweighted squares."""
        theta = theta.copy()
        residual, jacobian = self.residuals(theta, which)
        by_low, by_high = jacobian[:, 0], jacobian[:, 1]
        for _ in range(3):
            w = weights * (self.delta / np.maximum(np.abs(residual), self.delta))
            wl, wh = w * by_low, w * by_high
            ll, lh, hh = ((u * v).sum(axis=1) for u, v in ((wl, by_low), (wl, by_high), (wh, by_high)))
            l1, h1 = wl.sum(axis=1), wh.sum(axis=1)
            with np.errstate(divide="ignore", invalid="ignore"):
                low = np.clip((hh * l1 - lh * h1) / (ll * hh - lh**2), self.lower[0], self.upper[0])
                high = np.clip((h1 - lh * low) / hh, self.lower[1], self.upper[1])
                low = np.clip((l1 - lh * high) / ll, self.lower[0], self.upper[0])
            solved = np.isfinite(low) & np.isfinite(high)
            theta[solved, 0], theta[solved, 1] = low[solved], high[solved]
            residual = theta[:, 0, None] * by_low + theta[:, 1, None] * by_high - 1
        return theta

    def starts(
        self, weights: Floats, count: int, level_sets: Floats | None = None, gamma: float | None = None
    ) -> Floats:
        """Return the ``count`` best points of a grid, for each row of weights (B, n): theta (B, count, 8).

        Args:
            level_sets: (omega, alpha, beta) of a loss law, shape (3,); None searches them too.
            gamma: that of a loss law; None searches it.
        """
        gammas = GRID_GAMMA if gamma is None else (gamma,)
        if level_sets is None:
            exponents = GRID_EXPONENTS[2:7]
            sets = np.array(list(itertools.product((-3.0, -1.5, 0.0, 1.5, 3.0), exponents, exponents)))
            shapes = itertools.product(GRID_CENTRE[::3], GRID_SLOPE[::3], gammas[::2])
        else:
            sets = level_sets[None]
            shapes = itertools.product(GRID_CENTRE, GRID_SLOPE, gammas)
        centre, slope, bend = np.array(list(shapes)).T[:, None, :, None]
        omega, alpha, beta = sets.T[:, :, None, None]
        log_x = np.logaddexp(
            -np.logaddexp(0, -omega) - alpha * self.n, -np.logaddexp(0, omega) - beta * self.d
        )  # fmt: skip
        s = expit(centre + slope * np.expm1(bend * log_x) / bend).reshape(-1, self.n.size)

        inverse = (weights / self.metric**2).T
        one, one_y, y_y = inverse.sum(axis=0), (self.metric.T * inverse).sum(axis=0), weights.sum(axis=1)
        s_one, s_s, s_y = s @ inverse, s**2 @ inverse, s @ (self.metric.T * inverse)
        with np.errstate(divide="ignore", invalid="ignore"):
            rise = (one * s_y - s_one * one_y) / (one * s_s - s_one**2)
            low = (one_y - rise * s_one) / one
        misfit = y_y - low * one_y - rise * s_y
        misfit[~np.isfinite(misfit)] = np.inf
        best = np.argsort(misfit, axis=0)[:count].T  # (B, count)
        problem = np.arange(len(weights))[:, None]
        which, shape = np.divmod(best, centre.size)
        low, rise = low[best, problem], rise[best, problem]
        sigmoids = [low, low + rise, centre[0, :, 0][shape], np.log(slope[0, :, 0])[shape]]
        return np.stack([*sigmoids, *np.moveaxis(sets[which], -1, 0), bend[0, :, 0][shape]], axis=-1)

    def law(self, theta: Floats) -> MetricLaw:
        """Return the canonical law of one theta (8,).

        Raises:
            UsageError: one of the terms is too small for a number: the metric does not change with that size.
        """
        low, high, centre, log_slope, omega, alpha, beta, gamma = (float(value) for value in theta)
        log_scale = (log_slope - math.log(gamma)) / gamma  # ln X0
        A = math.exp(log_scale - np.logaddexp(0, -omega) + alpha * self.middle[0])
        B = math.exp(log_scale - np.logaddexp(0, omega) + beta * self.middle[1])
        for size, factor in (("N", A), ("D", B)):
            if factor == 0:
                raise UsageError(
                    f"in these runs it does not change with {size}: a law of N and D has nothing to hold on to"
                )
        return MetricLaw(low, high, centre - math.exp(log_slope) / gamma, A, B, alpha, beta, gamma)

    def theta(self, law: MetricLaw) -> Floats:
        """Return the parameters (8,) of a law."""
        omega, alpha, beta = self.level_sets(law.A, law.B, law.alpha, law.beta)
        N_term = math.log(law.A) - law.alpha * self.middle[0]
        inner = math.exp(law.gamma * (N_term + np.logaddexp(0, -omega)))
        return np.array([law.low, law.high, law.c + inner, math.log(law.gamma * inner), omega, alpha, beta, law.gamma])

    def level_sets(self, A: float, B: float, alpha: float, beta: float) -> Floats:
        """Return (omega, alpha, beta) of a law with these coefficients: the sizes that it holds equal."""
        omega = math.log(A) - alpha * self.middle[0] - math.log(B) + beta * self.middle[1]
        return np.array([omega, alpha, beta])


def box_cox(log_x: Floats, gamma: Floats) -> tuple[Floats, Floats]:
    """Return (x^gamma - 1) / gamma and its derivative by gamma, without cancellation near 1."""
    power = gamma * log_x
    bend = np.expm1(power) / gamma
    series = log_x**2 * (1 / 2 + power / 3 + power**2 / 8)
    return bend, np.where(np.abs(power) < 1e-4, series, (log_x * np.exp(power) - bend) / gamma)
