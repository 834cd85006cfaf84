"""Intervals by bootstrap: the fit repeated on resampled runs, hundreds at once.

Every resample is one more problem of ``levenberg.minimise``: its weights say how often a point was drawn, or its
values are means of resampled seeds. Each begins at the best of the grid for its own weights and at the fit itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats
from slm_eval.base.errors import UsageError
from slm_eval.scaling.fitting.clustering import Choice, Clustering, choose_unit, clustering, warn_of_points
from slm_eval.scaling.fitting.fit import LossFit, fit_loss_law
from slm_eval.scaling.fitting.levenberg import Minima, Projection, minimise
from slm_eval.scaling.fitting.metric_law import MetricFit, fit_metric_law
from slm_eval.scaling.fitting.metric_surface import MetricSurface
from slm_eval.scaling.fitting.resampling import AUTO, Resamples, resample
from slm_eval.scaling.fitting.solver import Surface
from slm_eval.scaling.fitting.surface import LOSS, LossSurface
from slm_eval.scaling.fitting.tied_surface import TiedSurface
from slm_eval.scaling.law import LossLaw, MetricLaw
from slm_eval.scaling.runs.points import Points, gather

RESAMPLES = 1_000
LEVEL = 0.95
# Starts of each resample from the grid, beside the fit.
GRID_STARTS = 2
# After so many steps the best of the starts is known; in a test of 1,000 resamples, after 5.
FIRST_STEPS = 20
# A larger share of resamples on a bound, or thrown away, is said.
MANY = 0.05

Law = TypeVar("Law", LossLaw, MetricLaw)


@dataclass(frozen=True)
class Bootstrap(Generic[Law]):
    """Laws of resampled runs.

    Attributes:
        fit: that of all runs.
        laws: one per resample.
        unit, seed: what was drawn, and from which seed.
        why: why this unit, as a clause.
        clustering: how residuals cluster by budget; None where too few points share one, or seeds were drawn.
        converged: share of the resamples that did.
        bounds_hit: share of the resamples in which a parameter ended on its bound, by name, where there is one.
        redrawn: resamples that were drawn again since no law could be fitted to them.
        warnings: sentences on what makes the intervals unreliable.
    """

    fit: Law
    laws: tuple[Law, ...]
    unit: str
    seed: int
    why: str
    clustering: Clustering | None
    converged: float
    bounds_hit: dict[str, float]
    redrawn: int
    warnings: tuple[str, ...]

    def sample(self, of: str | Callable[[Law], Any]) -> Floats:
        """Return what each resample says: a coefficient by name, or any function of the law. Shape (n, ...)."""
        function = (lambda law: getattr(law, of)) if isinstance(of, str) else of
        return np.array([function(law) for law in self.laws], dtype=np.float64)

    def interval(self, of: str | Callable[[Law], Any], level: float = LEVEL) -> tuple[Floats, Floats]:
        """Return the percentile interval of a coefficient, or of a function: ``lambda law: law.optimal(1e21).N``."""
        if not 0 < level < 1:
            raise UsageError(f"expected the level of an interval between 0 and 1, got {level}")
        low, high = np.quantile(self.sample(of), [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low, high


def bootstrap_loss_law(
    N: npt.ArrayLike,
    D: npt.ArrayLike,
    loss: npt.ArrayLike,
    gamma: float | None = None,
    *,
    n: int = RESAMPLES,
    unit: str = AUTO,
    seed: int = 0,
    fit: LossFit | None = None,
    weights: npt.ArrayLike | None = None,
    **options: Any,
) -> Bootstrap[LossLaw]:
    """Return the loss laws of ``n`` resamples of the runs.

    Args:
        N, D, loss, gamma, weights, options: as of ``fit_loss_law``.
        unit: "point", "budget" or "seed", see ``resampling.resample``; "auto" is budgets where residuals cluster by
            them, else points.
        fit: of these runs, where it has been made already; its gamma and options are then those of the resamples.

    Raises:
        UsageError: as ``fit_loss_law`` and ``resampling.resample``; or a fit of other runs.
    """
    if fit is None:
        fit = fit_loss_law(N, D, loss, gamma, weights=weights, **options)
    else:
        _check_same_runs(fit.points, gather(N, D, loss, weights))
    gamma = fit.gamma if fit.free < LOSS else None
    choice = _choose(unit, LossSurface(fit.points, gamma), fit.law, fit.points)
    drawn = resample(fit.points, choice.unit, _at_least_2(n), fit.free, np.random.default_rng(seed))
    surface = LossSurface(fit.points, gamma, drawn.values)
    starts = surface.starts(drawn.weights, GRID_STARTS)
    minima = _refit(surface, starts, surface.theta(fit), drawn, fit.delta)
    return _bootstrap(fit.law, [surface.law(theta) for theta in minima.theta], minima, surface, drawn, choice, seed)


def bootstrap_metric_law(
    N: npt.ArrayLike,
    D: npt.ArrayLike,
    metric: npt.ArrayLike,
    loss_fit: LossFit | None = None,
    *,
    n: int = RESAMPLES,
    unit: str = AUTO,
    seed: int = 0,
    fit: MetricFit | None = None,
    weights: npt.ArrayLike | None = None,
    **options: Any,
) -> Bootstrap[MetricLaw]:
    """Return the metric laws of ``n`` resamples of the runs.

    Args:
        N, D, metric, loss_fit, weights, options: as of ``fit_metric_law``. Of a law tied to the loss, the points of
            ``loss_fit`` are drawn, and those of the metric with them.
        unit, fit: as of ``bootstrap_loss_law``.

    Raises:
        UsageError: as ``fit_metric_law`` and ``resampling.resample``; or a fit of other runs; or, of a
            tied law, no ``loss_fit``, a metric at points without a loss, or seeds as unit.
    """
    if fit is None:
        fit = fit_metric_law(N, D, metric, loss_fit, weights=weights, **options)
    else:
        _check_same_runs(fit.points, gather(N, D, metric, weights, what="metric"))
    if fit.tied:
        return _bootstrap_tied(fit, loss_fit, n, unit, seed)
    choice = _choose(unit, MetricSurface(fit.points, fit.limits, fit.delta), fit.law, fit.points)
    drawn = resample(fit.points, choice.unit, _at_least_2(n), fit.free, np.random.default_rng(seed))
    surface = MetricSurface(fit.points, fit.limits, fit.delta, values=drawn.values)
    starts = surface.starts(drawn.weights, GRID_STARTS, surface.level_sets(fit.A, fit.B, fit.alpha, fit.beta))
    minima = _refit(surface, starts, surface.theta(fit), drawn, fit.delta, surface.project)
    return _bootstrap(fit.law, [surface.law(theta) for theta in minima.theta], minima, surface, drawn, choice, seed)


def _bootstrap_tied(fit: MetricFit, loss_fit: LossFit | None, n: int, unit: str, seed: int) -> Bootstrap[MetricLaw]:
    if loss_fit is None or fit.loss_law is None:
        raise UsageError("the bootstrap of a law tied to the loss needs loss_fit, the fit that it was tied to")
    if unit == "seed":
        raise UsageError("a law tied to the loss has no bootstrap of seeds: resample points or budgets")
    places = {size: place for place, size in enumerate(zip(loss_fit.points.N, loss_fit.points.D, strict=True))}
    sizes = list(zip(fit.points.N, fit.points.D, strict=True))
    if alone := sum(size not in places for size in sizes):
        raise UsageError(f"the metric has {alone} points (N, D) without a loss: they cannot be drawn with it")
    choice = _choose(unit, LossSurface(loss_fit.points), fit.loss_law, loss_fit.points)
    drawn = resample(loss_fit.points, choice.unit, _at_least_2(n), LOSS, np.random.default_rng(seed))
    times = drawn.weights / loss_fit.points.weights
    of_metric = times[:, [places[size] for size in sizes]] * fit.points.weights
    both = Resamples(np.concatenate([drawn.weights, of_metric], axis=1), drawn.values, drawn.redrawn)
    surface = TiedSurface(loss_fit.points, fit.points, fit.limits, loss_fit.delta, fit.delta)
    begin = surface.theta(fit.loss_law, fit)
    minima = _refit(surface, np.empty((n, 0, begin.size)), begin, both, loss_fit.delta, surface.project)
    return _bootstrap(fit.law, [surface.law(theta) for theta in minima.theta], minima, surface, both, choice, seed)


def _choose(unit: str, surface: LossSurface | MetricSurface, law: LossLaw | MetricLaw, points: Points) -> Choice:
    """Return the unit that was asked for, or that follows from how the fit's residuals cluster."""
    if unit == "seed":
        return Choice(unit, "as asked", None)
    theta = surface.theta(law)  # type: ignore[arg-type]
    residuals, jacobian = (batch[0] for batch in surface.residuals(theta[None], np.array([0])))
    free = (theta > surface.lower) & (theta < surface.upper)
    clusters = clustering(residuals, jacobian[free], points.budget)
    return choose_unit(clusters, np.unique(points.budget).size) if unit == AUTO else Choice(unit, "as asked", clusters)


