"""From a table of runs to everything that is reported: the main path of ``slm-eval scaling fit``, read downwards.

The result is a ``FitReport``, the object of fit.json. Tables, figures and predictions are made of it alone, so that
they can be made again, elsewhere, without fitting.
"""

from __future__ import annotations

import platform
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from slm_eval._version import __version__
from slm_eval.base.arrays import Floats
from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.scaling.findings.behaviour import behaviour, remarks_on_budgets, scattered
from slm_eval.scaling.findings.conclusions import conclusions
from slm_eval.scaling.findings.context import SCHEMA, Context, Options
from slm_eval.scaling.findings.estimates import FEWEST_DRAWS, columns_from_laws, has_optima, plain
from slm_eval.scaling.findings.loss_analysis import draw_laws, report_loss
from slm_eval.scaling.findings.metric_analysis import analyse_metrics
from slm_eval.scaling.findings.report import Budget, Column, Draws, FitReport, MeanOfSeeds, Point, Source
from slm_eval.scaling.fitting.fit import fit_loss_law
from slm_eval.scaling.fitting.isoflop import LEAST_SIZES
from slm_eval.scaling.fitting.reach import FARTHEST
from slm_eval.scaling.runs.real import Real, of_column
from slm_eval.scaling.runs.table import Means, Runs

_PER_DECADE = 12  # points of a curve: a figure's line is smooth with them


def analyse(
    runs: Runs, options: Options | None = None, real: dict[str, Real] | None = None, metrics: list[str] | None = None
) -> FitReport:
    """Fit the laws and report what follows from them.

    Args:
        real: what real speech scores, by key or column.
        metrics: columns or keys to be fitted; None for all.

    Raises:
        UsageError: no law can be fitted to such runs, or a metric is named that is not there.
        SlmEvalError: the losses follow no law.
    """
    # 1. Fit the law of the loss, and draw what it might as well have been.
    context = _fit_loss(runs, options or Options(), real or {})
    drawn = draw_laws(context)
    # 2. Fit the laws of the metrics, which begin at that of the loss.
    fitted = analyse_metrics(context, metrics)
    # 3. Report what follows from them.
    report = FitReport(
        schema=SCHEMA,
        version=__version__,
        environment={"python": platform.python_version(), "numpy": np.__version__},
        source=_source(context),
        options=context.options,
        budgets=_budgets(context),
        columns=_columns(context),
        points=_points(context),
        loss=report_loss(context, drawn),
        metrics=fitted.reports,
        not_fitted=fitted.not_fitted,
        warnings=[*runs.warnings, *remarks_on_budgets(runs), *context.loss_fit.warnings, *drawn.doubts],
        conclusions=[],
        draws=Draws(columns_from_laws(drawn.laws), fitted.draws),
    )
    return replace(report, conclusions=conclusions(report))


def _fit_loss(runs: Runs, options: Options, real: dict[str, Real]) -> Context:
    """Return the fit of the loss with all that the analyses share."""
    if 0 < options.bootstrap < FEWEST_DRAWS:
        raise UsageError(f"{options.bootstrap} bootstrap fits give no 95 % interval; {FEWEST_DRAWS} at least, or 0")
    means = runs.means()
    train = _train(means, options.hold_out)
    used = train[runs.budget]
    fit = fit_loss_law(
        runs.N[used], runs.D[used], runs.loss[used], options.gamma, method=options.method, seed=options.seed,
        budget=runs.budget[used] if runs.named else None,
    )  # fmt: skip
    grid = _grid(runs.budgets)
    if not has_optima(fit, grid):
        raise SlmEvalError(f"these runs support no law of the loss: {'; '.join(fit.warnings)}")
    return Context(runs, means, train, fit, grid, options, real)


def _train(means: Means, hold_out: int) -> npt.NDArray[np.bool_]:
    """Return which budgets are fitted: all below the largest ones, where single runs count for no budget."""
    sizes = np.bincount(means.budget)
    counted = np.arange(sizes.size) if scattered(sizes.tolist()) else np.flatnonzero(sizes >= LEAST_SIZES)
    if hold_out and hold_out > counted.size - 2:
        raise UsageError(f"--hold-out {hold_out} of {counted.size} budgets leaves fewer than two to fit")
    return np.arange(sizes.size) < (counted[-hold_out] if hold_out else sizes.size)


def _grid(budgets: Floats) -> Floats:
    """Return budgets along which curves are drawn: through the data and beyond, with both ends of the data on it."""
    first, last = budgets[0], budgets[-1]
    inside = np.geomspace(first, last, max(2, round(_PER_DECADE * np.log10(last / first)) + 1))
    inside[0], inside[-1] = first, last
    beyond = np.geomspace(last, last * FARTHEST, round(_PER_DECADE * np.log10(FARTHEST)) + 1)
    return np.concatenate([inside, beyond[1:]])


def _source(context: Context) -> Source:
    runs, means = context.runs, context.means
    seeds = int(means.n_seeds.min()), int(means.n_seeds.max())
    return Source(runs.source, int(runs.loss.size), int(means.loss.size), seeds)


def _budgets(context: Context) -> list[Budget]:
    count = context.train.size
    points, runs = (np.bincount(label, minlength=count) for label in (context.means.budget, context.runs.budget))
    return [
        Budget(
            C=float(context.runs.budgets[index]),
            isoflop=bool(points[index] >= LEAST_SIZES),
            n_points=int(points[index]),
            n_runs=int(runs[index]),
            held_out=not context.train[index],
        )
        for index in range(count)
    ]


def _columns(context: Context) -> dict[str, Column]:
    return {
        name: Column(
            key=column.key,
            guidance=column.guidance,
            higher_is_better=column.higher_is_better,
            limits=(plain(column.limits[0]), plain(column.limits[1])),
            real=of_column(context.real, name),
            isoflop=behaviour(context.runs, context.means.metrics[name], lower_is_better=not column.higher_is_better),
        )
        for name, column in context.runs.columns.items()
    }


def _points(context: Context) -> list[Point]:
    means = context.means
    return [
        Point(
            budget=int(means.budget[index]),
            N=float(means.N[index]),
            D=float(means.D[index]),
            n_seeds=int(means.n_seeds[index]),
            held_out=not context.train[means.budget[index]],
            loss=float(means.loss[index]),
            loss_sd=plain(means.loss_sd[index]),
            metrics={
                name: MeanOfSeeds(plain(means.metrics[name][index]), plain(means.metrics_sd[name][index]))
                for name in means.metrics
            },
        )
        for index in range(means.loss.size)
    ]
