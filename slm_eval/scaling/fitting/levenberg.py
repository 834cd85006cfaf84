"""Many small robust least-squares problems at once: Levenberg-Marquardt on Huber loss, with bounds.

Each problem minimises sum_i w_i Huber(r_i(theta); delta). Problems differ in where they start (to find the best of
several minima) or in their weights or data (a bootstrap), and one numpy call serves all of them.

The Huber loss enters by iteratively reweighted least squares: a residual beyond delta weighs delta / |r|, which makes
the quadratic model an upper bound of the loss. Steps are accepted only where the objective itself falls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats

Which = npt.NDArray[np.intp]
# theta (B, P), which problem each row is (B,) -> residuals (B, n) and their derivatives (B, P, n).
Residuals = Callable[[Floats, Which], tuple[Floats, Floats]]
# theta, which, weights (B, n) -> theta with its linear parameters at their best, the others as they are.
Projection = Callable[[Floats, Which, Floats], Floats]

# A problem is solved where its quadratic model promises to lower the objective by less than this share of it, or
# where its residuals are rounding. The promise is the same in any parametrisation.
PROMISE = 1e-13
ROUNDING = 1e-13
# With so much damping a step that does not help never will. Where no more than this share was promised, that is
# rounding, and the problem as good as solved.
HOPELESS = 1e12
AS_GOOD = 1e-9
MAX_ITERATIONS = 1_000


@dataclass(frozen=True)
class Minima:
    """One minimum per problem: ``theta`` (B, P), ``objective`` (B,), ``converged`` (B,), and iterations in all."""

    theta: Floats
    objective: Floats
    converged: npt.NDArray[np.bool_]
    iterations: int


def huber(residuals: Floats, delta: float) -> Floats:
    """Return r²/2 up to delta, then delta (|r| - delta/2)."""
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
    which: Which | None = None,
    max_iterations: int = MAX_ITERATIONS,
    project: Projection | None = None,
) -> Minima:
    """Return the minimum that each start leads to.

    Args:
        residuals: of a batch of parameters.
        start: (B, P). Clipped to the bounds.
        lower, upper: (P,), infinite where a parameter is free.
        weights: (K, n) of K problems, not negative.
        delta: where the loss turns from quadratic to linear, in units of the residuals.
        which: (B,), the problem of each start; None where start b is of problem b.
        max_iterations: after these, what has not converged is given as it is, and says so.
        project: called on every trial step, for residuals that are linear in some parameters. Where these are nearly
            exchangeable with the others, a path along the valley's floor takes tens of steps and not thousands.
    """
    which = np.arange(len(start)) if which is None else which
    theta = np.clip(start, lower, upper)
    if project is not None:
        theta = np.clip(project(theta, which, weights[which]), lower, upper)
    objective, converged = np.empty(len(theta)), np.zeros(len(theta), dtype=bool)

    def evaluate(theta: Floats, which: Which, w: Floats) -> tuple[Floats, Floats, Floats]:
        with np.errstate(over="ignore", invalid="ignore"):
            r, jacobian = residuals(theta, which)
            return r, jacobian, (w * huber(r, delta)).sum(axis=1)

    # Of the problems still running: their place, which they are, parameters, weights, damping, and what follows.
    place, now, w, damping = np.arange(len(theta)), theta.copy(), weights[which], np.full(len(theta), 1e-2)
    r, jacobian, value = evaluate(now, which, w)
    iteration = 0
    while place.size and iteration < max_iterations:
        iteration += 1
        hessian, gradient = _normal_equations(jacobian, r, w, delta)
        _hold_at_bounds(hessian, gradient, now, lower, upper)
        promise = (_solve(hessian, gradient, 1e-12) * gradient).sum(axis=1) / 2
        solved = promise <= PROMISE * value + ROUNDING**2 * w.sum(axis=1)
        solved |= (damping > HOPELESS) & (promise <= AS_GOOD * value)
        ended = solved | (damping > HOPELESS)
        if ended.any():
            theta[place[ended]], objective[place[ended]], converged[place[ended]] = (
                now[ended],
                value[ended],
                solved[ended],
            )
            place, which, now, w, damping, r, jacobian, value, hessian, gradient = (
                array[~ended] for array in (place, which, now, w, damping, r, jacobian, value, hessian, gradient)
            )
        trial = np.clip(now - _solve(hessian, gradient, damping[:, None, None]), lower, upper)
        if project is not None:
            trial = np.clip(project(trial, which, w), lower, upper)
        trial_r, trial_jacobian, trial_value = evaluate(trial, which, w)
        better = trial_value < value  # not where it is NaN
        now[better], r[better], jacobian[better] = trial[better], trial_r[better], trial_jacobian[better]
        value[better] = trial_value[better]
        damping = np.where(better, np.maximum(damping / 5, 1e-10), damping * 4)
    theta[place], objective[place] = now, value
    return Minima(theta, objective, converged, iteration)


def _normal_equations(jacobian: Floats, r: Floats, w: Floats, delta: float) -> tuple[Floats, Floats]:
    """Return J^T W J (B, P, P) and J^T W r (B, P), with the weights that stand for the Huber loss."""
    weight = w * (delta / np.maximum(np.abs(r), delta))
    weighted = jacobian * weight[:, None, :]
    return weighted @ jacobian.transpose(0, 2, 1), (weighted @ r[:, :, None])[:, :, 0]


def _hold_at_bounds(hessian: Floats, gradient: Floats, theta: Floats, lower: Floats, upper: Floats) -> None:
    """Hold parameters that a descent would push out of their bounds where they are."""
    held = ((theta <= lower) & (gradient > 0)) | ((theta >= upper) & (gradient < 0))
    gradient[held] = 0
    hessian[held[:, :, None] | held[:, None, :]] = 0
    problem, parameter = np.nonzero(held)
    hessian[problem, parameter, parameter] = 1


def _solve(hessian: Floats, gradient: Floats, damping: Floats | float) -> Floats:
    """Return (H + damping diag H)^-1 g in units in which the diagonal of H is 1."""
    diagonal = np.einsum("bpp->bp", hessian)
    # A parameter that does nothing has a diagonal of 0, and no step.
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    scaled = hessian / (scale[:, :, None] * scale[:, None, :])
    identity = np.eye(hessian.shape[1])
    step = np.linalg.solve(scaled + (damping + 1e-14) * identity, (gradient / scale)[:, :, None])
    return step[:, :, 0] / scale
