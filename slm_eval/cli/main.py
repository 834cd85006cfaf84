"""The command line: parse, call, print. No logic; nothing heavy is imported before a command needs it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slm_eval._version import __version__
from slm_eval.base.commands import Commands
from slm_eval.base.terminal import echo
from slm_eval.cli.scaling import scaling

if TYPE_CHECKING:
    from slm_eval.metrics.metric import Metric
    from slm_eval.run.evaluation import Evaluation
    from slm_eval.run.shards import Shard


@click.group(
    cls=Commands,
    stopped="stopped; what was observed is kept, the same command continues",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="slm-eval")
def main() -> None:
    """Score generated speech against real speech: how well does a spoken language model speak?"""


main.add_command(scaling)

_OBSERVING = [
    click.option("--recognizer", default="auto", show_default=True, help="Phone recogniser, as named by `list`."),
    click.option("--lang", metavar="CODE", help="Language of the recogniser; by default its own."),
    click.option("--device", default="auto", show_default=True, help="Device of the models: auto, cpu or cuda:0."),
    click.option(
        "--batch-seconds",
        default=120.0,
        show_default=True,
        type=click.FloatRange(min=0, min_open=True),
        help="Seconds of audio that a model is given at once.",
    ),
    click.option("--workers", type=click.IntRange(min=0), help="Number of decoding processes; by default all cores."),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Take the first N clips of a corpus, by id."),
    click.option(
        "--on-error",
        default="report",
        show_default=True,
        type=click.Choice(["report", "raise"]),
        help="Account for clips that cannot be scored, or stop at the first.",
    ),
    click.option("--max-failures", type=click.IntRange(min=0), metavar="N", help="Stop when more clips fail."),
    click.option("--fresh", is_flag=True, help="Observe again what the cache knows."),
]


def _observing(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of every command that observes audio."""
    for option in reversed(_OBSERVING):
        command = option(command)
    return command


_LOG_BASE = click.option(
    "--log-base", default="e", show_default=True, type=click.Choice(["e", "2"]), help="Logarithm: e gives nats, 2 bits."
)
_FORCE = click.option("--force", is_flag=True, help="Write over another run that is in the folder.")


@main.command()
@click.option("--generated", required=True, type=click.Path(), help="Generated speech: folder, list, wav.scp, JSONL.")
@click.option("--real", required=True, type=click.Path(), help="Real speech to compare with, likewise.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for the results; default: runs/NAME.")
@click.option("--name", metavar="NAME", help="Name of the run; by default that of the generated folder.")
@click.option("--metrics", metavar="LIST", help="Names, as in `list`, comma-separated; by default all that can run.")
@click.option("--preset", type=click.Choice(["paper"]), help="Compute all metrics of the paper, with Allosaurus.")
@click.option("--ngrams", default="1-5", show_default=True, help="Values of n for pJSD: 5, 1-5 or 1,2,5.")
@_LOG_BASE
@click.option(
    "--seed", default=0, show_default=True, help="Seed of the random draws behind intervals, floors and tests."
)
@click.option("--json", "as_json", is_flag=True, help="Print summary.json instead of the table.")
@_FORCE
@click.option("--shard", metavar="I/N", help="Observe the I-th of N shares of the clips, for `merge`; or slurm.")
@_observing
def run(
    generated: str,
    real: str,
    output: Path | None,
    name: str | None,
    metrics: str | None,
    preset: str | None,
    ngrams: str,
    log_base: str,
    seed: int,
    as_json: bool,
    force: bool,
    shard: str | None,
    recognizer: str,
    lang: str | None,
    limit: int | None,
    **observing: Any,
) -> None:
    """Score a folder of generated speech against a folder of real speech."""
    from slm_eval.base.errors import UsageError
    from slm_eval.base.files import require_writable
    from slm_eval.metrics.choosing import choose_metrics
    from slm_eval.observing.options import RunOptions
    from slm_eval.run.evaluate import evaluate
    from slm_eval.run.identity import claim, describe, run_folder
    from slm_eval.run.shards import observe_share
    from slm_eval.run.share import parse_share
    from slm_eval.speech.corpus import load_corpus

    if as_json and shard is not None:
        raise UsageError("--json prints a summary, which a shard does not have; give --json to `slm-eval merge`")
    share = None if shard is None else parse_share(shard)
    folder = output or run_folder(generated, name, share)
    require_writable(folder)
    corpora = load_corpus(generated).limit(limit), load_corpus(real).limit(limit)
    chosen = choose_metrics(metrics, preset, recognizer=recognizer, lang=lang, n=ngrams, log_base=log_base, seed=seed)
    asked = describe(chosen, name=name, recognizer=recognizer, lang=lang, limit=limit)
    claim(folder, {"generated": generated, "real": real}, asked, share, force=force)
    options = RunOptions(progress=True, **observing)
    named = metrics is not None or preset is not None
    if share is not None:
        _run_shard(observe_share(*corpora, share, chosen, options, named=named, asked=asked), folder)
    else:
        evaluation = evaluate(*corpora, metrics=chosen, options=options)
        _finish(evaluation, folder, asked, as_json=as_json, named=named)


