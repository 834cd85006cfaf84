"""From a list of systems to a leaderboard, in one command that can be stopped and started again.

    python benchmarks/recipes/leaderboard/make.py benchmarks/recipes/leaderboard/systems.yaml -o runs/leaderboard

Every system is scored as ``slm-eval run`` would, into ``runs/NAME`` below the output; runs that are there and were made
by the same command from the same files are kept. Then all are ranked, as by ``slm-eval leaderboard``, and the paper's
Table 1 is laid out beside them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import click
import paper
from entries import Entries, Entry, read_entries

from slm_eval._version import __version__
from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.files import dump, write_whole
from slm_eval.compare.leaderboard import System, leaderboards
from slm_eval.metrics.choosing import choose_metrics
from slm_eval.observing.options import RunOptions
from slm_eval.report.page.html import write_html
from slm_eval.report.page.leaderboard import write_leaderboard_page
from slm_eval.report.text.leaderboard import markdown, render, write_leaderboards
from slm_eval.run.evaluate import evaluate
from slm_eval.run.files import write_run
from slm_eval.run.finished import FinishedRun, is_run, read_run, require_fields
from slm_eval.speech.corpus import Corpus, load_corpus

COMMAND = "command.json"  # in the folder of a run: what it was made by


@click.command()
@click.argument("systems", type=click.Path(path_type=Path), metavar="SYSTEMS.yaml")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for all that is made.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:0.")
@click.option("--workers", type=click.IntRange(min=0), help="Decoding processes; by default one per core.")
def main(systems: Path, output: Path, device: str, workers: int | None) -> None:
    """Score the systems of SYSTEMS.yaml and rank them."""
    try:
        click.echo(make(systems, output, RunOptions(progress=True, device=device, workers=workers)))
    except UsageError as error:
        raise click.UsageError(str(error)) from error
    except SlmEvalError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"written to {output}")


def make(systems: Path, output: Path, options: RunOptions) -> str:
    """All of it; returns the tables for a terminal.

    Raises:
        UsageError: the list of systems, or what it names, cannot be read.
        SlmEvalError: a system cannot be scored (its name begins the message), or the output cannot be written.
    """
    entries = read_entries(systems)
    real = entries.real.prepare("real", output / "speech")
    ranked = [_system(entry, real, entries, options, output) for entry in entries.systems]
    boards = leaderboards(ranked, sort=entries.sort, seed=entries.seed)
    write_leaderboards(boards, output)
    write_leaderboard_page(boards, output)
    write_whole(output / "beside_paper.md", [paper.beside(markdown(boards))])
    return render(boards)


def _system(entry: Entry, real: Path, entries: Entries, options: RunOptions, output: Path) -> System:
    """An entry with its run, which is made where it is not there."""
    try:
        generated = entry.speech.prepare(entry.slug, output / "speech")
        run = _run(generated, real, entries, options, output / "runs" / entry.slug)
    except SlmEvalError as error:
        raise type(error)(f"{entry.name}: {error}") from error
    require_fields(run)
    return System(entry.name, run, entry.link, entry.notes)


def _run(generated: Path, real: Path, entries: Entries, options: RunOptions, folder: Path) -> FinishedRun:
    corpora = load_corpus(generated), load_corpus(real)
    command = _command(corpora, entries)
    if _is_made_by(command, folder):
        click.echo(f"{folder.name}: kept, made by the same command", err=True)
        return read_run(folder)
    click.echo(f"{folder.name}: {generated} against {real}", err=True)
    given = dict(entries.settings)
    metrics = choose_metrics(
        given["metrics"],
        None,
        recognizer=given["recognizer"],
        lang=given["lang"],
        n=given["ngrams"],
        log_base=given["log_base"],
        seed=entries.seed,
    )
    evaluation = evaluate(*corpora, metrics, options)
    # Gone while the run is replaced: a run that is stopped there is made again.
    (folder / COMMAND).unlink(missing_ok=True)
    write_run(evaluation, folder)
    write_html(FinishedRun.from_evaluation(evaluation, folder.name), folder)
    write_whole(folder / COMMAND, [dump(command, indent=2), "\n"])
    return read_run(folder)


def _command(corpora: tuple[Corpus, Corpus], entries: Entries) -> dict[str, Any]:
    """All that decides what a run finds, as JSON values; weights and recognisers apart, which its signatures name."""
    return {
        "version": __version__,
        **entries.settings,
        "seed": entries.seed,
        **{side: _digest(corpus) for side, corpus in zip(("generated", "real"), corpora, strict=True)},
    }


def _digest(corpus: Corpus) -> str:
    """Of the clips: their ids, labels and phones, and sizes and times of their files."""
    told = []
    for clip in corpus.clips:
        status = clip.path.stat() if clip.path is not None and clip.path.exists() else None
        stamp = None if status is None else (status.st_size, status.st_mtime_ns)
        told.append((clip.id, clip.start, clip.end, clip.phones, clip.labels, stamp))
    return hashlib.sha256(repr((corpus.path, told)).encode("utf-8", "surrogatepass")).hexdigest()


def _is_made_by(command: dict[str, Any], folder: Path) -> bool:
    path = folder / COMMAND
    if not (is_run(folder) and path.is_file()):
        return False
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")) == command)
    except ValueError:
        return False


if __name__ == "__main__":
    main()
