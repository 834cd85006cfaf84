"""The paper's optimiser: basin hopping with L-BFGS-B and 2,000 iterations (section 4.2), made to stop where it should.

The objective is divided by delta², since L-BFGS-B's stops are absolute once values are below 1, and derivatives are
analytic. ``temperature`` 0 keeps the lower of two minima; the 1 of scipy accepts every hop where values are small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slm_eval.base.arrays import Floats
from slm_eval.scaling.fitting.levenberg import Residuals, huber

ITERATIONS = 2_000
FIRST = np.array([0])


@dataclass(frozen=True)
class Basin:
    """The lowest minimum: ``theta`` (P,), ``objective``, and the objective after each local minimisation."""

    theta: Floats
    objective: float
    converged: bool
    objectives: Floats


def basin_hopping(
    residuals: Residuals,
    start: Floats,
    lower: Floats,
    upper: Floats,
    weights: Floats,
    delta: float,
    *,
    iterations: int = ITERATIONS,
    temperature: float = 0.0,
    step: float = 0.5,
    seed: int = 0,
) -> Basin:
    """Return the lowest minimum of sum_i w_i Huber(r_i; delta) that ``iterations`` hops from ``start`` (P,) reach.

    Args:
        residuals, lower, upper, delta: as in ``levenberg.minimise``.
        weights: (n,).
        temperature: of the acceptance test, in units of objective / delta².
        step: largest change of a parameter in a hop.
        seed: of the hops.
    """
    from scipy.optimize import basinhopping

    def objective(theta: Floats) -> tuple[float, Floats]:
        r, jacobian = (batch[0] for batch in residuals(theta[None], FIRST))
        slope = weights * np.clip(r, -delta, delta)
        return float(weights @ huber(r, delta)) / delta**2, jacobian @ slope / delta**2

    reached: list[float] = []
    best = basinhopping(
        objective,
        np.clip(start, lower, upper),
        niter=iterations,
        T=temperature,
        stepsize=step,
        rng=np.random.default_rng(seed),
        callback=lambda _theta, value, _accepted: reached.append(value),
        minimizer_kwargs={
            "method": "L-BFGS-B",
            "jac": True,
            "bounds": list(zip(lower, upper, strict=True)),
            "options": {"ftol": 1e-14, "gtol": 1e-8, "maxiter": 2_000, "maxfun": 20_000},
        },
    )
    lowest = best.lowest_optimization_result
    return Basin(lowest.x, float(lowest.fun) * delta**2, bool(lowest.success), np.array(reached) * delta**2)
