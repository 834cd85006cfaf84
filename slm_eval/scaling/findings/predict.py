"""Predictions of runs that were not made: from fit.json alone, with intervals, and how far it extrapolates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slm_eval.base.errors import UsageError
from slm_eval.base.strict_json import parse, read_text
from slm_eval.scaling.findings.context import SCHEMA
from slm_eval.scaling.findings.estimates import estimate, estimates, laws_from_columns
from slm_eval.scaling.findings.report import Estimate, FitReport
from slm_eval.scaling.fitting.reach import FAR, FARTHEST, factor_outside
from slm_eval.scaling.law import FLOPS_PER_TOKEN, LossLaw, MetricLaw

# Sizes of a budget are rounded: a factor up to this beyond them is not called extrapolation.
_WITHIN = 1.1
# Frames are whole: 6ND of the largest budget lies a little below the budget that its runs were planned for.
_WHOLE_FRAMES = 1e-3


@dataclass(frozen=True)
class Prediction:
    """A run as the laws predict it.

    Attributes:
        optimal: whether it is the best run of its budget; else N and D are as given, without intervals.
        hours: of audio, D in other units.
        extrapolates: how far it lies outside of the fitted runs, a clause for each quantity.
        far: whether it lies so far outside that intervals do not tell whether the law holds.
    """

    C: float
    optimal: bool
    N: Estimate
    D: Estimate
    r: Estimate
    hours: float
    loss: Estimate
    metrics: dict[str, Estimate]
    extrapolates: list[str]
    far: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the object that ``scaling predict --json`` prints."""
        return asdict(self)


def read_fit(path: Path) -> FitReport:
    """Return the report in a fit.json; of a folder, that of the one in it.

    Raises:
        UsageError: no such file, or one that ``scaling fit`` of this version did not write.
    """
    path = path / "fit.json" if path.is_dir() else path
    try:
        content = parse(read_text(path))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; `slm-eval scaling fit` writes it") from error
    except ValueError as error:
        raise UsageError(f"{path} cannot be read as JSON ({error})") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise UsageError(
            f"{path} must be a fit.json of schema {SCHEMA}, got {schema!r:.40}; "
            "make it again with `slm-eval scaling fit`"
        )
    try:
        return FitReport.from_dict(content)
    except ValueError as error:
        raise UsageError(
            f"{path} must be a complete fit.json, got another ({error}); make it again with `slm-eval scaling fit`"
        ) from error


def predict(
    report: FitReport,
    compute: Sequence[float] = (),
    sizes: Sequence[float] = (),
    frames: Sequence[float] = (),
    farthest: float = FARTHEST,
) -> list[Prediction]:
    """Return predictions, one for each budget, or for each model, or for each amount of data.

    Args:
        report: what ``read_fit`` returns.
        compute: budgets; each is spent optimally.
        sizes: models of N parameters, each trained for the frames of the same place; without frames, for as many as
            make that size the optimal one.
        frames: likewise; without sizes, for models of the size that makes that much data optimal.
        farthest: how far outside of the fitted runs C, N and D may lie, as a factor.

    Raises:
        UsageError: farther outside than that; neither or both of budgets and sizes, or of another number than frames;
            one that is not above 0.
    """
    _check_request(compute, sizes, frames)
    if sizes and frames:
        for n, d in zip(sizes, frames, strict=True):
            _refuse_far(report, FLOPS_PER_TOKEN * n * d, n, d, farthest)
        return [_predict_run(report, n, d) for n, d in zip(sizes, frames, strict=True)]
    law = report.loss.law
    powers = law.exponents
    k = FLOPS_PER_TOKEN
    budgets = [*compute, *(k * (n / law.G) ** (1 / powers.N) for n in sizes)]
    budgets += [k * (d * law.G) ** (1 / powers.D) for d in frames]
    for budget in budgets:
        best = law.optimal(budget)
        _refuse_far(report, budget, float(best.N), float(best.D), farthest)
    return [_predict_optimum(report, budget) for budget in budgets]


