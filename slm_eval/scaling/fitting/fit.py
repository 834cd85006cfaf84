"""The loss law fitted to runs: a grid of starts and batched Levenberg-Marquardt, or the paper's basin hopping.

The objective is sum_i w_i Huber(ln fitted_i - ln loss_i; delta), a plain sum. The paper says Huber loss and no more:
logarithms, so that a per cent of a small loss counts like a per cent of a large one, and delta = 1e-3, which makes it
nearly a sum of absolute deviations, are our choice. Residuals of the loss itself would be far below delta, and the
Huber loss then a plain square.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from slm_eval.base.errors import UsageError
from slm_eval.scaling.fitting.basin import ITERATIONS
from slm_eval.scaling.fitting.quality import constant_error, mean_relative_error, power_of_compute_error
from slm_eval.scaling.fitting.solver import Minimum, Solver, bounds_hit, doubts
from slm_eval.scaling.fitting.support import check_design, warn_of_fit
from slm_eval.scaling.fitting.surface import GAMMA, LOSS, LossSurface
from slm_eval.scaling.law import LossLaw
from slm_eval.scaling.runs.points import Points, gather

DELTA = 1e-3
STARTS = 32


@dataclass(frozen=True)
class LossFit(LossLaw):
    """A loss law, and how it was found: callable and with the closed forms of ``LossLaw``.

    Attributes:
        objective: sum of w Huber(ln fitted - ln loss; delta) at the minimum.
        converged: whether the optimiser met its criterion there, or ran out of iterations.
        agreement: share of the starts (of the hops of basin hopping) that ended within 1e-6 of the objective.
        bounds_hit: parameters that ended on a bound, so that the true optimum lies outside.
        n: points, seeds of one (N, D) counting as one; ``runs`` counts them all.
        mre: mean of |fitted / loss - 1|.
        mre_excess: mean of |fitted - loss| / (fitted - E): the error of what models can change at all.
        skill: 1 - mre / (that of the best constant). A small mre alone says little: losses hardly vary.
        skill_compute: 1 - mre / (that of the best power law in C alone): what N and D add to their product.
        warnings: sentences on what the data cannot support.
        method, delta, free: how it was fitted; ``free`` counts the parameters that were.
        points: what it was fitted to: N, D, mean loss.
    """

    objective: float
    converged: bool
    agreement: float
    bounds_hit: tuple[str, ...]
    n: int
    runs: int
    mre: float
    mre_excess: float
    skill: float
    skill_compute: float
    warnings: tuple[str, ...]
    method: str
    delta: float
    free: int
    points: Points = field(repr=False, compare=False)

    @property
    def law(self) -> LossLaw:
        """Return the law alone."""
        return LossLaw(self.E, self.A, self.B, self.alpha, self.beta, self.gamma)


def fit_loss_law(
    N: npt.ArrayLike,
    D: npt.ArrayLike,
    loss: npt.ArrayLike,
    gamma: float | None = None,
    *,
    method: str = "fast",
    delta: float = DELTA,
    weights: npt.ArrayLike | None = None,
    budget: npt.ArrayLike | None = None,
    starts: int = STARTS,
    iterations: int = ITERATIONS,
    seed: int = 0,
) -> LossFit:
    """Fit L = E + (A/N^alpha + B/D^beta)^gamma, section 4.2 of the paper.

    Args:
        N, D, loss: one entry per run: parameters, training frames, validation loss. Seeds of one (N, D) are averaged.
        gamma: fixes the outer exponent; 1 is the law of Chinchilla. None fits it, as in the paper.
        method: "fast", or "paper" for basin hopping, which finds the same minimum some hundred times slower.
        delta: of the Huber loss, in ln units.
        weights: one per run; a point weighs the mean of its runs. None is 1 for all.
        budget: one per run, a number or a name: which of them share a budget. None tells budgets by N D.
        starts: of the fast method, the best of a grid of 3,645.
        iterations, seed: of basin hopping.

    Raises:
        UsageError: fewer points than parameters; one budget, one N or one D only; a loss, N or D that is not a finite
            number above 0; an unknown method.
    """
    solver = Solver(method, delta, starts, iterations, seed)
    if gamma is not None and not GAMMA[0] <= gamma <= GAMMA[1]:
        raise UsageError(f"gamma: expected a number from {GAMMA[0]} to {GAMMA[1]}, got {gamma}")
    points = gather(N, D, loss, weights, budget=budget)
    free = LOSS if gamma is None else LOSS - 1
    notes = check_design(points, free)
    surface = LossSurface(points, gamma)
    minimum = solver.solve(surface, surface.starts(points.weights[None], starts)[0], points.weights)
    return _describe(surface, points, minimum, notes, solver, free)


def _describe(
    surface: LossSurface, points: Points, minimum: Minimum, notes: tuple[str, ...], solver: Solver, free: int
) -> LossFit:
    law = surface.law(minimum.theta)
    fitted = law(points.N, points.D)
    mre = mean_relative_error(fitted, points.value)
    warnings = (*doubts(minimum), *warn_of_fit(surface, points, minimum.theta, law, free))
    return LossFit(
        law.E, law.A, law.B, law.alpha, law.beta, law.gamma,
        objective=minimum.objective, converged=minimum.converged, agreement=minimum.agreement,
        bounds_hit=bounds_hit(surface, minimum.theta), n=points.n, runs=int(points.runs.sum()), mre=mre,
        mre_excess=float(np.mean(np.abs(fitted - points.value) / (fitted - law.E))),
        skill=1 - mre / constant_error(points), skill_compute=1 - mre / power_of_compute_error(points),
        warnings=(*notes, *warnings), method=solver.method, delta=solver.delta, free=free, points=points,
    )  # fmt: skip