def _run_shard(shard: Shard, folder: Path) -> None:
    """Write one share of a run, and say what is there."""
    from slm_eval.report.text.table import render
    from slm_eval.run.shards import write_shard

    write_shard(shard, folder)
    echo(render(shard.seen))
    echo(f"shard {shard.share} written to {folder}; `slm-eval merge` puts shards together")
    _exit(shard.seen, named=shard.named)


@main.command()
@click.argument("shards", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SHARD...")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the results.")
@click.option("--json", "as_json", is_flag=True, help="Print summary.json instead of the table.")
@_FORCE
def merge(shards: tuple[Path, ...], output: Path, as_json: bool, force: bool) -> None:
    """Put the shards of a run together: the same results as without shards, and no audio is read."""
    from slm_eval.base.files import require_writable
    from slm_eval.run.identity import claim
    from slm_eval.run.merging import merge as put_together
    from slm_eval.run.shards import read_shard

    require_writable(output)
    read = [read_shard(folder) for folder in shards]
    evaluation, asked = put_together(read), read[0].asked
    claim(output, {side: corpus.path for side, corpus in evaluation.corpora.items()}, asked, force=force)
    _finish(evaluation, output, asked, as_json=as_json, named=read[0].named)


def _finish(evaluation: Evaluation, folder: Path, asked: dict[str, Any], *, as_json: bool, named: bool) -> None:
    """Write and print what a run found out. ``named``: the metrics were asked for by name."""
    from slm_eval.base.files import dump
    from slm_eval.report.page.html import write_html
    from slm_eval.report.text.table import render
    from slm_eval.run.files import write_run
    from slm_eval.run.finished import FinishedRun

    summary = write_run(evaluation, folder, asked)
    write_html(FinishedRun.from_evaluation(evaluation, asked.get("name") or folder.resolve().name), folder)
    echo(dump(summary, indent=2) if as_json else render(evaluation))
    echo(f"written to {folder}", err=as_json)
    _exit(evaluation, named=named)


@main.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--real", type=click.Path(), help="Real speech, where A or B is speech and not a finished run.")
@click.option("--metrics", metavar="LIST", help="Names or keys, comma-separated: pjsd,dnsmos.ovrl; by default all.")
@click.option("--ngrams", default="1-5", show_default=True, help="Values of n for pJSD, where speech is scored.")
@_LOG_BASE
@click.option("--paired/--unpaired", default=None, help="Pair clips by id or not; by default where most ids match.")
@click.option(
    "--permutations",
    type=click.IntRange(min=99),
    help="Random labellings of each test: 1999 by default, 499 of more than 100,000 clips.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the random draws.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON instead of the table.")
@_observing
def compare(
    a: Path,
    b: Path,
    real: str | None,
    metrics: str | None,
    paired: bool | None,
    permutations: int | None,
    seed: int,
    as_json: bool,
    ngrams: str,
    log_base: str,
    recognizer: str,
    lang: str | None,
    limit: int | None,
    **observing: Any,
) -> None:
    """Test whether A is better than B: finished runs, or speech to be scored against --real.

    p-values are corrected for several metrics, and differences stand beside their intervals and effect sizes.
    """
    from slm_eval.base.files import dump
    from slm_eval.compare import compare as compare_runs
    from slm_eval.compare.sides import keys_named, systems
    from slm_eval.metrics.choosing import choose_metrics
    from slm_eval.observing.options import RunOptions
    from slm_eval.report.text.comparison import render_comparison

    names = None if metrics is None else ",".join(dict.fromkeys(key.partition(".")[0] for key in metrics.split(",")))

    def chosen() -> list[Metric]:
        return choose_metrics(names, None, recognizer=recognizer, lang=lang, n=ngrams, log_base=log_base, seed=seed)

    runs = systems(a, b, real, chosen, RunOptions(progress=True, **observing), limit)
    keys = None if metrics is None else keys_named(metrics, runs)
    comparison = compare_runs(*runs, keys=keys, paired=paired, permutations=permutations, seed=seed)
    echo(dump(comparison.to_dict(), indent=2) if as_json else render_comparison(comparison), nl=as_json)
    if not comparison.differences:
        sys.exit(1)


