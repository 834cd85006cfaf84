"""The loss law in the coordinates it is fitted in, with derivatives, bounds, and a grid of starts.

Parameters theta = (ln E, a, b, alpha, beta, gamma), with logarithms of N and D centred on their means n0 and d0, so
that a = ln A - alpha n0 and b = ln B - beta d0 hardly depend on the exponents. With v = logaddexp(a - alpha n,
b - beta d), ln L = logaddexp(ln E, gamma v); with p the share of the N term in the inner sum and S that of the
reducible part in the loss, the derivatives of ln L are

    ln E: 1 - S,  a: S gamma p,  b: S gamma (1 - p),  alpha: -S gamma p n,  beta: -S gamma (1 - p) d,  gamma: S v.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from slm_eval.base.arrays import Floats
from slm_eval.scaling.fitting.levenberg import Which
from slm_eval.scaling.law import LossLaw
from slm_eval.scaling.runs.points import Points

# How many parameters the law has.
LOSS = 6

# Exponents outside of these are not found for models that learn. E below a millionth of the loss is no floor at all.
EXPONENTS = (0.01, 2.0)
GAMMA = (0.05, 5.0)
SMALLEST_FLOOR = 1e-6
# ln of a term of the inner sum in the middle of the data: far beyond any law, and within what floats can hold.
TERM = (-600.0, 600.0)

# The grid, 9 x 9 x 5 x 9: exponents, gamma, and the share of the N term in the middle of the data.
GRID_EXPONENTS = np.geomspace(0.08, 1.6, 9)
GRID_GAMMA = (0.2, 0.45, 0.7, 1.0, 2.0)
GRID_SHARE = 1 / (1 + np.exp(-np.linspace(-4, 4, 9)))


class LossSurface:
    """ln L of given points as a function of theta.

    Args:
        points: their loss is that of every problem.
        gamma: fixes it.
        values: losses (K, n) of K problems instead, those of a bootstrap of seeds.
    """

    names: tuple[str, ...] = ("E", "A", "B", "alpha", "beta", "gamma")

    def __init__(self, points: Points, gamma: float | None = None, values: Floats | None = None) -> None:
        n, d = np.log(points.N), np.log(points.D)
        self.middle = float(n.mean()), float(d.mean())
        self.n, self.d = n - self.middle[0], d - self.middle[1]
        self.loss = points.value[None] if values is None else values
        self.log_loss = np.log(self.loss)
        least = float(self.log_loss.min())
        self._gammas = GRID_GAMMA if gamma is None else (gamma,)
        low, high = GAMMA if gamma is None else (gamma, gamma)
        floor = (least + math.log(SMALLEST_FLOOR), least)
        self.lower, self.upper = np.array([floor, TERM, TERM, EXPONENTS, EXPONENTS, (low, high)]).T

    def residuals(self, theta: Floats, which: Which) -> tuple[Floats, Floats]:
        """Return ln of fitted over measured loss (B, n), and derivatives (B, 6, n), of parameters (B, 6)."""
        e, a, b, alpha, beta, gamma = (theta[:, i, None] for i in range(6))
        N_term = a - alpha * self.n
        v = np.logaddexp(N_term, b - beta * self.d)
        reducible = gamma * v
        fitted = np.logaddexp(e, reducible)
        S = np.exp(reducible - fitted)
        jacobian = np.empty((len(theta), 6, self.n.size))
        jacobian[:, 0] = 1 - S
        jacobian[:, 1] = S * gamma * np.exp(N_term - v)
        jacobian[:, 2] = S * gamma - jacobian[:, 1]
        jacobian[:, 3] = -jacobian[:, 1] * self.n
        jacobian[:, 4] = -jacobian[:, 2] * self.d
        jacobian[:, 5] = S * v
        return fitted - of_problems(self.log_loss, which), jacobian

    def starts(self, weights: Floats, count: int) -> Floats:
        """Return the ``count`` best points of a grid, for each row of weights (B, n): theta (B, count, 6).

        L = E + S q with q = (w N^-alpha + (1-w) D^-beta)^gamma is linear in E and S, so each grid point has its best
        E and S in closed form, by least squares on relative residuals.
        """
        grid = np.array(list(itertools.product(GRID_EXPONENTS, GRID_EXPONENTS, self._gammas, GRID_SHARE)))
        alpha, beta, gamma, share = grid.T
        q = share[:, None] * np.exp(-np.outer(alpha, self.n)) + (1 - share)[:, None] * np.exp(-np.outer(beta, self.d))
        q **= gamma[:, None]
        inverse = (weights / self.loss**2).T  # (n, B)
        one, one_y, y_y = inverse.sum(axis=0), (self.loss.T * inverse).sum(axis=0), weights.sum(axis=1)
        q_one, q_q, q_y = q @ inverse, q**2 @ inverse, q @ (self.loss.T * inverse)
        with np.errstate(divide="ignore", invalid="ignore"):
            S = (one * q_y - q_one * one_y) / (one * q_q - q_one**2)
            E = (one_y - S * q_one) / one
            # Neither can be negative: E at a small floor, and S without one.
            least = self.loss.min(axis=1)
            E = np.clip(np.where(np.isfinite(E), E, 0), 1e-3 * least, (1 - 1e-3) * least)
            S = np.maximum((q_y - E * q_one) / q_q, 1e-3 * least / q.max(axis=1, keepdims=True))
        misfit = y_y - 2 * E * one_y - 2 * S * q_y + E**2 * one + 2 * E * S * q_one + S**2 * q_q
        best = np.argsort(misfit, axis=0)[:count].T  # (B, count)
        problem = np.arange(len(weights))[:, None]
        log_scale = np.log(S[best, problem]) / gamma[best]
        columns = [np.log(E[best, problem]), log_scale + np.log(share[best]), log_scale + np.log1p(-share[best])]
        return np.stack([*columns, alpha[best], beta[best], gamma[best]], axis=-1)

    def law(self, theta: Floats) -> LossLaw:
        """Return the law of one theta (6,)."""
        e, a, b, alpha, beta, gamma = (float(value) for value in theta)
        A, B = math.exp(a + alpha * self.middle[0]), math.exp(b + beta * self.middle[1])
        return LossLaw(math.exp(e), A, B, alpha, beta, gamma)

    def theta(self, law: LossLaw) -> Floats:
        """Return the parameters (6,) of a law."""
        a = math.log(law.A) - law.alpha * self.middle[0]
        b = math.log(law.B) - law.beta * self.middle[1]
        return np.array([math.log(law.E), a, b, law.alpha, law.beta, law.gamma])


def of_problems(values: Floats, which: Which) -> Floats:
    """Return the rows of values (K, n) of these problems; with one row, that of all problems."""
    return values if len(values) == 1 else values[which]
