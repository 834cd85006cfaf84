"""Commands of scaling laws: parse, call, print. Outside of ``scaling``, so that importing it loads no numpy."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from slm_eval.base.terminal import echo


@click.group()
def scaling() -> None:
    """Fit scaling laws to a table of runs: section 4 of the paper, and its figures."""
    # Read when numpy is loaded, which is later. All matrices are small, and on a busy machine OpenBLAS's threads wait
    # for each other: 2,000 steps of basin hopping took more than 500 s with two threads and 9 s with one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


_POSITIVE = click.FloatRange(min=0, min_open=True)
_FORMATS = click.option(
    "--formats", default="pdf,png", show_default=True, metavar="LIST", help="Formats of the figures: pdf, svg, png."
)
_NO_FIGURES = click.option("--no-figures", is_flag=True, help="Write numbers and tables alone; needs no matplotlib.")
_OUTPUT = click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the results.")
_REAL = click.option(
    "--real",
    type=click.Path(path_type=Path),
    help="Take what real speech scores from summary.json, JSON, or CSV.",
)
_METRICS = click.option(
    "--metrics", metavar="LIST", help="Use these columns, keys or families; NAME:higher takes any other column."
)
_LOG_BASE = click.option(
    "--log-base", default="e", show_default=True, type=click.Choice(["e", "2"]), help="Unit of pJSD: nats or bits."
)
_FORCE = click.option("--force", is_flag=True, help="Replace the results of another fit in the folder.")


@scaling.command()
@click.argument("runs", type=click.Path(path_type=Path), metavar="RUNS.csv")
@_OUTPUT
@click.option(
    "--gamma",
    default="free",
    show_default=True,
    metavar="FLOAT|free",
    help="Fix the outer power of the law, or fit it.",
)
@click.option(
    "--method",
    default="fast",
    show_default=True,
    type=click.Choice(["fast", "paper"]),
    help="Fit the loss law fast, or by basin hopping.",
)
@click.option(
    "--hold-out",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Test on so many of the largest budgets.",
)
@click.option(
    "--bootstrap", default=1000, show_default=True, type=click.IntRange(min=0), help="Draw so many fits for intervals."
)
@click.option(
    "--unit",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "point", "budget", "seed"]),
    help="Draw these; auto: budgets where residuals cluster by them, else points.",
)
@_METRICS
@_LOG_BASE
@click.option("--tie", is_flag=True, help="Fit each metric jointly with the loss: all ten parameters.")
@_REAL
@click.option(
    "--epsilon", default=1e-3, show_default=True, type=_POSITIVE, help="Tolerate so much loss above the optimum."
)
@click.option(
    "--ratio",
    default=400.0,
    show_default=True,
    type=_POSITIVE,
    help="Find the compute with these frames per parameter.",
)
@click.option(
    "--frames-per-text-token",
    default=20.0,
    show_default=True,
    type=_POSITIVE,
    help="Compare ratios with those of text by this.",
)
@click.option("--frame-rate", default=80.0, show_default=True, type=_POSITIVE, help="Frames per second of D.")
@click.option(
    "--tolerance", default=0.1, show_default=True, type=_POSITIVE, help="Accept column C within this share of 6ND."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the bootstrap.")
@_FORMATS
@_NO_FIGURES
@_FORCE
@click.option("--json", "as_json", is_flag=True, help="Print fit.json instead of the tables.")
def fit(
    runs: Path,
    output: Path,
    gamma: str,
    metrics: str | None,
    real: Path | None,
    log_base: str,
    tolerance: float,
    formats: str,
    no_figures: bool,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Fit the laws to RUNS.csv: a row for each trained model, with N, D, loss, and if you like C, seed and metrics."""
    from slm_eval.base.files import dump
    from slm_eval.scaling.findings.analysis import analyse
    from slm_eval.scaling.findings.context import Options
    from slm_eval.scaling.output import tables
    from slm_eval.scaling.output.files import figure_formats, parse_gamma, parse_metrics, refuse_fit, write_fit
    from slm_eval.scaling.runs.real import read_real
    from slm_eval.scaling.runs.table import read_runs

    chosen = figure_formats(formats, no_figures)
    names, extra = parse_metrics(metrics)
    refuse_fit(output, force=force)
    table = read_runs(runs, extra, frame_rate=options["frame_rate"], tolerance=tolerance, log_base=log_base)
    known = None if real is None else read_real(real)
    report = analyse(table, Options(gamma=parse_gamma(gamma), **options), known, names)
    written = write_fit(report, output, chosen)
    echo(dump(report.to_dict(), indent=1) if as_json else tables.render(report), nl=as_json)
    echo(f"written to {output}: {', '.join(written.names)}", err=as_json)
    if written.problem is not None:
        echo(f"no figures: {written.problem}", err=True)
    if written.problem is not None or (names is not None and report.not_fitted):
        sys.exit(1)