def _check_request(compute: Sequence[float], sizes: Sequence[float], frames: Sequence[float]) -> None:
    """Refuse what asks for no prediction, or for two at once."""
    if bool(compute) == bool(sizes or frames):
        raise UsageError("say either --compute, or --n, --d or both")
    if sizes and frames and len(sizes) != len(frames):
        raise UsageError(f"{len(sizes)} values of --n and {len(frames)} of --d; they have to go together")
    for value in (*compute, *sizes, *frames):
        if not (math.isfinite(value) and value > 0):
            raise UsageError(f"expected an amount above 0, got {value:g}")


def _refuse_far(report: FitReport, compute: float, n: float, d: float, farthest: float) -> None:
    for name, value, (low, high) in _beside_trained(report, compute, n, d):
        factor = factor_outside(value, low, high)
        if not factor <= farthest * (1 + _WHOLE_FRAMES):
            raise UsageError(
                f"{name} = {value:.3g} lies a factor of {factor:.3g} outside of the fitted runs ({low:.3g} to "
                f"{high:.3g}), expected {farthest:g} at most: no run tells whether the law holds there; --farthest "
                "changes that"
            )


def _beside_trained(
    report: FitReport, compute: float, n: float, d: float
) -> Iterator[tuple[str, float, tuple[float, float]]]:
    """Yield C, N and D of a run with the range of those that were fitted."""
    points = [point for point in report.points if not point.held_out]
    trained = {
        "C": (compute, [FLOPS_PER_TOKEN * point.N * point.D for point in points]),
        "N": (n, [point.N for point in points]),
        "D": (d, [point.D for point in points]),
    }
    for name, (value, values) in trained.items():
        yield name, value, (min(values), max(values))


def _predict_optimum(report: FitReport, compute: float) -> Prediction:
    """Return the best run of a budget. Metrics are those at the N* and D* of the loss, with intervals of their laws."""
    law = report.loss.law
    best = law.optimal(compute)
    draws = laws_from_columns(LossLaw, report.draws.loss)
    quantities = {
        name: estimate(*pair) for name, pair in estimates(law, draws, lambda draw: _at_budget(draw, compute)).items()
    }
    return _prediction(report, compute, float(best.N), float(best.D), quantities, optimal=True)


def _at_budget(law: LossLaw, compute: float) -> dict[str, Any]:
    best = law.optimal(compute)
    return {"N": best.N, "D": best.D, "r": best.r, "loss": best.loss}


def _predict_run(report: FitReport, n: float, d: float) -> Prediction:
    """Return a run of given size and data, which need not be the best of its budget."""
    draws = laws_from_columns(LossLaw, report.draws.loss)
    loss = estimates(report.loss.law, draws, lambda draw: {"loss": draw(n, d)})["loss"]
    quantities = {"N": estimate(n), "D": estimate(d), "r": estimate(d / n), "loss": estimate(*loss)}
    return _prediction(report, FLOPS_PER_TOKEN * n * d, n, d, quantities, optimal=False)


def _prediction(
    report: FitReport, compute: float, n: float, d: float, quantities: dict[str, Estimate], *, optimal: bool
) -> Prediction:
    metrics = {}
    for name, metric in report.metrics.items():
        draws = laws_from_columns(MetricLaw, report.draws.metrics[name])
        metrics[name] = estimate(*estimates(metric.law, draws, lambda draw: {"metric": draw(n, d)})["metric"])
    return Prediction(
        C=compute,
        optimal=optimal,
        **quantities,
        hours=d / (3600 * report.options.frame_rate),
        metrics=metrics,
        extrapolates=extrapolates(report, compute, n, d),
        far=any(factor_outside(value, *trained) > FAR for _, value, trained in _beside_trained(report, compute, n, d)),
    )


def extrapolates(report: FitReport, compute: float, n: float, d: float) -> list[str]:
    """Return how far a run lies outside of those that were fitted, a clause for each quantity."""
    clauses = []
    for name, value, (low, high) in _beside_trained(report, compute, n, d):
        if value > high * _WITHIN:
            clauses.append(f"{name} is above the largest fitted ({high:.3g}), by a factor of {value / high:.3g}")
        elif value < low / _WITHIN:
            clauses.append(f"{name} is below the smallest fitted ({low:.3g}), by a factor of {low / value:.3g}")
    return clauses
