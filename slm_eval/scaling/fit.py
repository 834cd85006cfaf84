"""The loss law fitted to runs: a grid of starts and batched Levenberg-Marquardt, or the paper's basin hopping.

The objective is sum_i w_i Huber(ln fitted_i - ln loss_i; delta), a plain sum. The paper says Huber loss and no more:
logarithms, so that a per cent of a small loss counts like a per cent of a large one, and delta = 1e-3, which makes it
nearly a sum of absolute deviations, are our choice. Residuals of the loss itself would be far below delta, and the
Huber loss then a plain square.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slm_eval.errors import UsageError, unknown_name
from slm_eval.scaling.basin import ITERATIONS, basin_hopping
from slm_eval.scaling.law import LossLaw
from slm_eval.scaling.levenberg import ROUNDING, Floats, minimise
from slm_eval.scaling.points import Points, gather
from slm_eval.scaling.quality import constant_error, mean_relative_error, power_of_compute_error
from slm_eval.scaling.support import check_design, warn_of_fit
from slm_eval.scaling.surface import LossSurface

DELTA = 1e-3
STARTS = 32
# Starts agree that end within this share of the lowest objective.
AGREE = 1e-6
METHODS = ("fast", "paper")


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

    @property
    def law(self) -> LossLaw:
        """The law alone."""
        return LossLaw(self.E, self.A, self.B, self.alpha, self.beta, self.gamma)


@dataclass(frozen=True)
class _Found:
    theta: Floats
    objective: float
    converged: bool
    agreement: float


def fit_loss_law(
    N: npt.ArrayLike,
    D: npt.ArrayLike,
    loss: npt.ArrayLike,
    gamma: float | None = None,
    *,
    method: str = "fast",
    delta: float = DELTA,
    weights: npt.ArrayLike | None = None,
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
        starts: of the fast method, the best of a grid of 3,645.
        iterations, seed: of basin hopping.

    Raises:
        UsageError: fewer points than parameters; one budget, one N or one D only; a loss, N or D that is not a finite
            number above 0; an unknown method.
    """
    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    _check_options(gamma, delta, starts, iterations)
    points = gather(N, D, loss, weights)
    free = 6 if gamma is None else 5
    notes = check_design(points, free)
    surface = LossSurface(points, gamma)
    if method == "fast":
        found = _fast(surface, points, delta, starts)
    else:
        found = _paper(surface, points, delta, iterations, seed)
    return _describe(surface, points, found, notes, method=method, delta=delta, free=free)


def _fast(surface: LossSurface, points: Points, delta: float, starts: int) -> _Found:
    weights = points.weights[None]
    start = surface.starts(weights, starts)[0]
    minima = minimise(surface.residuals, start, surface.lower, surface.upper, weights, delta)
    best = int(minima.objective.argmin())
    agreement = share_that_agrees(minima.objective, points.weights)
    return _Found(minima.theta[best], float(minima.objective[best]), bool(minima.converged[best]), agreement)


def _paper(surface: LossSurface, points: Points, delta: float, iterations: int, seed: int) -> _Found:
    start = surface.starts(points.weights[None], 1)[0, 0]
    bounds = surface.lower, surface.upper
    basin = basin_hopping(
        surface.residuals, start, *bounds, points.weights, delta, iterations=iterations, seed=seed
    )  # fmt: skip
    agreement = share_that_agrees(basin.objectives, points.weights)
    return _Found(basin.theta, basin.objective, basin.converged, agreement)


def share_that_agrees(objectives: Floats, weights: Floats) -> float:
    """Share within 1e-6 of the lowest; what is only rounding agrees with what is."""
    rounding = ROUNDING * float(weights.sum())
    return float(np.mean(objectives <= objectives.min() * (1 + AGREE) + rounding**2))


def _describe(
    surface: LossSurface, points: Points, found: _Found, notes: tuple[str, ...], *, method: str, delta: float, free: int
) -> LossFit:
    law = surface.law(found.theta)
    fitted = law(points.N, points.D)
    mre = mean_relative_error(fitted, points.value)
    constant, compute = constant_error(points), power_of_compute_error(points)
    bounds_hit = surface.bounds_hit(found.theta)
    warnings = warn_of_fit(surface, points, found.theta, law, constant)
    if not found.converged:
        warnings = ("the fit did not converge: its numbers are where the optimiser stopped", *warnings)
    return LossFit(
        law.E, law.A, law.B, law.alpha, law.beta, law.gamma,
        objective=found.objective, converged=found.converged, agreement=found.agreement, bounds_hit=bounds_hit,
        n=points.n, runs=int(points.runs.sum()), mre=mre,
        mre_excess=float(np.mean(np.abs(fitted - points.value) / (fitted - law.E))),
        skill=1 - mre / constant, skill_compute=1 - mre / compute,
        warnings=(*notes, *warnings), method=method, delta=delta, free=free,
    )  # fmt: skip


def _check_options(gamma: float | None, delta: float, starts: int, iterations: int) -> None:
    if gamma is not None and not (np.isfinite(gamma) and gamma > 0):
        raise UsageError(f"gamma has to be a finite number above 0, and is {gamma}")
    if not (np.isfinite(delta) and delta > 0):
        raise UsageError(f"delta of the Huber loss has to be a finite number above 0, and is {delta}")
    for name, value in (("starts", starts), ("iterations", iterations)):
        if value < 1:
            raise UsageError(f"{name} has to be at least 1, and is {value}")
