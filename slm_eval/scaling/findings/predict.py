"""What fitted laws say of a run that was not made: from fit.json alone, with intervals, and how far it extrapolates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from slm_eval.base.errors import UsageError
from slm_eval.base.strict_json import parse, read_text
from slm_eval.base.tables import Table
from slm_eval.scaling.findings.analysis import SCHEMA
from slm_eval.scaling.findings.estimates import estimates, laws_of, one
from slm_eval.scaling.fitting.reach import FAR, FARTHEST, factor_outside
from slm_eval.scaling.law import FLOPS_PER_TOKEN, LossLaw, MetricLaw
from slm_eval.scaling.output.tables import interval, number

Report = dict[str, Any]
# Rounded sizes of a budget are not extrapolation.
_WITHIN = 1.1


def read_fit(path: Path) -> Report:
    """The object of fit.json; of a folder, the one in it.

    Raises:
        UsageError: no such file, or one that ``scaling fit`` of this version did not write.
    """
    path = path / "fit.json" if path.is_dir() else path
    try:
        report = parse(read_text(path))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; `slm-eval scaling fit` writes it") from error
    except ValueError as error:
        raise UsageError(f"{path} cannot be read as JSON ({error})") from error
    schema = report.get("schema") if isinstance(report, dict) else None
    if schema != SCHEMA or not {"loss", "metrics", "draws", "points"} <= report.keys():
        raise UsageError(f"{path} is no fit.json of schema {SCHEMA}; make it again with `slm-eval scaling fit`")
    return report


def predict(
    report: Report,
    compute: Sequence[float] = (),
    sizes: Sequence[float] = (),
    frames: Sequence[float] = (),
    farthest: float = FARTHEST,
) -> list[Report]:
    """Return predictions, one for each budget, or for each model, or for each amount of data.

    Args:
        report: the object of fit.json.
        compute: budgets; each is spent optimally.
        sizes: models of N parameters, each trained for the frames of the same place; without frames, for as many as
            make that size the optimal one.
        frames: likewise; without sizes, for models of the size that makes that much data optimal.
        farthest: how far outside of the fitted runs C, N and D may lie, as a factor.

    Raises:
        UsageError: farther outside than that; neither or both of budgets and sizes, or of another number than frames;
            one that is not above 0.
    """
    if bool(compute) == bool(sizes or frames):
        raise UsageError("say either --compute, or --n, --d or both")
    if sizes and frames and len(sizes) != len(frames):
        raise UsageError(f"{len(sizes)} values of --n and {len(frames)} of --d; they have to go together")
    for value in (*compute, *sizes, *frames):
        if not (math.isfinite(value) and value > 0):
            raise UsageError(f"{value:g} is no amount; expected a number above 0")
    if sizes and frames:
        for n, d in zip(sizes, frames, strict=True):
            _refuse_far(report, FLOPS_PER_TOKEN * n * d, n, d, farthest)
        return [_run(report, n, d) for n, d in zip(sizes, frames, strict=True)]
    law = LossLaw(**report["loss"]["law"])
    powers = law.exponents
    k = FLOPS_PER_TOKEN
    budgets = [*compute, *(k * (n / law.G) ** (1 / powers.N) for n in sizes)]
    budgets += [k * (d * law.G) ** (1 / powers.D) for d in frames]
    for each in budgets:
        best = law.optimal(each)
        _refuse_far(report, each, float(best.N), float(best.D), farthest)
    return [_optimum(report, law, each) for each in budgets]


def _refuse_far(report: Report, compute: float, n: float, d: float, farthest: float) -> None:
    for name, value, (low, high) in _beside_trained(report, compute, n, d):
        factor = factor_outside(value, low, high)
        if not factor <= farthest:
            raise UsageError(
                f"{name} = {value:.3g} lies a factor of {factor:.3g} outside of the fitted runs ({low:.3g} to "
                f"{high:.3g}), expected {farthest:g} at most: no run tells whether the law holds there; --farthest "
                "changes that"
            )


def _beside_trained(
    report: Report, compute: float, n: float, d: float
) -> Iterator[tuple[str, float, tuple[float, float]]]:
    """Yield C, N and D of a run with the range of those that were fitted."""
    points = [each for each in report["points"] if not each["held_out"]]
    for name, value in (("C", compute), ("N", n), ("D", d)):
        trained = [FLOPS_PER_TOKEN * each["N"] * each["D"] if name == "C" else each[name] for each in points]
        yield name, value, (min(trained), max(trained))


def _optimum(report: Report, law: LossLaw, compute: float) -> Report:
    """The best run of a budget. Of a metric, at the N* and D* of the loss, with intervals of its own law."""
    best = law.optimal(compute)
    found = estimates(law, laws_of(LossLaw, report["draws"]["loss"]), lambda each: _at_budget(each, compute))
    sizes = {name: one(*found[name]) for name in ("N", "D", "r")}
    return _prediction(report, compute, float(best.N), float(best.D), True, sizes, one(*found["loss"]))


def _at_budget(law: LossLaw, compute: float) -> dict[str, Any]:
    best = law.optimal(compute)
    return {"N": best.N, "D": best.D, "r": best.r, "loss": best.loss}


def _run(report: Report, n: float, d: float) -> Report:
    """A run of given size and data, which need not be the best of its budget."""
    law = LossLaw(**report["loss"]["law"])
    draws = laws_of(LossLaw, report["draws"]["loss"])
    loss = estimates(law, draws, lambda each: {"loss": each(n, d)})["loss"]
    sizes = {name: one(value, None) for name, value in (("N", n), ("D", d), ("r", d / n))}
    return _prediction(report, FLOPS_PER_TOKEN * n * d, n, d, False, sizes, one(*loss))


def _prediction(
    report: Report, compute: float, n: float, d: float, optimal: bool, sizes: Report, loss: Report
) -> Report:
    metrics = {}
    for name, metric in report["metrics"].items():
        law, draws = MetricLaw(**metric["law"]), laws_of(MetricLaw, report["draws"]["metrics"][name])
        metrics[name] = one(*estimates(law, draws, lambda each: {"metric": each(n, d)})["metric"])
    rate = report["options"]["frame_rate"]
    return {
        "C": compute,
        "optimal": optimal,
        **sizes,
        "hours": d / (3600 * rate),
        "loss": loss,
        "metrics": metrics,
        "extrapolates": extrapolates(report, compute, n, d),
        "far": any(
            factor_outside(value, *trained) > FAR for _, value, trained in _beside_trained(report, compute, n, d)
        ),
    }


def extrapolates(report: Report, compute: float, n: float, d: float) -> list[str]:
    """Return how far a run lies outside of those that were fitted, a clause for each quantity."""
    clauses = []
    for name, value, (low, high) in _beside_trained(report, compute, n, d):
        if value > high * _WITHIN:
            clauses.append(f"{name} is above the largest fitted ({high:.3g}), by a factor of {value / high:.3g}")
        elif value < low / _WITHIN:
            clauses.append(f"{name} is below the smallest fitted ({low:.3g}), by a factor of {low / value:.3g}")
    return clauses


def render(predictions: Sequence[Report]) -> str:
    """For a terminal: two columns for each, value and interval, and how far it extrapolates."""
    names = {"N": "parameters N", "D": "frames D", "r": "frames per parameter D/N", "loss": "loss"}
    header = ["C", *(cell for each in predictions for cell in (f"{each['C']:.4g}", "95 %"))]
    rows = [[text, *(cell for each in predictions for cell in _cells(each[name]))] for name, text in names.items()]
    rows.insert(2, ["hours of audio", *(cell for each in predictions for cell in (f"{each['hours']:.4g}", ""))])
    for name in predictions[0]["metrics"]:
        rows.append([name, *(cell for each in predictions for cell in _cells(each["metrics"][name]))])
    lines = [
        f"C = {each['C']:.4g} extrapolates: {'; '.join(each['extrapolates'])}."
        for each in predictions
        if each["extrapolates"]
    ]
    if any(each["far"] for each in predictions):
        lines.append(f"Beyond a factor of {FAR:g} no run tells whether the law holds: intervals do not contain that.")
    what = (
        "The best run of each budget" if predictions[0]["optimal"] else "Runs as given, not the best of their budgets"
    )
    return Table(what, header, rows, lines).to_text()


def _cells(found: Report) -> tuple[str, str]:
    return number(found["value"], 4), "" if found["ci95"] is None else interval(found["ci95"])
