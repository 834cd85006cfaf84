"""From folders of speech to shards of log-mels: the main path of ``slm-zoo prepare``, read from top to bottom.

    sources -> recordings by id -> split by id -> shards planned -> parts heard in processes -> shards -> index

What is written depends on the recordings and the options alone: not on workers, on their order or on stops. A command
that was stopped goes on where it was, and when recordings were added, they go into further shards.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from model_zoo.data.parts import part_path, read_part
from model_zoo.data.shards import (
    INDEX,
    SPLITS,
    VERSION,
    Entry,
    MelShards,
    Split,
    read_index,
    read_table,
    shard_path,
    write_index,
    write_shard,
)  # fmt: skip
from model_zoo.data.sources import Source, collect, lengths
from model_zoo.data.work import Answer, Job, work
from model_zoo.features import FeatureSpec
from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.files import dump, write_whole
from slm_eval.base.lock import exclusive
from slm_eval.base.strict_json import read_object
from slm_eval.speech.audio import RESAMPLER

_CLAIM = "prepare.json"
_LOCK = ".lock"


@dataclass(frozen=True)
class PrepareOptions:
    """What is written, and how it is carried out.

    Raises:
        UsageError: a number out of range.
    """

    features: FeatureSpec = field(default_factory=FeatureSpec)
    validation: float = 0.02  # share of the recordings that is never trained on
    seed: int = 0  # of the split, together with the recording's id
    shard_hours: float = 20.0  # of speech in a shard, at most, but for a longer recording: 20 h are 0.9 GB
    workers: int | None = None  # processes; None: one per core, 0: this one
    progress: bool = False  # a bar on stderr

    def __post_init__(self) -> None:
        if not 0 < self.validation < 1:
            raise UsageError(f"the share for validation must be between 0 and 1, got {self.validation}")
        if not self.shard_hours > 0 or (self.workers or 0) < 0:
            raise UsageError(
                f"shard hours must be above 0, workers at least 0, got {self.shard_hours} and {self.workers}"
            )


@dataclass(frozen=True)
class Prepared:
    """What ``prepare`` did."""

    shards: MelShards
    added: int  # recordings heard by this call
    failed: dict[str, Any]  # id -> {"reason", "error"}

    def line(self) -> str:
        """Return what is there now, for the terminal."""
        parts = (f"{len(self.shards.of(split))} for {split}, {self.shards.hours(split):.2f} h" for split in SPLITS)
        return (
            f"{self.shards.path}: {'; '.join(parts)}; {self.added} added, {len(self.failed)} failed; "
            f"features {self.shards.spec.digest}"
        )


def prepare(sources: Sequence[str | Path], output: Path, options: PrepareOptions) -> Prepared:
    """Turn speech into shards of log-mels.

    Args:
        sources: folders, lists or manifests, as ``slm-eval run`` takes them.
        output: folder of the shards; see ``model_zoo.data.shards``.

    Raises:
        UsageError: ids collide, the split leaves one side empty, or the folder holds other shards.
        SlmEvalError: nothing can be read, or the folder cannot be written.
    """
    recordings = collect(sources)
    splits = {recording.id: split_of(recording.id, options) for recording in recordings}
    _require_both(splits, options)
    with _alone(output):
        # 1. What the folder holds already, and what is left to hear.
        claim(output, options)
        tables = _finished(output)
        todo = _todo(recordings, tables, output)
        failed = {clip_id: why for table in tables for clip_id, why in table["failed"].items()}

        # 2. Shard by shard: parts are heard by processes and joined when all of a shard are there.
        added = 0
        for heard, failures in _shards(todo, output, options):
            failed |= failures
            if heard:
                write_shard(output, len(tables), _entries(heard, splits, output), failures, options.features.n_mels)
                tables.append(read_table(output, len(tables)))
                added += len(heard)
            for recording in heard:
                part_path(output, recording.id).unlink()

        # 3. The index says that the folder is whole. What failed once and was heard since has not failed.
        held = {recording["id"] for table in tables for recording in table["recordings"]}
        failed = {clip_id: why for clip_id, why in sorted(failed.items()) if clip_id not in held}
        split = {"split": {"seed": options.seed, "validation": options.validation}}
        write_index(output, options.features, split, len(tables), failed)
        shutil.rmtree(output / "parts")
    return Prepared(MelShards.open(output), added, failed)


def split_of(recording_id: str, options: PrepareOptions) -> Split:
    """Return where a recording belongs: a function of its id and the seed, so that others never move it."""
    return "validation" if _lot(recording_id, options.seed) < options.validation else "train"


def _lot(recording_id: str, seed: int) -> float:
    """Draw a number in [0, 1), uniformly."""
    text = json.dumps(["split", seed, recording_id])
    return int.from_bytes(hashlib.blake2b(text.encode("ascii"), digest_size=8).digest(), "big") / 2**64


def _require_both(splits: dict[str, Split], options: PrepareOptions) -> None:
    """Refuse before any work what would leave one side empty."""
    if set(splits.values()) == set(SPLITS):
        return
    lots = sorted(_lot(recording_id, options.seed) for recording_id in splits)
    if len(lots) < 2:
        raise UsageError("one recording cannot be both trained on and validated with; give at least two")
    # Four digits, above the smallest lot and below the largest.
    low, high = math.ceil(lots[0] * 1e4 + 1) / 1e4, math.floor(lots[-1] * 1e4) / 1e4
    empty = "validation" if "validation" not in splits.values() else "train"
    raise UsageError(
        f"with --validation {options.validation:g} and --seed {options.seed}, none of {len(lots)} recordings falls to "
        f"{empty}; take --validation {low if empty == 'validation' else high:g}, another seed, or more recordings"
    )


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Keep a second command out of the folder, and take what stopped ones left half-written away."""

    def refuse() -> None:
        raise UsageError(f"another slm-zoo prepare is at work in {output}; wait for it, or choose another folder")

    try:
        with exclusive(output / _LOCK, refuse):
            (output / "parts").mkdir(exist_ok=True)
            try:
                yield
            finally:
                halves = (path for folder in (".", "parts", "shards") for path in output.glob(f"{folder}/.*"))
                for half in [path for path in halves if path.name != _LOCK]:
                    half.unlink(missing_ok=True)
                if not any(output.glob("parts/*")):
                    shutil.rmtree(output / "parts", ignore_errors=True)
    except OSError as error:
        raise SlmEvalError(f"cannot write into {output}: {error.strerror}; choose another --output") from error