@scaling.command()
@click.argument("fit", type=click.Path(path_type=Path), metavar="FIT.json")
@click.option("--compute", "-c", multiple=True, type=float, metavar="FLOPS", help="Spend this budget optimally.")
@click.option("--n", "-n", "sizes", multiple=True, type=float, metavar="PARAMETERS", help="Train a model of this size.")
@click.option("--d", "-d", "frames", multiple=True, type=float, metavar="FRAMES", help="Train on this much data.")
@click.option(
    "--farthest",
    default=1e3,
    show_default=True,
    type=click.FloatRange(min=1),
    help="Refuse what lies outside of the fitted runs by more than this factor.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def predict(
    fit: Path,
    compute: tuple[float, ...],
    sizes: tuple[float, ...],
    frames: tuple[float, ...],
    farthest: float,
    as_json: bool,
) -> None:
    """Predict what a budget buys, by fit.json: N*, D*, hours of audio, loss and metrics, with intervals.

    With --n and --d, what a run of that size and data would reach; with one of them, the budget it is optimal for.
    """
    from slm_eval.base.files import dump
    from slm_eval.scaling.findings.predict import predict as predicted
    from slm_eval.scaling.findings.predict import read_fit
    from slm_eval.scaling.output.predictions import render

    predictions = predicted(read_fit(fit), compute, sizes, frames, farthest)
    as_dicts = [prediction.to_dict() for prediction in predictions]
    echo(dump({"predictions": as_dicts}, indent=1) if as_json else render(predictions))


@scaling.command()
@click.argument("ablations", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="CSV...")
@_OUTPUT
@_METRICS
@_LOG_BASE
@_REAL
@_FORMATS
@_NO_FIGURES
@click.option("--json", "as_json", is_flag=True, help="Print ablations.json instead of the table.")
def ablations(
    ablations: tuple[Path, ...],
    output: Path,
    metrics: str | None,
    log_base: str,
    real: Path | None,
    formats: str,
    no_figures: bool,
    as_json: bool,
) -> None:
    """Compare how far each design choice moves each metric (figure 6).

    A CSV for each choice, with what was varied in its first column.
    """
    from slm_eval.base.files import dump
    from slm_eval.scaling.findings import ablations as study
    from slm_eval.scaling.output.ablation_table import ablation_table
    from slm_eval.scaling.output.files import figure_formats, parse_metrics, write_ablations
    from slm_eval.scaling.runs.real import read_real

    chosen = figure_formats(formats, no_figures)
    names, extra = parse_metrics(metrics)
    studies = study.select([study.read_ablation(path, extra, log_base) for path in ablations], names)
    written = write_ablations(studies, output, {} if real is None else read_real(real), chosen)
    echo(dump(study.to_dict(studies), indent=1) if as_json else ablation_table(studies).to_text())
    echo(f"written to {output}: {', '.join(written.names)}", err=as_json)
    if written.problem is not None:
        echo(f"no figures: {written.problem}", err=True)
        sys.exit(1)
