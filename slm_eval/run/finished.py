"""A finished run, read back: summary.json and clips.jsonl, checked, for what is done with runs afterwards.

Comparing, ranking and reporting work on what a run wrote, or on an evaluation that was just made; both look the same
here. Files that were cut, edited or written by another version are refused with one line.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from slm_eval.base.digests import content_digest
from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.signature import Signature
from slm_eval.base.strict_json import parse, read_lines, read_text
from slm_eval.run.earlier import completed
from slm_eval.run.evaluation import SCHEMA, Evaluation
from slm_eval.run.fields import CLIP, CORPUS, METRIC, SIDES, SUMMARY, is_key, lacking, malformed
from slm_eval.run.identity import about

Clip = dict[str, Any]


@dataclass(frozen=True)
class FinishedRun:
    """What a run found out, by clip and in sum.

    Attributes:
        name: for people; the name of its folder.
        summary: the object of summary.json.
        clips: the objects of clips.jsonl by side, in the order of their ids.
        folder: where it was read from; None for an evaluation that was not written.
    """

    name: str
    summary: dict[str, Any]
    clips: dict[str, list[Clip]]
    folder: Path | None = None

    @classmethod
    def from_evaluation(cls, evaluation: Evaluation, name: str) -> FinishedRun:
        """Return an evaluation as if it had been written and read back."""
        clips = {side: [clip.to_dict() for clip in evaluation.clips[side]] for side in SIDES}
        return cls(name, evaluation.to_dict(), clips)

    @cached_property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """Key -> what summary.json says of it."""
        return {key: completed(key, metric) for key, metric in self.summary["metrics"].items()}

    def of_kind(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return what summary.json says of the keys of one kind, of ``metric.KINDS``."""
        return {key: metric for key, metric in self.metrics.items() if metric["kind"] == kind}

    @property
    def divergence_keys(self) -> dict[int, str]:
        """n -> the key of the divergence of n-grams, in the order of n."""
        return dict(sorted((int(key.partition(".")[2]), key) for key in self.of_kind("divergence")))

    @property
    def divergences(self) -> dict[int, dict[str, Any]]:
        """n -> what summary.json says of it, in the order of n."""
        return {n: self.metrics[key] for n, key in self.divergence_keys.items()}

    @property
    def score_keys(self) -> list[str]:
        """Keys of the per-clip metrics: means over clips."""
        return list(self.of_kind("score"))

    @property
    def cross_entropies(self) -> dict[str, dict[str, Any]]:
        """Key -> what summary.json says of a cross-entropy of phones."""
        return self.of_kind("cross_entropy")

    @property
    def corpus_metrics(self) -> dict[str, dict[str, Any]]:
        """Key -> what summary.json says of another number of two corpora, such as packages add."""
        return self.of_kind("corpus")

    def signature(self, key: str) -> Signature:
        """Return how a number was computed."""
        return Signature.parse(self.metrics[key]["signature"])

    def scores(self, key: str, side: str = "generated") -> dict[str, float]:
        """Clip id -> score, for the clips that this metric could score."""
        return {clip["id"]: clip["scores"][key] for clip in self.clips[side] if key in clip["scores"]}

    def phones(self, side: str = "generated") -> dict[str, list[str]]:
        """Clip id -> phones, for the clips that were recognised."""
        return {clip["id"]: clip["phones"] for clip in self.clips[side] if clip["phones"] is not None}


def is_run(path: Path) -> bool:
    """Return whether a path is the folder of a finished run, rather than speech."""
    return (path / "summary.json").is_file()


def read_run(folder: Path, known: dict[bytes, Clip] | None = None) -> FinishedRun:
    """Read a run's folder.

    Args:
        known: of ``read_clips``.

    Raises:
        UsageError: there is no finished run.
        SlmEvalError: its files are of another schema, damaged, or do not belong together; the message names the place.
    """
    if not is_run(folder):
        if (folder / "shard.json").is_file():
            raise UsageError(f"{folder} is one shard of a run; `slm-eval merge` puts shards together")
        raise UsageError(
            f"{folder} must be a finished run, but has no summary.json, which `slm-eval run` writes at its end"
        )
    summary = _parse(folder / "summary.json", _read(folder / "summary.json"), "")
    _check_summary(folder / "summary.json", summary)
    clips = read_clips(folder / "clips.jsonl", known)
    for side in SIDES:
        n_total = summary["corpora"][side]["n_total"]
        if n_total != len(clips[side]):
            raise SlmEvalError(
                f"{folder}: summary.json tells of {n_total} {side} clips, clips.jsonl holds {len(clips[side])}; "
                "one of the files was changed: run it again"
            )
    _check_digest(folder, summary)
    run = FinishedRun(_name(folder, summary), summary, clips, folder)
    require_fields(run)
    return run


def _name(folder: Path, summary: dict[str, Any]) -> str:
    """Return what the run was called by --name, else the name of its folder."""
    name = about(summary).get("name")
    return name if isinstance(name, str) else folder.resolve().name


def _check_digest(folder: Path, summary: dict[str, Any]) -> None:
    """Require both files to be of one run; summaries from before the digest was noted are taken as they are."""
    noted = about(summary).get("clips_sha256")
    if noted is not None and noted != content_digest(folder / "clips.jsonl"):
        raise SlmEvalError(
            f"{folder}: clips.jsonl is not the one that summary.json was made from: a run was stopped between the "
            "two, or one of them was changed; run it again (what was observed is kept)"
        )