def claim(output: Path, options: PrepareOptions) -> None:
    """Say what the folder's shards are, before the first one is there.

    Raises:
        UsageError: it holds shards that are made otherwise.
    """
    claimed = {
        "version": VERSION,
        "features": {"digest": options.features.digest, **options.features.to_dict()},
        "resampler": RESAMPLER,
        "validation": options.validation,
        "seed": options.seed,
        "shard_hours": options.shard_hours,
    }
    path = output / _CLAIM
    if path.exists():
        there = read_object(path, "choose another folder")
        if there != claimed:
            differing = ", ".join(
                f"{key} {_short(there.get(key))} instead of {_short(value)}"
                for key, value in claimed.items()
                if there.get(key) != value
            )
            raise UsageError(f"{output} holds shards made otherwise ({differing}); choose another folder")
    write_whole(path, [dump(claimed, indent=1), "\n"])


def _short(value: Any) -> Any:
    return value["digest"] if isinstance(value, dict) else value


def _finished(output: Path) -> list[dict[str, Any]]:
    """Read the tables of the shards that are whole."""
    tables: list[dict[str, Any]] = []
    while shard_path(output, len(tables)).with_suffix(".json").exists():
        tables.append(read_table(output, len(tables)))
    return tables


def _todo(recordings: list[Source], tables: list[dict[str, Any]], output: Path) -> list[Source]:
    """List recordings that are in no shard. What failed in a finished folder is tried again: its file may have been
    fixed.

    Raises:
        UsageError: shards hold recordings that nobody asked for.
    """
    ids = {recording.id for recording in recordings}
    held = {recording["id"] for table in tables for recording in table["recordings"]}
    strangers = sorted(held - ids)
    if strangers:
        raise UsageError(
            f"{output} holds {len(strangers)} recordings that are not in the sources, {strangers[0]!r} first; name all "
            "its sources, or choose another folder"
        )
    again = len(read_index(output)["shards"]) if (output / INDEX).exists() else 0
    # Those of shards that are in no index yet are left: a plan that is half carried out must stay the same.
    given_up = {clip_id for table in tables[again:] for clip_id in table["failed"]}
    return [source for source in recordings if source.id not in held and source.id not in given_up]


