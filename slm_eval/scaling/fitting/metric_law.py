"""The fused law of a metric fitted to runs: equation 4.3, in the form whose parameters can be told from data.

The paper fits ten parameters, of which runs determine eight (see ``law.MetricLaw``); eight are fitted here, or, with
``tie="loss"``, the ten jointly with the loss of the same runs, which then determine all of them. Of the eight, gamma,
low and high are nearly exchangeable: report them by intervals or not at all. alpha, beta, the optimum of a budget and
the limit are what such a fit is good for.

The objective is sum_i w_i Huber(fitted_i / metric_i - 1; delta): relative, as the paper's errors are; delta = 0.01 is
our choice. Also fit a metric directly, without a sigmoid: ``fit_loss_law(N, D, metric)`` for one that falls.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy.typing as npt

from slm_eval.base.errors import UsageError, unknown_name
from slm_eval.scaling.fitting.basin import ITERATIONS
from slm_eval.scaling.fitting.fit import LossFit
from slm_eval.scaling.fitting.metric_surface import MetricSurface
from slm_eval.scaling.fitting.quality import constant_error, mean_relative_error, power_of_compute_error
from slm_eval.scaling.fitting.solver import Minimum, Solver, Surface, bounds_hit, doubts
from slm_eval.scaling.fitting.support import check_design, warn_of_fit
from slm_eval.scaling.fitting.tied_surface import TiedSurface
from slm_eval.scaling.law import LossLaw, MetricLaw, Sigmoid
from slm_eval.scaling.runs.points import Points, gather

DELTA = 1e-2
STARTS = 48
LIMITS = (0.0, math.inf)
TIES = ("loss",)
# Parameters of the canonical law, and those of them that a law tied to the loss has to itself.
FREE, OWN = 8, 4


@dataclass(frozen=True)
class MetricFit(MetricLaw):
    """A law of a metric, and how it was found: callable and with the closed forms of ``MetricLaw``.

    Attributes:
        objective, converged, agreement, bounds_hit, n, runs, mre, skill, skill_compute, warnings, method, delta, free,
            points: as of ``fit.LossFit``.
        loss_law, sigmoid: the paper's ten parameters: with ``tie``, as fitted; with a fit of the loss to start from,
            those with its E and A; None without either.
        tied: whether the ten were fitted jointly with the loss.
        limits: where low and high were allowed to be.
    """

    objective: float
    converged: bool
    agreement: float
    bounds_hit: tuple[str, ...]
    n: int
    runs: int
    mre: float
    skill: float
    skill_compute: float
    warnings: tuple[str, ...]
    method: str
    delta: float
    free: int
    tied: bool
    limits: tuple[float, float]
    loss_law: LossLaw | None
    sigmoid: Sigmoid | None
    points: Points = field(repr=False, compare=False)

    @property
    def law(self) -> MetricLaw:
        """Return the law alone."""
        return MetricLaw(self.low, self.high, self.c, self.A, self.B, self.alpha, self.beta, self.gamma)


def fit_metric_law(
    N: npt.ArrayLike,
    D: npt.ArrayLike,
    metric: npt.ArrayLike,
    loss_fit: LossFit | None = None,
    *,
    tie: str | None = None,
    limits: tuple[float, float] = LIMITS,
    method: str = "fast",
    delta: float = DELTA,
    weights: npt.ArrayLike | None = None,
    budget: npt.ArrayLike | None = None,
    starts: int = STARTS,
    iterations: int = ITERATIONS,
    seed: int = 0,
) -> MetricFit:
    """Fit M = low + (high - low) sigmoid(c + (A/N^alpha + B/D^beta)^gamma), section 4.3 of the paper.

    Args:
        N, D, metric: one entry per run. Seeds of one (N, D) are averaged.
        loss_fit: the loss law of such runs: where the search for alpha and beta begins. None searches wider.
        tie: "loss" fits metric and loss jointly, with one alpha, beta and gamma; needs ``loss_fit``, whose points and
            delta it takes. Residuals of the metric are scaled by the ratio of the deltas.
        limits: what the metric can be at all, (0, ln 2) for pJSD in nats, (1, 5) for opinion scores: low and high stay
            within. Without limits they run off where runs do not show the sigmoid's ends.
        method, delta, weights, budget, starts, iterations, seed: as of ``fit_loss_law``; delta is relative.

    Raises:
        UsageError: as ``fit_loss_law``; or ``tie`` without ``loss_fit``, or limits that are not in order.
    """
    solver = Solver(method, delta, starts, iterations, seed)
    if tie is not None and tie not in TIES:
        raise unknown_name("tie", tie, TIES)
    if not limits[0] < limits[1]:
        raise UsageError(f"expected limits of a metric (lowest, highest), got {limits}")
    points = gather(N, D, metric, weights, "metric", budget)
    if tie is None:
        return _fit_free(points, limits, loss_fit, solver)
    if loss_fit is None:
        raise UsageError('tie="loss" needs loss_fit: the fit of the loss of these runs, by fit_loss_law')
    return _fit_tied(points, limits, loss_fit, solver)


def _fit_free(points: Points, limits: tuple[float, float], loss_fit: LossFit | None, solver: Solver) -> MetricFit:
    """Fit the eight parameters that the metric determines by itself."""
    notes = check_design(points, FREE, what="metric")
    surface = MetricSurface(points, limits, solver.delta)
    sets = None
    if loss_fit is not None:
        sets = surface.level_sets(loss_fit.A, loss_fit.B, loss_fit.alpha, loss_fit.beta)
    starts = surface.starts(points.weights[None], solver.starts, sets)[0]
    minimum = solver.solve(surface, starts, points.weights, project=surface.project)
    law = surface.law(minimum.theta)
    ten = (None, None) if loss_fit is None else law.to_sigmoid(loss_fit.E, loss_fit.A)
    return _describe(surface, points, minimum, law, ten, notes, solver, limits, tied=False)


def _fit_tied(points: Points, limits: tuple[float, float], loss_fit: LossFit, solver: Solver) -> MetricFit:
    """Fit all ten parameters, jointly with the loss of the same runs."""
    notes = check_design(points, OWN, what="metric")
    tied = TiedSurface(loss_fit.points, points, limits, loss_fit.delta, solver.delta)
    together = replace(solver, delta=loss_fit.delta)
    starts = tied.starts(loss_fit.law, solver.starts)
    minimum = together.solve(tied, starts, tied.weights, project=tied.project)
    law = tied.law(minimum.theta)
    loss_law = tied.loss.law(tied.of_loss(minimum.theta[None])[0])
    ten = law.to_sigmoid(loss_law.E, loss_law.A)
    return _describe(tied, points, minimum, law, ten, notes, solver, limits, tied=True)


def _describe(
    surface: Surface,
    points: Points,
    minimum: Minimum,
    law: MetricLaw,
    ten: tuple[LossLaw | None, Sigmoid | None],
    notes: tuple[str, ...],
    solver: Solver,
    limits: tuple[float, float],
    tied: bool,
) -> MetricFit:
    mre = mean_relative_error(law(points.N, points.D), points.value)
    own = OWN if tied else FREE
    warnings = (*doubts(minimum), *warn_of_fit(surface, points, minimum.theta, law, own, what="metric"))
    return MetricFit(
        law.low, law.high, law.c, law.A, law.B, law.alpha, law.beta, law.gamma,
        objective=minimum.objective, converged=minimum.converged, agreement=minimum.agreement,
        bounds_hit=bounds_hit(surface, minimum.theta), n=points.n, runs=int(points.runs.sum()), mre=mre,
        skill=1 - mre / constant_error(points), skill_compute=1 - mre / power_of_compute_error(points),
        warnings=(*notes, *warnings), method=solver.method, delta=solver.delta,
        free=surface.lower.size, tied=tied, limits=limits, loss_law=ten[0], sigmoid=ten[1], points=points,
    )  # fmt: skip