@main.command()
@click.argument("runs", nargs=-1, required=True, metavar="[NAME=]RUN...")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the leaderboard.")
@click.option("--metrics", metavar="LIST", help="Names or keys, comma-separated: pjsd,dnsmos.ovrl; by default all.")
@click.option(
    "--sort", metavar="KEY", help="Key that orders the systems; by default the largest n of pJSD with coverage."
)
@click.option("--per-signature", is_flag=True, help="Make a table of each signature, where the runs carry several.")
@click.option("--seed", default=0, show_default=True, help="Seed of the random cuts to equal sizes.")
@click.option("--json", "as_json", is_flag=True, help="Print leaderboard.json instead of the tables.")
def leaderboard(
    runs: tuple[str, ...],
    output: Path,
    metrics: str | None,
    sort: str | None,
    per_signature: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Rank finished runs of one signature by tests of all pairs, beside real speech."""
    from slm_eval.base.files import require_writable
    from slm_eval.compare.leaderboard import leaderboards, read_systems
    from slm_eval.report.page.leaderboard import write_leaderboard_page
    from slm_eval.report.text.leaderboard import as_json as in_json
    from slm_eval.report.text.leaderboard import render, write_leaderboards

    require_writable(output)
    keys = None if metrics is None else [key.strip() for key in metrics.split(",")]
    boards = leaderboards(read_systems(runs), keys=keys, sort=sort, per_signature=per_signature, seed=seed)
    write_leaderboards(boards, output)
    write_leaderboard_page(boards, output)
    echo(in_json(boards) if as_json else render(boards), nl=not as_json)
    echo(f"written to {output}", err=as_json)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--generated", type=click.Path(), help="Folder of the generated audio, if it was moved.")
@click.option("--real", type=click.Path(), help="Folder of the real audio, if it was moved.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for the report; by default the run's.")
def report(folder: Path, generated: str | None, real: str | None, output: Path | None) -> None:
    """Write a finished run as a page to read and listen to, and its tables as Markdown and LaTeX."""
    from slm_eval.report.page.html import write_html
    from slm_eval.report.text.documents import write_documents
    from slm_eval.run.finished import read_run

    run, output = read_run(folder), output or folder
    echo(write_html(run, output, {"generated": generated, "real": real}, keep_richer=True))
    for path in write_documents(run, output):
        echo(path)


def _exit(evaluation: Evaluation, *, named: bool) -> None:
    """Exit with status 1 where something that was asked for could not be computed."""
    if any(named or not absent.unavailable for absent in evaluation.not_computed.values()):
        sys.exit(1)


@main.command()
@click.argument("path", type=click.Path())
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The phones.jsonl to write.")
@_observing
def phones(path: str, output: Path, recognizer: str, lang: str | None, limit: int | None, **observing: Any) -> None:
    """Write phone sequences as an artefact of their own, which `run` takes in place of audio."""
    from slm_eval.base.files import require_writable, write_jsonl
    from slm_eval.observing.options import RunOptions
    from slm_eval.observing.phones.recognise import recognise
    from slm_eval.observing.registry import make_recognizer
    from slm_eval.speech.corpus import load_corpus

    require_writable(output.parent)
    corpus = load_corpus(path).limit(limit)
    observer = make_recognizer(recognizer, lang)
    lines, failures = recognise(corpus, observer, RunOptions(progress=True, **observing))
    for line in failures:
        echo(line, err=True)
    write_jsonl(output, lines)
    echo(f"{len(lines)} of {len(corpus.clips)} clips recognised by {observer.fingerprint}, written to {output}")
    if not lines:
        sys.exit(1)


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
def download(names: tuple[str, ...]) -> None:
    """Fetch weights; without names, all that the metrics of the paper need."""
    from slm_eval.weights.locate import download as fetch

    failed = False
    for outcome in fetch(names):
        line = outcome.problem or f"{outcome.path} ({outcome.licence})"
        echo(f"{outcome.name}: {line}", err=outcome.problem is not None)
        failed |= outcome.problem is not None
    if failed:
        sys.exit(1)


@main.command("list")
def list_() -> None:
    """List metrics, recognisers and weights: what is there, what is missing, and how to get it."""
    from slm_eval.metrics import registry as metrics
    from slm_eval.observing import registry as recognizers
    from slm_eval.weights.locate import listing

    listed = {
        "metrics": metrics.PLUGINS.states(metrics.make_metric),
        "recognizers": recognizers.PLUGINS.states(recognizers.make_recognizer),
    }
    for title, rows in listed.items():
        echo(title)
        for name, state in rows:
            echo(f"  {name:<14}{state}")
    echo("weights")
    for weights in listing():
        echo(f"  {weights.name:<14}{weights.licence}; {weights.found}")


@main.command()
@click.option("--device", default="auto", show_default=True, help="Device of the models: auto, cpu or cuda:0.")
def doctor(device: str) -> None:
    """Run every observer on a built-in signal, and tell whether it gives the known values and how fast it is."""
    from slm_eval.run.doctor import examine

    healthy = True
    for line, good in examine(device):
        echo(line)
        healthy &= good
    if not healthy:
        sys.exit(1)