def _shards(todo: list[Source], output: Path, options: PrepareOptions) -> Iterator[tuple[list[Source], dict[str, Any]]]:
    """Hear what is to be done; shard by shard, in order, the recordings whose parts are there and those that failed."""
    seconds = lengths(todo)
    plan = _plan(todo, seconds, options.shard_hours * 3600)
    for part in (part_path(output, source.id) for source in todo):
        if part.exists() and read_part(part) is None:
            part.unlink()
    jobs = [_job(source, output) for source in todo if not part_path(output, source.id).exists()]
    waiting = {job.id for job in jobs}
    failures: dict[str, Any] = {}
    answers = work(jobs, options.features.to_dict(), _workers(options, len(jobs)))
    with _bar(sum(seconds.values()), options.progress and bool(jobs)) as bar:
        bar.update(sum(seconds[source.id] for source in todo if source.id not in waiting) / 3600)
        try:
            for shard in plan:
                missing = waiting.intersection(source.id for source in shard)
                while missing:
                    answer = next(answers)
                    waiting.discard(answer.id)
                    missing.discard(answer.id)
                    bar.update(min(seconds[answer.id] / 3600, bar.total - bar.n))  # never past its end
                    _account(answer, failures, bar)
                good = [source for source in shard if source.id not in failures]
                yield good, {source.id: failures[source.id] for source in shard if source.id in failures}
        finally:
            answers.close()


def _account(answer: Answer, failures: dict[str, Any], bar: tqdm) -> None:
    if answer.reason is not None:
        failures[answer.id] = {"reason": answer.reason, "error": answer.error}
        bar.set_postfix_str(f"{len(failures)} failed")


def _plan(todo: list[Source], seconds: dict[str, float], most: float) -> list[list[Source]]:
    """Group recordings by shard, filled one after the other: the rest of a plan is planned the same way again."""
    plan: list[list[Source]] = []
    filled = math.inf
    for source in todo:
        if filled + seconds[source.id] > most:
            plan.append([])
            filled = 0.0
        plan[-1].append(source)
        filled += seconds[source.id]
    return plan


def _job(source: Source, output: Path) -> Job:
    return Job(source.id, str(source.path), source.start, source.end, str(part_path(output, source.id)))


def _workers(options: PrepareOptions, jobs: int) -> int:
    return min(jobs, (os.cpu_count() or 1) if options.workers is None else options.workers)


def _entries(sources: list[Source], splits: dict[str, Split], output: Path) -> Iterator[Entry]:
    """Read the parts, one at a time."""
    for source in sources:
        path = part_path(output, source.id)
        part = read_part(path)
        if part is None:
            raise SlmEvalError(f"{path}, which was written a moment ago, is damaged; check the disk and run again")
        mel, moments, digest = part
        yield Entry(source.id, source.group, splits[source.id], digest, mel, moments)


def _bar(seconds: float, progress: bool) -> tqdm:
    return tqdm(
        total=seconds / 3600,
        desc="preparing",
        disable=not progress,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.2f}/{total:.2f} h [{elapsed}<{remaining}]{postfix}",
    )
