"""Predictions as a table for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from slm_eval.base.tables import Table
from slm_eval.scaling.findings.predict import Prediction
from slm_eval.scaling.findings.report import Estimate
from slm_eval.scaling.fitting.reach import FAR
from slm_eval.scaling.output.tables import interval, number


def render(predictions: Sequence[Prediction]) -> str:
    """Return two columns for each prediction, value and interval, and how far it extrapolates."""

    def row(name: str, cells: Callable[[Prediction], tuple[str, str]]) -> list[str]:
        return [name, *(cell for prediction in predictions for cell in cells(prediction))]

    header = row("C", lambda prediction: (f"{prediction.C:.4g}", "95 %"))
    rows = [
        row("parameters N", lambda prediction: _cells(prediction.N)),
        row("frames D", lambda prediction: _cells(prediction.D)),
        row("hours of audio", lambda prediction: (f"{prediction.hours:.4g}", "")),
        row("frames per parameter D/N", lambda prediction: _cells(prediction.r)),
        row("loss", lambda prediction: _cells(prediction.loss)),
    ]
    for name in predictions[0].metrics:
        rows.append([name, *(cell for prediction in predictions for cell in _cells(prediction.metrics[name]))])
    lines = [
        f"C = {prediction.C:.4g} extrapolates: {'; '.join(prediction.extrapolates)}."
        for prediction in predictions
        if prediction.extrapolates
    ]
    if any(prediction.far for prediction in predictions):
        lines.append(f"Beyond a factor of {FAR:g} no run tells whether the law holds: intervals do not contain that.")
    title = "The best run of each budget" if predictions[0].optimal else "Runs as given, not the best of their budgets"
    return Table(title, header, rows, lines).to_text()


def _cells(quantity: Estimate) -> tuple[str, str]:
    return number(quantity.value, 4), "" if quantity.ci95 is None else interval(quantity.ci95)
