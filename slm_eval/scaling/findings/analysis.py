"""From a table of runs to everything that is reported: the main path of ``slm-eval scaling fit``, read downwards.

The result is one JSON object, the one of fit.json. Tables, figures and predictions are made of it alone, so that they
can be made again, elsewhere, without fitting.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from slm_eval._version import __version__
from slm_eval.base.arrays import Floats
from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.scaling.findings.behaviour import behaviour, minima_of, remarks_on_budgets, scattered
from slm_eval.scaling.findings.conclusions import conclusions
from slm_eval.scaling.findings.estimates import (
    FEWEST_DRAWS,
    LEVEL,
    Drawn,
    columns_of,
    curve,
    estimates,
    growth,
    has_optima,
    one,
    optima,
    plain,
    quality,
    relative_range,
    rows,
    scalars,
    with_optima,
)
from slm_eval.scaling.findings.metric_analysis import Context, analyse_metrics
from slm_eval.scaling.fitting.bootstrap import bootstrap_loss_law
from slm_eval.scaling.fitting.fit import LossFit, fit_loss_law
from slm_eval.scaling.fitting.isoflop import LEAST_SIZES
from slm_eval.scaling.fitting.quality import mean_relative_error
from slm_eval.scaling.fitting.reach import FARTHEST, factor_outside
from slm_eval.scaling.fitting.resampling import AUTO
from slm_eval.scaling.law import LossLaw
from slm_eval.scaling.runs.real import Real, of_column
from slm_eval.scaling.runs.table import Means, Runs

Report = dict[str, Any]

SCHEMA = 1  # of fit.json
_PER_DECADE = 12  # points of a curve


@dataclass(frozen=True)
class Options:
    """How runs are analysed.

    Attributes:
        gamma: fixes the outer exponent; None fits it.
        method: of the loss law: "fast", or "paper" for basin hopping. Metrics are always fitted fast.
        hold_out: how many of the largest budgets are kept from the fit, to test it.
        bootstrap: fits behind the intervals; 0 for none.
        unit: what is drawn: "point", "budget" or "seed"; "auto" follows from how residuals cluster.
        tie: fit each metric jointly with the loss.
        epsilon: tolerated loss above the optimum; ``relative_epsilon`` as a share of L* - E.
        ratio: frames per parameter whose compute is asked for; 400 are 20 text tokens.
        frames_per_text_token: 20 in the paper, section 3.2.
        frame_rate: frames per second of D.
        seed: of the bootstrap and of basin hopping.
    """

    gamma: float | None = None
    method: str = "fast"
    hold_out: int = 0
    bootstrap: int = 1000
    unit: str = AUTO
    tie: bool = False
    epsilon: float = 1e-3
    relative_epsilon: float = 0.1
    ratio: float = 400.0
    frames_per_text_token: float = 20.0
    frame_rate: float = 80.0
    seed: int = 0


def analyse(
    runs: Runs, options: Options | None = None, real: dict[str, Real] | None = None, metrics: list[str] | None = None
) -> Report:
    """Fit the laws and report what follows from them.

    Args:
        real: what real speech scores, by key or column.
        metrics: columns or keys to be fitted; None for all.

    Raises:
        UsageError: no law can be fitted to such runs, or a metric is named that is not there.
        SlmEvalError: the losses follow no law.
    """
    options, real = options or Options(), real or {}
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
    drawn = _bootstrap(fit, grid, options)
    context = Context(runs, means, train, fit, grid, options, real)
    fitted = analyse_metrics(context, metrics)
    report = {
        "schema": SCHEMA,
        "version": __version__,
        "environment": {"python": platform.python_version(), "numpy": np.__version__},
        "source": _source(runs, means),
        "options": asdict(options),
        "budgets": _budgets(runs, means, train),
        "columns": _columns(runs, means, real),
        "points": _points(means, train),
        "loss": _loss(runs, means, train, fit, drawn, grid, options),
        "metrics": fitted.reports,
        "not_fitted": fitted.not_fitted,
        "warnings": [*runs.warnings, *remarks_on_budgets(runs), *fit.warnings, *drawn.doubts],
    }
    report["conclusions"] = conclusions(report)
    report["draws"] = {"loss": columns_of(drawn.laws), "metrics": fitted.draws}
    return report


def _bootstrap(fit: LossFit, grid: Floats, options: Options) -> Drawn[LossLaw]:
    """Return the laws of resampled runs."""
    if not options.bootstrap:
        return Drawn([])
    points = fit.points
    found = bootstrap_loss_law(
        points.N,
        points.D,
        points.value,
        options.gamma,
        n=options.bootstrap,
        unit=options.unit,
        seed=options.seed,
        fit=fit,
    )
    return with_optima(found, grid)


def _train(means: Means, hold_out: int) -> npt.NDArray[np.bool_]:
    """Return which budgets are fitted: all below the largest ones, where single runs count for no budget."""
    sizes = np.bincount(means.budget)
    counted = np.arange(sizes.size) if scattered(sizes.tolist()) else np.flatnonzero(sizes >= LEAST_SIZES)
    if hold_out and hold_out > counted.size - 2:
        raise UsageError(f"--hold-out {hold_out} of {counted.size} budgets leaves fewer than two to fit")
    return np.arange(sizes.size) < (counted[-hold_out] if hold_out else sizes.size)


def _grid(budgets: Floats) -> Floats:
    """Budgets along which curves are drawn: through the data and beyond, with both ends of the data on it."""
    first, last = budgets[0], budgets[-1]
    inside = np.geomspace(first, last, max(2, round(_PER_DECADE * np.log10(last / first)) + 1))
    inside[0], inside[-1] = first, last
    beyond = np.geomspace(last, last * FARTHEST, round(_PER_DECADE * np.log10(FARTHEST)) + 1)
    return np.concatenate([inside, beyond[1:]])


def _loss(
    runs: Runs,
    means: Means,
    train: npt.NDArray[np.bool_],
    fit: LossFit,
    drawn: Drawn[LossLaw],
    grid: Floats,
    options: Options,
) -> Report:
    """All that follows from the loss law."""
    law, draws, epsilon, first = fit.law, drawn.laws, options.epsilon, float(runs.budgets[0])
    at_budgets = estimates(law, draws, lambda each: optima(each, runs.budgets, epsilon, options.frame_rate))
    along = estimates(law, draws, lambda each: optima(each, grid, epsilon, options.frame_rate))
    grown = estimates(law, draws, lambda each: growth(each, grid, epsilon, first))
    relative = estimates(law, draws, lambda each: relative_range(each, options.relative_epsilon))
    shown = ("N", "D", "r", "loss", "excess")
    held_out = ~train[means.budget]
    return {
        "law": asdict(law),
        "coefficients": {name: one(*each) for name, each in estimates(law, draws, scalars).items()},
        "quality": {**quality(fit, _error(law, means, held_out)), "mre_excess": fit.mre_excess},
        "bootstrap": drawn.to_dict(),
        "budgets": rows(at_budgets),
        "relative_range": {
            "epsilon": options.relative_epsilon,
            **{name: one(*each) for name, each in relative.items()},
        },
        "behaviour": behaviour(runs, means.loss, lower_is_better=True),
        "ratio": _ratio(law, draws, runs.budgets, options),
        "isoflop": minima_of(runs, means.loss, lower_is_better=True),
        "curve": {"C": grid.tolist(), **{name: curve(*along[name]) for name in shown}},
        "growth": {name: curve(*each) for name, each in grown.items()},
    }


def _error(law: LossLaw, means: Means, of: npt.NDArray[np.bool_]) -> float | None:
    return mean_relative_error(law(means.N[of], means.D[of]), means.loss[of]) if of.any() else None


def _ratio(law: LossLaw, draws: Sequence[LossLaw], budgets: Floats, options: Options) -> Report:
    """Return the compute at which r* is the ratio asked for, or a ``problem``: why there is none, or no interval."""
    asked = {"ratio": options.ratio, "text": options.ratio / options.frames_per_text_token}
    # Where many draws rise and others fall, the middle of their crossings is no interval of anything.
    alike = [each for each in draws if each.exponents.r * law.exponents.r > 0]
    alike = alike if len(alike) >= (1 - LEVEL[0]) * len(draws) else []
    with np.errstate(over="ignore", under="ignore"):
        value, ends = estimates(law, alike, lambda each: {"C": _crossing(each, options.ratio)})["C"]
        outside = factor_outside(float(value), budgets[0], budgets[-1])
    if not outside <= FARTHEST:
        way = "above" if value > budgets[-1] else "below"
        return {**asked, "C": None, "problem": f"is not reached within a factor of {FARTHEST:,.0f} {way} the budgets"}
    problem = None
    if draws and ends is None:
        problem = "without an interval since r* may rise or fall"
    elif ends is not None and max(factor_outside(end, budgets[0], budgets[-1]) for end in ends) > FARTHEST:
        ends, problem = None, f"its interval goes beyond a factor of {FARTHEST:,.0f} from the budgets"
    return {**asked, "C": one(value, ends), "problem": problem}


def _crossing(law: LossLaw, ratio: float) -> Floats:
    return np.asarray(np.inf if law.alpha == law.beta else law.compute_at_ratio(ratio))


def _source(runs: Runs, means: Means) -> Report:
    seeds = [int(means.n_seeds.min()), int(means.n_seeds.max())]
    return {"name": runs.source, "n_runs": int(runs.loss.size), "n_points": int(means.loss.size), "seeds": seeds}


def _budgets(runs: Runs, means: Means, train: npt.NDArray[np.bool_]) -> list[Report]:
    points, of_runs = (np.bincount(each, minlength=train.size) for each in (means.budget, runs.budget))
    return [
        {
            "C": float(runs.budgets[at]),
            "isoflop": bool(points[at] >= LEAST_SIZES),
            "n_points": int(points[at]),
            "n_runs": int(of_runs[at]),
            "held_out": not train[at],
        }
        for at in range(train.size)
    ]


def _columns(runs: Runs, means: Means, real: dict[str, Real]) -> Report:
    found = {}
    for name, column in runs.columns.items():
        known = of_column(real, name)
        found[name] = {
            "key": column.key,
            "guidance": column.guidance,
            "higher_is_better": column.higher_is_better,
            "limits": [plain(end) for end in column.limits],
            "real": None if known is None else known.to_dict(),
            "isoflop": behaviour(runs, means.metrics[name], lower_is_better=not column.higher_is_better),
        }
    return found


def _points(means: Means, train: npt.NDArray[np.bool_]) -> list[Report]:
    return [
        {
            "budget": int(means.budget[at]),
            "N": float(means.N[at]),
            "D": float(means.D[at]),
            "n_seeds": int(means.n_seeds[at]),
            "held_out": not train[means.budget[at]],
            "loss": float(means.loss[at]),
            "loss_sd": plain(means.loss_sd[at]),
            "metrics": {
                name: {"value": plain(means.metrics[name][at]), "sd": plain(means.metrics_sd[name][at])}
                for name in means.metrics
            },
        }
        for at in range(means.loss.size)
    ]
