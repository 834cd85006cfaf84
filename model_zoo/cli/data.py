"""Speech to learn from and to be scored with: made, chosen, prepared, cut."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from slm_eval.base.terminal import echo


@click.command("make-speech")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the recordings.")
@click.option("--hours", required=True, type=click.FloatRange(min=0, min_open=True), help="Hours of speech, in all.")
@click.option(
    "--minutes",
    default=2.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Minutes of each recording.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of texts, voices and levels.")
@click.option("--workers", type=click.IntRange(min=1), help="Make so many recordings at once; by default one per core.")
def make_speech(output: Path, hours: float, minutes: float, seed: int, workers: int | None) -> None:
    """Make speech with known language structure: conversations of a small grammar, spoken by espeak-ng."""
    from model_zoo.speech.make import make_speech

    lines = make_speech(output, hours, seed, minutes, workers, progress=True)
    seconds = sum(line["seconds"] for line in lines)
    echo(f"{len(lines)} recordings, {seconds / 3600:.2f} h, in {output}")


@click.command("filter")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder of kept.jsonl.")
@click.option("--min-seconds", default=300.0, show_default=True, help="Shortest recording.")
@click.option("--max-seconds", type=float, help="Longest recording.")
@click.option("--language", default="en", show_default=True, help="Ask for it where there are tags.")
@click.option(
    "--min-share", default=0.99, show_default=True, help="Share of the speech that is in that language, at least."
)
@click.option("--tags", type=click.Path(path_type=Path), help='JSONL: {"id" or "path", "language_shares": {...}}.')
@click.option("--whisper", metavar="MODEL", help="Hear languages by it: openai/whisper-large-v3, or a folder.")
@click.option("--device", default="auto", show_default=True, help="Run Whisper on auto, cpu or cuda:0.")
def filter_command(
    sources: tuple[Path, ...], output: Path, tags: Path | None, whisper: str | None, device: str, **options: Any
) -> None:
    """Choose the recordings to train on: by length, and by language with --tags or --whisper.

    Writes kept.jsonl, which slm-zoo prepare takes, and dropped.jsonl with the reasons.
    """
    from collections import Counter

    from model_zoo.data.filters import FilterOptions, filter_speech
    from model_zoo.data.tags import LanguageTagger, ManifestTagger
    from model_zoo.data.whisper import WhisperTagger, load_detector
    from slm_eval.base.errors import UsageError

    if tags is not None and whisper is not None:
        raise UsageError("languages come from --tags or from --whisper, not from both; leave one out")
    tagger: LanguageTagger | None = ManifestTagger(tags) if tags is not None else None
    if whisper is not None:
        tagger = WhisperTagger(load_detector(whisper, device), whisper)
    done = filter_speech(sources, output, FilterOptions(**options, progress=True), tagger)
    counts = Counter(dropped.reason for dropped in done.dropped.values())
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    listed = f" ({reasons}; see {output / 'dropped.jsonl'})" if reasons else ""
    hours = sum(done.kept.values()) / 3600
    echo(f"{output / 'kept.jsonl'}: {len(done.kept)} kept, {hours:.2f} h; {len(done.dropped)} dropped{listed}")


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the shards.")
@click.option("--validation", default=0.02, show_default=True, help="Share of the recordings that is never trained on.")
@click.option("--seed", default=0, show_default=True, help="Seed of the split, together with a recording's id.")
@click.option("--shard-hours", default=20.0, show_default=True, help="Hours of speech in one shard; 20 h are 0.9 GB.")
@click.option("--mel-floor", type=float, default=-5.0, show_default=True, help="Floor of the features.")
@click.option("--no-mel-floor", is_flag=True, help="Set no floor.")
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Use so many processes; by default one per core, 0: none of their own.",
)
def prepare(
    sources: tuple[Path, ...],
    output: Path,
    validation: float,
    seed: int,
    shard_hours: float,
    mel_floor: float,
    no_mel_floor: bool,
    workers: int | None,
) -> None:
    """Turn speech into memory-mapped log-mels to train on.

    SOURCES are folders, lists or manifests of speech, as slm-eval run takes them. A command that was stopped goes on
    where it was; recordings that were added go into further shards, and none changes between training and validation.
    """
    from model_zoo.data.prepare import PrepareOptions
    from model_zoo.data.prepare import prepare as run
    from model_zoo.features import FeatureSpec

    features = FeatureSpec(mel_floor=None if no_mel_floor else mel_floor)
    done = run(sources, output, PrepareOptions(features, validation, seed, shard_hours, workers, progress=True))
    _say_failures({clip_id: why["error"] for clip_id, why in done.failed.items()}, output / "index.json")
    echo(done.line())
    if done.failed:
        sys.exit(1)


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for contexts/ and real/.")
@click.option("--context-seconds", default=10.0, show_default=True, help="Seconds that a model hears.")
@click.option("--seconds", default=30.0, show_default=True, help="Seconds that follow.")
@click.option(
    "--clips", type=click.IntRange(min=1), help="Cut so many at most, of as many recordings as there are; default: all."
)
@click.option(
    "--held-out", type=click.Path(path_type=Path), metavar="SHARDS", help="Cut only its validation recordings."
)
def cut(source: Path, output: Path, **options: Any) -> None:
    """Cut recordings into contexts and what was really said after each: what sampling needs, and scoring compares with.

    SOURCE is speech in any form that slm-eval run takes.
    """
    from model_zoo.speech.cut import CutOptions
    from model_zoo.speech.cut import cut as run

    done = run(source, output, CutOptions(**options, progress=True))
    _say_failures(done.failed, output)
    echo(f"{len(done.written)} clips cut into {output}, {len(done.kept)} were there already")
    if done.failed:
        sys.exit(1)


def _say_failures(failures: dict[str, str], where: Path, shown: int = 20) -> None:
    """Print the first ones on stderr, and where the others are listed."""
    for clip_id in sorted(failures)[:shown]:
        echo(f"{clip_id}: {failures[clip_id]}", err=True)
    if len(failures) > shown:
        echo(f"... and {len(failures) - shown} more, listed in {where}", err=True)