def read_clips(path: Path, known: dict[bytes, Clip] | None = None) -> dict[str, list[Clip]]:
    """Return the objects of a clips.jsonl by side, in the order of their ids.

    Args:
        known: digests of lines of real speech that were read before, with their objects; those of this file are added.
            Runs against the same real speech share these lines, so that the second run is read in half the time.

    Raises:
        SlmEvalError: a line that is not what a run writes; the message gives its number.
    """
    clips: dict[str, list[Clip]] = {side: [] for side in SIDES}
    known = {} if known is None else known
    # Each phone and each name once: as strings of their own, the phones of 200,000 clips take 1.2 GB instead of 0.2.
    strings: dict[str, str] = {}
    try:
        with no_collection():
            for number, line in read_lines(path):
                digest = hashlib.blake2b(line.encode(), digest_size=16).digest()
                clip = known.get(digest)
                if clip is None:
                    clip = _parse(path, line, f" line {number}")
                    problem = _problem(clip)
                    if problem is not None:
                        raise SlmEvalError(f"{path} line {number}: {problem}")
                    clip = {strings.setdefault(name, name): value for name, value in clip.items()}
                    clip["scores"] = {strings.setdefault(key, key): score for key, score in clip["scores"].items()}
                    if clip["phones"] is not None:
                        clip["phones"] = list(map(strings.setdefault, clip["phones"], clip["phones"]))
                    if clip["side"] == "real":
                        known[digest] = clip
                clips[clip["side"]].append(clip)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    for side in clips:
        clips[side].sort(key=lambda clip: clip["id"])
        repeated = next(_repeated(clip["id"] for clip in clips[side]), None)
        if repeated is not None:
            raise SlmEvalError(f"{path}: the {side} clip {repeated!r} is there more than once")
    return clips


@contextmanager
def no_collection() -> Iterator[None]:
    """Do without Python's search for cycles, of which JSON makes none: among a million objects it is a third of all."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def require_fields(run: FinishedRun) -> None:
    """Refuse a summary that was edited by hand: one line, not a table with holes.

    Raises:
        SlmEvalError: it lacks fields that every run writes.
    """
    for key, metric in run.metrics.items():
        absent = lacking(metric)
        if absent:
            raise SlmEvalError(f"summary.json of {run.name} lacks {', '.join(absent)} of {key}; run it again")
    for side in SIDES:
        absent = [name for name in ("path", "n_scored", "n_failed") if name not in run.summary["corpora"][side]]
        if absent:
            raise SlmEvalError(
                f"summary.json of {run.name} lacks {', '.join(absent)} of the {side} corpus; run it again"
            )


def _check_summary(path: Path, summary: Any) -> None:
    if not isinstance(summary, dict) or "schema" not in summary:
        raise SlmEvalError(f"{path} must be a JSON object with a schema, got {str(summary)[:80]}; run it again")
    if summary["schema"] != SCHEMA:
        raise SlmEvalError(
            f"{path} must have schema {SCHEMA}, got {str(summary['schema'])[:40]}; run it again with this version"
        )
    try:
        parts = [("", summary, SUMMARY)]
        parts += [(f" of the {side} corpus", summary["corpora"][side], CORPUS) for side in SIDES]
        parts += [(f" of {key!r}", metric, METRIC) for key, metric in summary["metrics"].items()]
        for side in SIDES:
            _ = summary["version"], summary["corpora"][side]["n_total"]
    except (KeyError, TypeError, AttributeError) as error:
        raise SlmEvalError(f"{path} lacks a part that every run writes ({error}); run it again") from error
    for whose, values, checks in parts:
        if not isinstance(values, dict):
            raise SlmEvalError(f"{path}: what it says{whose} must be an object, got {repr(values)[:80]}; run it again")
        field = malformed(values, checks)
        if field is not None:
            got = repr(values.get(field))[:80]
            raise SlmEvalError(f"{path}: {field}{whose} is not what a run writes, got {got}; run it again")
    for key, metric in summary["metrics"].items():
        try:
            if not is_key(key, completed(key, metric)["kind"]) or "value" not in metric:
                raise ValueError("no value" if "value" not in metric else "no name of such a metric")
            Signature.parse(metric["signature"])
        except (KeyError, ValueError, SlmEvalError) as error:
            raise SlmEvalError(f"{path}: {key!r} has no value with a signature ({error}); run it again") from error


def _problem(clip: Any) -> str | None:
    """Return what is wrong with a line of clips.jsonl, or None."""
    if not isinstance(clip, dict) or not {"id", "side", "status", "scores", "phones"} <= clip.keys():
        return f"a clip must be an object with id, side, status, scores and phones, got {str(clip)[:80]}"
    if (field := malformed(clip, CLIP)) is not None:
        return f"{field} is not what a run writes, got {repr(clip.get(field))[:80]}"
    return None


def _read(path: Path) -> str:
    try:
        return read_text(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError | ValueError) -> SlmEvalError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return SlmEvalError(f"cannot read {path}: {reason}; a finished run has it, run it again")


def _parse(path: Path, text: str, where: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise SlmEvalError(f"{path}{where} was cut or edited ({error}); run it again") from error


def _repeated(ids: Iterable[str]) -> Iterator[str]:
    """Yield neighbours that are equal, in sorted ids."""
    before: str | None = None
    for clip_id in ids:
        if clip_id == before:
            yield clip_id
        before = clip_id
