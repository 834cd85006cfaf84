"""The command line of the model zoo: parse, call, print. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

from pathlib import Path

import click

from slm_eval._version import __version__
from slm_eval.commands import Commands


@click.group(
    cls=Commands,
    stopped="stopped; what was finished is kept, the same command continues",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="slm-zoo")
def main() -> None:
    """The reference model: train, sample and vocode continuous-diffusion spoken language models."""


@main.command("make-speech")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the recordings.")
@click.option("--hours", required=True, type=click.FloatRange(min=0, min_open=True), help="Of speech, in all.")
@click.option("--minutes", default=2.0, show_default=True, type=click.FloatRange(min=0, min_open=True), help="Of each.")
@click.option("--seed", default=0, show_default=True, help="Of texts, voices and levels.")
@click.option("--workers", type=click.IntRange(min=1), help="Recordings made at once; by default one per core.")
def make_speech(output: Path, hours: float, minutes: float, seed: int, workers: int | None) -> None:
    """Make speech with known language structure: conversations of a small grammar, spoken by espeak-ng."""
    from model_zoo.made_speech.make import make_speech

    lines = make_speech(output, hours, seed, minutes, workers, progress=True)
    seconds = sum(line["seconds"] for line in lines)
    click.echo(f"{len(lines)} recordings, {seconds / 3600:.2f} h, in {output}")
