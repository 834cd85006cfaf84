"""The sections of a report that show the metrics: each a sentence that reads it, and a chart or a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from slm_eval.report.findings import reading
from slm_eval.report.page import charts
from slm_eval.report.page.charts import Axis, Interval
from slm_eval.report.page.elements import (
    Cell,
    Column,
    distribution,
    number_cell,
    padded_axis,
    pair,
    section,
    table,
)
from slm_eval.report.page.markup import Markup, Node, tag
from slm_eval.report.text.numbers import NONE, direction, fixed, interval_text, signed
from slm_eval.run.finished import SIDES, FinishedRun


def glance(run: FinishedRun) -> Markup:
    """Draw one row per family, each on a scale of its own."""
    rows: list[Markup] = []
    best = reading.sharpest(run.divergences)
    if run.divergences:
        key = run.divergence_keys[best if best is not None else min(run.divergences)]
        rows.append(_glance_row(key, run.metrics[key]))
    rows += [_glance_row(key, run.metrics[key]) for key in reading.leading_keys(run)]
    rows += [_glance_row(key, metric) for key, metric in run.corpus_metrics.items()]
    sentences = [reading.of_divergences(run.divergences)] if run.divergences else []
    sentences.append(reading.of_scores({key: run.metrics[key] for key in run.score_keys}))
    legend = [
        tag("span", "●", class_="generated swatch"),
        " generated speech with its 95 % interval. ",
        tag("span", "▮", class_="real swatch"),
        " real speech: for pJSD what it scores against itself at these sizes, ± 1.96 sd; else its mean, with its 95 % "
        "interval.",
    ]
    return section(
        "glance",
        "Overview",
        "At a glance",
        sentences,
        tag("div", rows, class_="glance"),
        tag("p", legend, class_="note"),
    )


def _glance_row(key: str, metric: dict[str, Any]) -> Markup:
    digits, axis = metric["digits"], _axis([metric])
    real, _ = _real(metric)
    return tag(
        "div",
        tag(
            "div",
            tag("strong", key),
            tag("small", f"{metric['unit']}, {direction(metric['higher_is_better'])}"),
            class_="what",
        ),
        tag("div", fixed(metric["value"], digits), tag("small", interval_text(metric["ci95"], digits)), class_="big"),
        tag("div", _row(key, metric, axis), charts.range_axis(axis), class_="plot"),
        tag(
            "div",
            fixed(real, digits),
            tag("small", "real vs real" if metric["kind"] == "divergence" else "real speech"),
            class_="big beside",
        ),
        class_="row",
    )


def metrics(run: FinishedRun) -> Markup:
    """Show every number, in two tables that sort."""
    parts: list[Node] = []
    if run.divergences:
        parts.append(_divergence_table(run.of_kind("divergence"), run.divergence_keys.values()))
    units = dict.fromkeys(run.metrics[key]["unit"] for key in run.score_keys)
    for unit in units:
        parts.append(
            _score_table({key: run.metrics[key] for key in run.score_keys if run.metrics[key]["unit"] == unit})
        )
    if run.cross_entropies:
        parts.append(_cross_entropy_table(run.cross_entropies))
    if run.corpus_metrics:
        parts.append(_corpus_table(run.corpus_metrics))
    return section("metrics", "Metrics", "All metrics", (), parts)


def _divergence_table(divergences: dict[str, dict[str, Any]], keys: Iterable[str]) -> Markup:
    unit = next(iter(divergences.values()))["unit"]
    columns = [
        Column("metric", numeric=False),
        Column("pJSD", "Plug-in divergence, as the paper defines it; lower is better"),
        Column("95 % interval", "By half-sampling of clips"),
        Column("beside real", "Dot and line: generated. Bar: real against real", numeric=False),
        Column("real vs real", "What real speech scores against real speech at these sizes, ± its sd"),
        Column("p", "How often two samples of one source would differ as much, by permutation"),
        Column("excess", "pJSD less real vs real: it shrinks distances"),
        Column("corrected", "Estimate of the divergence of the sources, at equal sizes"),
        Column("coverage", "Share of the next n-grams that would have been seen before"),
        Column("n-grams", "Generated / real"),
    ]
    rows = []
    for key in keys:
        metric = divergences[key]
        digits, sizes = metric["digits"], metric["n_ngrams"]
        floor = metric["floor"]
        rows.append(
            [
                Cell(key, key),
                number_cell(metric["value"], digits),
                _interval_cell(metric["ci95"], digits),
                Cell(_row(key, metric, _axis([metric])), float(metric["value"])),
                Cell(NONE if floor is None else f"{floor:.{digits}f} ± {fixed(metric['floor_sd'], digits)}", floor),
                number_cell(metric.get("p"), 3),
                number_cell(metric["excess"], digits, sign=True),
                number_cell(metric["corrected"], digits),
                number_cell(metric["coverage"], 3),
                Cell(f"{sizes['generated']:,} / {sizes['real']:,}", float(sizes["generated"])),
            ]
        )
    return table(columns, rows, f"pJSD in {unit}; lower is better")


def _score_table(scores: dict[str, dict[str, Any]]) -> Markup:
    unit = next(iter(scores.values()))["unit"]
    axis = _axis(list(scores.values()))
    columns = [
        Column("metric", numeric=False),
        Column("generated", "Mean over the generated clips"),
        Column("95 % interval", "Of the mean, by Student's t over clips"),
        Column("beside real", "Dot and line: generated. Bar: real", numeric=False),
        Column("real", "Mean over the real clips"),
        Column("95 % interval", "Of the mean of the real clips"),
        Column("difference", "Generated less real, with its 95 % interval"),
        Column("sd", "Over the generated clips"),
        Column("clips", "Generated / real"),
    ]
    rows = []
    for key, metric in scores.items():
        digits, real = metric["digits"], metric.get("real")
        gap = reading.difference(reading.moments(metric), reading.moments(real))
        rows.append(
            [
                Cell(key, key),
                number_cell(metric["value"], digits),
                _interval_cell(metric["ci95"], digits),
                Cell(_row(key, metric, axis), float(metric["value"])),
                number_cell(real and real["value"], digits),
                Cell(
                    interval_text(real and real["ci95"], digits),
                    float(real["ci95"][0]) if real and real["ci95"] else None,
                ),
                Cell(NONE)
                if gap is None
                else Cell(f"{signed(gap.value, digits)} {interval_text(gap.interval, digits)}", gap.value),
                number_cell(metric["sd"], digits),
                Cell(f"{metric['n']:,} / {real['n']:,}" if real else f"{metric['n']:,} / 0", float(metric["n"])),
            ]
        )
    better = direction(next(iter(scores.values()))["higher_is_better"])
    ends = f"{charts.number(axis.low)} to {charts.number(axis.high)}"
    return table(columns, rows, f"Scores in {unit}; {better}. The plots go from {ends}")


def _cross_entropy_table(metrics: dict[str, dict[str, Any]]) -> Markup:
    unit = next(iter(metrics.values()))["unit"]
    columns = [
        Column("metric", numeric=False),
        Column("generated", "Under a phone n-gram model of real speech"),
        Column("95 % interval", "Of other generated clips"),
        Column("real", "Real clips, each by a model that has not seen it"),
        Column("95 % interval", "Of other real clips"),
        Column("difference", "Generated less real, with its 95 % interval: of other clips of both"),
        Column("p", "Of both being equally predictable, two-sided"),
        Column("phones", "Generated / real"),
    ]
    rows = []
    for key, metric in metrics.items():
        digits, sizes = metric["digits"], metric["n_phones"]
        real, gap = metric["real"], metric["difference"]
        rows.append(
            [
                Cell(key, key),
                number_cell(metric["value"], digits),
                _interval_cell(metric["ci95"], digits),
                number_cell(real["value"], digits),
                _interval_cell(real["ci95"], digits),
                Cell(f"{signed(gap['value'], digits)} {interval_text(gap['ci95'], digits)}", float(gap["value"])),
                Cell(NONE if gap["p"] is None else f"{gap['p']:.2g}", gap["p"]),
                Cell(f"{sizes['generated']:,} / {sizes['real']:,}", float(sizes["generated"])),
            ]
        )
    return table(columns, rows, f"Cross-entropy in {unit}; above real: unlike real speech, below it: too predictable")


def _corpus_table(metrics: dict[str, dict[str, Any]]) -> Markup:
    columns = [
        Column("metric", numeric=False),
        Column("value"),
        Column("95 % interval"),
        Column("beside real", "Dot and line: generated. Bar: real", numeric=False),
        Column("real", "The same of real speech, where the metric says it"),
        Column("unit", numeric=False),
        Column("better", numeric=False),
    ]
    rows = [
        [
            Cell(key, key),
            number_cell(metric["value"], metric["digits"]),
            _interval_cell(metric["ci95"], metric["digits"]),
            Cell(_row(key, metric, _axis([metric])), float(metric["value"])),
            number_cell(_real(metric)[0], metric["digits"]),
            Cell(metric["unit"], metric["unit"]),
            Cell(direction(metric["higher_is_better"]).removesuffix(" is better")),
        ]
        for key, metric in metrics.items()
    ]
    return table(columns, rows, "Metrics over whole corpora, of other packages")


def distributions(run: FinishedRun) -> Markup | None:
    """Draw every per-clip score: generated against real."""
    plots = []
    for key in run.score_keys:
        generated, real = (np.array(list(run.scores(key, side).values())) for side in SIDES)
        if generated.size or real.size:
            plots.append(distribution(key, run.metrics[key]["unit"], generated, real))
    if not plots:
        return None
    return section(
        "distributions",
        "Distributions",
        "Scores of the clips",
        (reading.of_overlap(run),),
        tag(
            "p",
            "Generated clips upwards, real clips downwards, as shares of each side; lines are means.",
            class_="note",
        ),
        tag("div", plots, class_="multiples"),
    )


def _row(key: str, metric: dict[str, Any], axis: Axis) -> Markup:
    real, real_interval = _real(metric)
    digits = metric["digits"]
    label = f"{key}: {metric['value']:.{digits}f}, real {fixed(real, digits)}"
    return charts.range_row(axis, metric["value"], pair(metric["ci95"]), real, real_interval, label)


def _interval_cell(ends: Sequence[float] | None, digits: int) -> Cell:
    """Return the cell of an interval, sorted by its lower end."""
    return Cell(interval_text(ends, digits), None if ends is None else float(ends[0]))


def _real(metric: dict[str, Any]) -> tuple[float | None, Interval | None]:
    """Return what real speech scores, and the bar around it."""
    if metric["kind"] == "divergence":
        floor, sd = metric["floor"], metric["floor_sd"]
        if floor is None:
            return None, None
        return floor, None if sd is None else (max(floor - 1.96 * sd, 0.0), floor + 1.96 * sd)
    found = metric.get("real")
    return (None, None) if found is None else (found["value"], pair(found["ci95"]))


def _axis(metrics: Sequence[dict[str, Any]]) -> Axis:
    """Return the scale that a metric asks for, else one that shows all of them.

    Of scores it shows at least one sd of the clips to either side: small gaps look small.
    """
    asked = metrics[0]["axis"]
    if asked is not None:
        return Axis(float(asked[0]), float(asked[1]))
    ends: list[float] = []
    for metric in metrics:
        spread = (metric["kind"] == "score" and metric["sd"]) or 0.0
        ends += [metric["value"] - spread, metric["value"] + spread, *(metric["ci95"] or ())]
        real, interval = _real(metric)
        ends += [] if real is None else [real, *(interval or ())]
    return padded_axis(min(ends), max(ends))
