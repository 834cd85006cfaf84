"""Consequences of the law of the loss: optima, how flat they are, frames per parameter, all with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slm_eval.base.arrays import Floats
from slm_eval.scaling.findings.behaviour import behaviour, minima_of_budgets
from slm_eval.scaling.findings.context import Context, Options
from slm_eval.scaling.findings.estimates import (
    LEVEL,
    Drawn,
    curve,
    estimate,
    estimates,
    estimates_by_budget,
    growth,
    optima,
    quality,
    relative_range,
    scalars,
    with_optima,
)
from slm_eval.scaling.findings.report import LossCurves, LossQuality, LossReport, OptimumEstimates, Ratio, RelativeRange
from slm_eval.scaling.fitting.bootstrap import bootstrap_loss_law
from slm_eval.scaling.fitting.quality import mean_relative_error
from slm_eval.scaling.fitting.reach import FARTHEST, factor_outside
from slm_eval.scaling.law import LossLaw


def draw_laws(context: Context) -> Drawn[LossLaw]:
    """Return the laws of resampled runs."""
    options, points = context.options, context.loss_fit.points
    if not options.bootstrap:
        return Drawn([])
    bootstrap = bootstrap_loss_law(
        points.N, points.D, points.value, options.gamma, n=options.bootstrap, unit=options.unit, seed=options.seed,
        fit=context.loss_fit,
    )  # fmt: skip
    return with_optima(bootstrap, context.grid)


def report_loss(context: Context, drawn: Drawn[LossLaw]) -> LossReport:
    """Return all that follows from the loss law."""
    runs, loss, options, grid = context.runs, context.means.loss, context.options, context.grid
    law, draws, epsilon, first = context.loss_fit.law, drawn.laws, options.epsilon, float(runs.budgets[0])
    at_budgets = estimates(law, draws, lambda draw: optima(draw, runs.budgets, epsilon, options.frame_rate))
    along = estimates(law, draws, lambda draw: optima(draw, grid, epsilon, options.frame_rate))
    grown = estimates(law, draws, lambda draw: growth(draw, grid, epsilon, first))
    return LossReport(
        law=law,
        coefficients={name: estimate(*pair) for name, pair in estimates(law, draws, scalars).items()},
        quality=quality(
            LossQuality, context.loss_fit, _error_of_held_out(context), mre_excess=context.loss_fit.mre_excess
        ),
        bootstrap=drawn.resampling,
        budgets=estimates_by_budget(OptimumEstimates, at_budgets, runs.budgets.size),
        relative_range=_relative_range(law, draws, options.relative_epsilon),
        behaviour=behaviour(runs, loss, lower_is_better=True),
        ratio=_ratio(law, draws, runs.budgets, options),
        isoflop=minima_of_budgets(runs, loss, lower_is_better=True),
        curve=LossCurves(grid.tolist(), **{name: curve(*along[name]) for name in ("N", "D", "r", "loss", "excess")}),
        growth={name: curve(*pair) for name, pair in grown.items()},
    )


def _error_of_held_out(context: Context) -> float | None:
    means, law = context.means, context.loss_fit.law
    held_out = ~context.train[means.budget]
    if not held_out.any():
        return None
    return mean_relative_error(law(means.N[held_out], means.D[held_out]), means.loss[held_out])


def _relative_range(law: LossLaw, draws: Sequence[LossLaw], epsilon: float) -> RelativeRange:
    ends = {
        name: estimate(*pair)
        for name, pair in estimates(law, draws, lambda draw: relative_range(draw, epsilon)).items()
    }
    return RelativeRange(epsilon, from_=ends["from"], to=ends["to"], decades=ends["decades"])


def _ratio(law: LossLaw, draws: Sequence[LossLaw], budgets: Floats, options: Options) -> Ratio:
    """Return the compute at which r* is the ratio asked for, or why there is none, or no interval."""
    ratio, text = options.ratio, options.ratio / options.frames_per_text_token
    # Where many draws rise and others fall, the middle of their crossings is no interval of anything.
    alike = [draw for draw in draws if draw.exponents.r * law.exponents.r > 0]
    alike = alike if len(alike) >= (1 - LEVEL[0]) * len(draws) else []
    with np.errstate(over="ignore", under="ignore"):
        value, ends = estimates(law, alike, lambda draw: {"C": _crossing(draw, ratio)})["C"]
        outside = factor_outside(float(value), budgets[0], budgets[-1])
    if not outside <= FARTHEST:
        way = "above" if value > budgets[-1] else "below"
        return Ratio(ratio, text, None, f"is not reached within a factor of {FARTHEST:,.0f} {way} the budgets")
    problem = None
    if draws and ends is None:
        problem = "without an interval since r* may rise or fall"
    elif ends is not None and max(factor_outside(end, budgets[0], budgets[-1]) for end in ends) > FARTHEST:
        ends, problem = None, f"its interval goes beyond a factor of {FARTHEST:,.0f} from the budgets"
    return Ratio(ratio, text, estimate(value, ends), problem)


def _crossing(law: LossLaw, ratio: float) -> Floats:
    return np.asarray(np.inf if law.alpha == law.beta else law.compute_at_ratio(ratio))
