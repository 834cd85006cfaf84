"""Which metrics follow a law, and what it says: fits, intervals, limits, and whether real speech is reached.

A metric that cannot be fitted costs one line with the reason, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats
from slm_eval.base.errors import UsageError, unknown_name
from slm_eval.scaling.findings.estimates import (
    Drawn,
    columns_of,
    curve,
    estimates,
    has_optima,
    one,
    quality,
    rows,
    scalars,
    with_optima,
)
from slm_eval.scaling.fitting.bootstrap import bootstrap_metric_law
from slm_eval.scaling.fitting.metric_law import MetricFit, fit_metric_law
from slm_eval.scaling.fitting.quality import mean_relative_error
from slm_eval.scaling.law import MetricLaw
from slm_eval.scaling.runs.cells import LARGEST_PJSD
from slm_eval.scaling.runs.real import Real, of_column

if TYPE_CHECKING:
    from slm_eval.scaling.findings.analysis import Options
    from slm_eval.scaling.fitting.fit import LossFit
    from slm_eval.scaling.runs.cells import MetricColumn
    from slm_eval.scaling.runs.table import Means, Runs

Report = dict[str, Any]

# A metric whose ranks agree less than this with those of the loss (Spearman) does not follow it: it saturates, or is
# of something else. Those that the paper fits agree almost fully.
LEAST_AGREEMENT = 0.5


@dataclass(frozen=True)
class Context:
    """What all metrics share.

    Attributes:
        train: which budgets are fitted.
        grid: budgets along which curves are drawn.
        real: what real speech scores, by key or column.
    """

    runs: Runs
    means: Means
    train: npt.NDArray[np.bool_]
    loss_fit: LossFit
    grid: Floats
    options: Options
    real: dict[str, Real]


@dataclass
class Fitted:
    """By column: what is reported, why there is nothing to report, and the coefficients of the draws."""

    reports: dict[str, Report] = field(default_factory=dict)
    not_fitted: dict[str, str] = field(default_factory=dict)
    draws: dict[str, dict[str, list[float]]] = field(default_factory=dict)


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
                _fit(name, context, fitted)
            except UsageError as error:
                why_not = str(error)
        if why_not is not None:
            fitted.not_fitted[name] = why_not
    return fitted


def _named(asked: list[str] | None, columns: dict[str, MetricColumn]) -> list[str]:
    """Columns by their names, keys or families (pjsd), in the order of the table."""
    if asked is None:
        return list(columns)
    for each in asked:
        if not any(each in column.names for column in columns.values()):
            raise unknown_name("metric", each, {name for column in columns.values() for name in column.names})
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
        bits = "; --log-base 2 takes bits" if column.family == "pjsd" and outside.max() <= LARGEST_PJSD["2"] else ""
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


def _fit(name: str, context: Context, fitted: Fitted) -> None:
    """Fit one metric and note all that follows."""
    runs, options = context.runs, context.options
    used = ~np.isnan(runs.metrics[name]) & context.train[runs.budget]
    column, real = runs.columns[name], of_column(context.real, name)
    tie = "loss" if options.tie else None
    fit = fit_metric_law(
        runs.N[used], runs.D[used], runs.metrics[name][used], context.loss_fit, tie=tie, limits=column.limits,
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
    law, drawn = fit.law, _bootstrap(fit, context)
    draws = drawn.laws
    along = estimates(law, draws, lambda each: _optimum(each, context.grid))
    at_budgets = estimates(law, draws, lambda each: _optimum(each, runs.budgets))
    coefficients = estimates(law, draws, scalars)
    fitted.reports[name] = {
        "key": column.key,
        "guidance": column.guidance,
        "higher_is_better": column.higher_is_better,
        "real": None if real is None else real.to_dict(),
        "law": asdict(law),
        "coefficients": {part: one(*each) for part, each in coefficients.items() if part != "limit"},
        "limit": one(*coefficients["limit"]),
        "quality": _quality(fit, name, context),
        "bootstrap": drawn.to_dict(),
        "budgets": rows(at_budgets),
        "curve": curve(*along["metric"]),
        "allocation": {"D": curve(*along["D"])},
        "reaches": reaches(law, draws, real),
        "paper": _paper(fit),
        "warnings": [*fit.warnings, *drawn.doubts],
    }
    fitted.draws[name] = columns_of(draws)


def _bootstrap(fit: MetricFit, context: Context) -> Drawn[MetricLaw]:
    """Return the laws of resampled runs."""
    options, points = context.options, fit.points
    if not options.bootstrap:
        return Drawn([])
    if fit.tied:
        return Drawn([], ["tied to the loss: no bootstrap, and no intervals"])
    found = bootstrap_metric_law(
        points.N, points.D, points.value, context.loss_fit, n=options.bootstrap, unit=options.unit, seed=options.seed,
        fit=fit,
    )  # fmt: skip
    return with_optima(found, context.grid)


def _paper(fit: MetricFit) -> Report | None:
    """The ten parameters of equation 4.3: all determined where tied, else with E and A of the loss law."""
    if fit.loss_law is None or fit.sigmoid is None:
        return None
    return {**asdict(fit.loss_law), **asdict(fit.sigmoid), "fixed": [] if fit.tied else ["E", "A"]}


def _optimum(law: MetricLaw, compute: Floats) -> dict[str, Floats]:
    best = law.optimal(compute)
    return {"N": best.N, "D": best.D, "r": best.r, "metric": best.metric}


def _quality(fit: MetricFit, name: str, context: Context) -> Report:
    means, values = context.means, context.means.metrics[name]
    held_out = ~context.train[means.budget] & ~np.isnan(values)
    error = (
        mean_relative_error(fit.law(means.N[held_out], means.D[held_out]), values[held_out]) if held_out.any() else None
    )
    return {**quality(fit, error), "tied": fit.tied}


def reaches(law: MetricLaw, draws: Sequence[MetricLaw], real: Real | None) -> Report | None:
    """Whether the optimum enters real speech's band, at which compute, and in which share of the draws.

    ``C`` is null where no compute is enough, 0 where any is; ``share`` is null without draws.
    """
    if real is None or real.band is None:
        return None
    found = [each.reaches(real.band) for each in draws]
    share = sum(each is not None for each in found) / len(found) if found else None
    return {"C": law.reaches(real.band), "share": share, "band": list(real.band)}


def _rank_correlation(x: Floats, y: Floats) -> float:
    """Spearman's; equal values share their mean rank."""
    ranks = []
    for values in (x, y):
        _, of_value, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[of_value])
    return 0.0 if np.ptp(ranks[1]) == 0 else float(np.corrcoef(ranks[0], ranks[1])[0, 1])
