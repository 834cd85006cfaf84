"""Many small robust least-squares problems at once: Levenberg-Marquardt on Huber loss, with bounds.

Each problem minimises sum_i w_i Huber(r_i(theta); delta). Problems differ in where they start (to find the best of
several minima) or in their weights (a bootstrap), and share the data, so that one numpy call serves all of them.

The Huber loss enters by iteratively reweighted least squares: a residual beyond delta weighs delta / |r|, which makes
the quadratic model an upper bound of the loss. Steps are accepted only where the objective itself falls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# theta (B, P) -> residuals (B, n) and their derivatives (B, P, n). Problem b of the batch has the weights of row b.
Residuals = Callable[[Floats], tuple[Floats, Floats]]
# theta (B, P), weights (B, n) -> theta with its linear parameters at their best, the others as they are.
Projection = Callable[[Floats, Floats], Floats]

# A problem is solved where its quadratic model promises to lower the objective by less than this share of it, or
# where its residuals are rounding. The promise is the same in any parametrisation.
PROMISE = 1e-10
ROUNDING = 1e-13


@dataclass(frozen=True)
class Minima:
    """One minimum per problem: ``theta`` (B, P), ``objective`` (B,), ``converged`` (B,), and iterations in all."""

    theta: Floats
    objective: Floats
    converged: npt.NDArray[np.bool_]
    iterations: int


def huber(residuals: Floats, delta: float) -> Floats:
    """r²/2 up to delta, then delta (|r| - delta/2)."""
    size = np.abs(residuals)
    near = np.minimum(size, delta)
    return near * (size - near / 2)


def minimise(
    residuals: Residuals,
    start: Floats,
    lower: Floats,
    upper: Floats,
    weights: Floats,
    delta: float,
    *,
    max_iterations: int = 300,
    project: Projection | None = None,
) -> Minima:
    """The minimum that each start leads to.

    Args:
        residuals: of a batch of parameters.
        start: (B, P). Clipped to the bounds.
        lower, upper: (P,), infinite where a parameter is free.
        weights: (B, n) or (1, n), not negative.
        delta: where the loss turns from quadratic to linear, in units of the residuals.
        max_iterations: after these, what has not converged is given as it is, and says so.
        project: called on every trial step, for residuals that are linear in some parameters. Where these are nearly
            exchangeable with the others, a path along the valley's floor takes tens of steps and not thousands.
    """
    theta = np.clip(start, lower, upper)
    n_problems = len(theta)
    weights = np.broadcast_to(weights, (n_problems, weights.shape[1]))
    if project is not None:
        theta = np.clip(project(theta, weights), lower, upper)
    objective = np.empty(n_problems)
    converged = np.zeros(n_problems, dtype=bool)

    active = np.arange(n_problems)
    now, w = theta.copy(), weights
    r, jacobian = residuals(now)
    value = (w * huber(r, delta)).sum(axis=1)
    damping = np.full(n_problems, 1e-2)
    floor = ROUNDING**2 * w.sum(axis=1)
    iteration = 0
    while active.size and iteration < max_iterations:
        iteration += 1
        hessian, gradient = _normal_equations(jacobian, r, w, delta)
        _hold_at_bounds(hessian, gradient, now, lower, upper)
        newton = _solve(hessian, gradient, np.full(len(now), 1e-12))
        done = (newton * gradient).sum(axis=1) / 2 <= PROMISE * value + floor
        # No step of any size helps: rounding.
        stuck = damping > 1e12
        ended = done | stuck
        if ended.any():
            theta[active[ended]], objective[active[ended]] = now[ended], value[ended]
            converged[active[ended]] = done[ended]
            keep = ~ended
            active, now, w, floor = active[keep], now[keep], w[keep], floor[keep]
            r, jacobian, value, damping = r[keep], jacobian[keep], value[keep], damping[keep]
            hessian, gradient = hessian[keep], gradient[keep]
            if not active.size:
                break
        trial = np.clip(now - _solve(hessian, gradient, damping), lower, upper)
        if project is not None:
            trial = np.clip(project(trial, w), lower, upper)
        with np.errstate(over="ignore", invalid="ignore"):
            trial_r, trial_jacobian = residuals(trial)
            trial_value = (w * huber(trial_r, delta)).sum(axis=1)
        better = trial_value < value  # not where it is NaN
        now[better], value[better] = trial[better], trial_value[better]
        r[better], jacobian[better] = trial_r[better], trial_jacobian[better]
        damping = np.where(better, np.maximum(damping / 5, 1e-10), damping * 4)
    theta[active], objective[active] = now, value
    return Minima(theta, objective, converged, iteration)


def _normal_equations(jacobian: Floats, r: Floats, w: Floats, delta: float) -> tuple[Floats, Floats]:
    """J^T W J (B, P, P) and J^T W r (B, P), with the weights that stand for the Huber loss."""
    weight = w * (delta / np.maximum(np.abs(r), delta))
    weighted = jacobian * weight[:, None, :]
    return weighted @ jacobian.transpose(0, 2, 1), (weighted @ r[:, :, None])[:, :, 0]


def _hold_at_bounds(hessian: Floats, gradient: Floats, theta: Floats, lower: Floats, upper: Floats) -> None:
    """Parameters that a descent would push out of their bounds stay where they are."""
    held = ((theta <= lower) & (gradient > 0)) | ((theta >= upper) & (gradient < 0))
    gradient[held] = 0
    hessian[held[:, :, None] | held[:, None, :]] = 0
    problem, parameter = np.nonzero(held)
    hessian[problem, parameter, parameter] = 1


def _solve(hessian: Floats, gradient: Floats, damping: Floats) -> Floats:
    """(H + damping diag H)^-1 g in units in which the diagonal of H is 1."""
    diagonal = np.einsum("bpp->bp", hessian)
    # A parameter that does nothing has a diagonal of 0, and no step.
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    scaled = hessian / (scale[:, :, None] * scale[:, None, :])
    identity = np.eye(hessian.shape[1])
    step = np.linalg.solve(scaled + (damping[:, None, None] + 1e-14) * identity, (gradient / scale)[:, :, None])
    return step[:, :, 0] / scale
