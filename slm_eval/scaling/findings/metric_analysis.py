"""Laws of the metrics that follow one, and what they say: fits, intervals, limits, and whether real speech is reached.

A metric that cannot be fitted costs one line with the reason, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from slm_eval.base.arrays import Floats
from slm_eval.base.errors import UsageError, unknown_name
from slm_eval.scaling.findings.context import Context
from slm_eval.scaling.findings.estimates import (
    Drawn,
    columns_from_laws,
    curve,
    estimate,
    estimates,
    estimates_by_budget,
    has_optima,
    quality,
    scalars,
    with_optima,
)
from slm_eval.scaling.findings.report import (
    Allocation,
    LawColumns,
    MetricOptimumEstimates,
    MetricQuality,
    MetricReport,
    PaperLaw,
    Reach,
)
from slm_eval.scaling.fitting.bootstrap import bootstrap_metric_law
from slm_eval.scaling.fitting.metric_law import MetricFit, fit_metric_law
from slm_eval.scaling.fitting.quality import mean_relative_error
from slm_eval.scaling.law import MetricLaw
from slm_eval.scaling.runs.cells import DIVERGENCES, LARGEST_PJSD, MetricColumn
from slm_eval.scaling.runs.real import Real, of_column

# A metric whose ranks agree less than this with those of the loss (Spearman) does not follow it: it saturates, or is
# of something else. Those that the paper fits agree almost fully.
LEAST_AGREEMENT = 0.5


@dataclass
class Fitted:
    """By column: what is reported, why there is nothing to report, and the coefficients of the draws."""

    reports: dict[str, MetricReport] = field(default_factory=dict)
    not_fitted: dict[str, str] = field(default_factory=dict)
    draws: dict[str, LawColumns] = field(default_factory=dict)


def analyse_metrics(context: Context, asked: list[str] | None) -> Fitted:
    """Fit the metrics that were asked for, or all.

    Raises:
        UsageError: one is named that is no column of the table.
    """
    fitted = Fitted()
    for name in _named(asked, context.runs.columns):
        values = context.means.metrics[name]
        used = ~np.isnan(values) & context.train[context.means.budget]
        why_not = _unsuitable(values[used], context.means.loss[used], context.runs.columns[name])
        if why_not is None:
            try:
                fit = _fit(name, context)
                drawn = _draw_laws(fit, context)
                fitted.reports[name] = _report(name, fit, drawn, context)
                fitted.draws[name] = columns_from_laws(drawn.laws)
            except UsageError as error:
                why_not = str(error)
        if why_not is not None:
            fitted.not_fitted[name] = why_not
    return fitted


def _named(asked: list[str] | None, columns: dict[str, MetricColumn]) -> list[str]:
    """Return the columns that were asked for by their names, keys or families (pjsd), in the order of the table."""
    if asked is None:
        return list(columns)
    for request in asked:
        if not any(request in column.names for column in columns.values()):
            raise unknown_name("metric", request, {name for column in columns.values() for name in column.names})
    return [name for name, column in columns.items() if set(asked) & column.names]


def _unsuitable(values: Floats, loss: Floats, column: MetricColumn) -> str | None:
    """Return why there is no law to be fitted to these points; None where there may be one."""
    if values.size < 2:
        return f"measured at {values.size} of the fitted points"
    if values.min() <= 0:
        return f"its errors are relative, and it is {values.min():g} at one point; shift it, and state by how much"
    low, high = column.limits
    outside = values[(values < low) | (values > high)]
    if outside.size:
        in_bits = column.family in DIVERGENCES and outside.max() <= LARGEST_PJSD["2"]
        bits = "; --log-base 2 takes bits" if in_bits else ""
        return f"expected values from {low:g} to {high:.4g}, got {outside[0]:.4g} (in {outside.size} points){bits}"
    if np.ptp(values) == 0:
        return f"it is {values[0]:g} at every point"
    agreement = _rank_correlation(values, loss)
    if abs(agreement) < LEAST_AGREEMENT:
        return (
            f"it does not follow the loss: rank correlation {agreement:+.2f} over {values.size} points, "
            f"at least {LEAST_AGREEMENT} in size is needed; it saturates, or hears something else"
        )
    return None


def _fit(name: str, context: Context) -> MetricFit:
    """Return the law of one metric.

    Raises:
        UsageError: there is none, it has no optimum, or it gets worse as the loss falls.
    """
    runs = context.runs
    used = ~np.isnan(runs.metrics[name]) & context.train[runs.budget]
    column = runs.columns[name]
    fit = fit_metric_law(
        runs.N[used], runs.D[used], runs.metrics[name][used], context.loss_fit,
        tie="loss" if context.options.tie else None, limits=column.limits,
        budget=runs.budget[used] if runs.named else None,
    )  # fmt: skip
    if not has_optima(fit, context.grid):
        raise UsageError("; ".join(fit.warnings) or "its law has no optimum")
    if (fit.low > fit.high) != column.higher_is_better:
        better, other = ("higher", "lower") if column.higher_is_better else ("lower", "higher")
        raise UsageError(
            f"{better} is better, but it gets worse as the loss falls: what is optimal for the loss is worst for it; "
            f"--metrics {name}:{other} if it is meant the other way"
        )
    return fit


def _draw_laws(fit: MetricFit, context: Context) -> Drawn[MetricLaw]:
    """Return the laws of resampled runs."""
    options, points = context.options, fit.points
    if not options.bootstrap:
        return Drawn([])
    if fit.tied:
        return Drawn([], ["tied to the loss: no bootstrap, and no intervals"])
    bootstrap = bootstrap_metric_law(
        points.N, points.D, points.value, context.loss_fit, n=options.bootstrap, unit=options.unit, seed=options.seed,
        fit=fit,
    )  # fmt: skip
    return with_optima(bootstrap, context.grid)


def _report(name: str, fit: MetricFit, drawn: Drawn[MetricLaw], context: Context) -> MetricReport:
    """Return all that follows from the law of one metric."""
    law, draws = fit.law, drawn.laws
    column, real = context.runs.columns[name], of_column(context.real, name)
    along = estimates(law, draws, lambda draw: _optimum(draw, context.grid))
    at_budgets = estimates(law, draws, lambda draw: _optimum(draw, context.runs.budgets))
    coefficients = {part: estimate(*pair) for part, pair in estimates(law, draws, scalars).items()}
    limit = coefficients.pop("limit")
    return MetricReport(
        key=column.key,
        guidance=column.guidance,
        higher_is_better=column.higher_is_better,
        real=real,
        law=law,
        coefficients=coefficients,
        limit=limit,
        quality=quality(MetricQuality, fit, _error_of_held_out(fit, name, context), tied=fit.tied),
        bootstrap=drawn.resampling,
        budgets=estimates_by_budget(MetricOptimumEstimates, at_budgets, context.runs.budgets.size),
        curve=curve(*along["metric"]),
        allocation=Allocation(curve(*along["D"])),
        reaches=reaches(law, draws, real),
        paper=_paper_law(fit),
        warnings=[*fit.warnings, *drawn.doubts],
    )


def _paper_law(fit: MetricFit) -> PaperLaw | None:
    """Return the ten parameters of equation 4.3: all determined where tied, else with E and A of the loss law."""
    if fit.loss_law is None or fit.sigmoid is None:
        return None
    return PaperLaw(**asdict(fit.loss_law), **asdict(fit.sigmoid), fixed=() if fit.tied else ("E", "A"))


def _optimum(law: MetricLaw, compute: Floats) -> dict[str, Floats]:
    best = law.optimal(compute)
    return {"N": best.N, "D": best.D, "r": best.r, "metric": best.metric}


def _error_of_held_out(fit: MetricFit, name: str, context: Context) -> float | None:
    means, values = context.means, context.means.metrics[name]
    held_out = ~context.train[means.budget] & ~np.isnan(values)
    if not held_out.any():
        return None
    return mean_relative_error(fit.law(means.N[held_out], means.D[held_out]), values[held_out])


def reaches(law: MetricLaw, draws: Sequence[MetricLaw], real: Real | None) -> Reach | None:
    """Return whether the optimum enters real speech's band, at which compute, and in which share of the draws."""
    if real is None or real.band is None:
        return None
    drawn = [draw.reaches(real.band) for draw in draws]
    share = sum(compute is not None for compute in drawn) / len(drawn) if drawn else None
    return Reach(law.reaches(real.band), share, real.band)


def _rank_correlation(x: Floats, y: Floats) -> float:
    """Return Spearman's correlation; equal values share their mean rank."""
    ranks = []
    for values in (x, y):
        _, of_value, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[of_value])
    return 0.0 if np.ptp(ranks[1]) == 0 else float(np.corrcoef(ranks[0], ranks[1])[0, 1])