def _refit(
    surface: Surface, starts: Floats, fit: Floats, drawn: Resamples, delta: float, project: Projection | None = None
) -> Minima:
    """Return the best minimum of each resample from its starts (K, S, P) and from the fit (P,).

    All go a few steps, then the best of each resample goes to the end.
    """
    count = len(starts)
    every = np.concatenate([starts, np.broadcast_to(fit, (count, 1, fit.size))], axis=1)
    resample = np.repeat(np.arange(count), every.shape[1])
    run = partial(
        minimise, surface.residuals, lower=surface.lower, upper=surface.upper, weights=drawn.weights, delta=delta,
        project=project,
    )  # fmt: skip
    begun = run(every.reshape(-1, fit.size), which=resample, max_iterations=FIRST_STEPS)
    best = begun.objective.reshape(count, -1).argmin(axis=1) + np.arange(count) * every.shape[1]
    return run(begun.theta[best])


def _bootstrap(
    fit: Law, laws: list[Law], minima: Minima, surface: Surface, drawn: Resamples, choice: Choice, seed: int
) -> Bootstrap[Law]:
    on_bound = (surface.lower < surface.upper) & ((minima.theta <= surface.lower) | (minima.theta >= surface.upper))
    shares = {name: float(share) for name, share in zip(surface.names, on_bound.mean(axis=0), strict=True) if share}
    converged = float(minima.converged.mean())
    warnings = [f"{name} is on its bound in {x:.0%} of the resamples" for name, x in shares.items() if x > MANY]
    if converged < 1 - MANY:
        warnings.append(f"{1 - converged:.0%} of the resamples did not converge")
    if drawn.redrawn > MANY * len(laws):
        warnings.append(f"{drawn.redrawn} resamples had too few points and were drawn again: intervals are too narrow")
    warnings += warn_of_points(choice)
    return Bootstrap(
        fit, tuple(laws), choice.unit, seed, choice.why, choice.clustering, converged, shares, drawn.redrawn,
        tuple(warnings),
    )  # fmt: skip


def _check_same_runs(of_fit: Points, given: Points) -> None:
    same = of_fit.n == given.n and all(
        np.allclose(getattr(of_fit, name), getattr(given, name), rtol=1e-9, atol=0) for name in ("N", "D", "value")
    )
    if not same:
        raise UsageError(
            f"the fit is of other runs: it has {of_fit.n} points, and {given.n} came or their values differ"
        )


def _at_least_2(n: int) -> int:
    if n < 2:
        raise UsageError(f"expected at least 2 resamples of a bootstrap, got {n}")
    return n
