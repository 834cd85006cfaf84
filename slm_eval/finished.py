"""A finished run, read back: summary.json and clips.jsonl, checked, for what is done with runs afterwards.

Comparing, ranking and reporting work on what a run wrote, or on an evaluation that was just made; both look the same
here. Files that were cut, edited or written by another version are refused with one line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slm_eval.errors import SlmEvalError, UsageError
from slm_eval.evaluation import SCHEMA, Evaluation
from slm_eval.identity import about
from slm_eval.signature import Signature
from slm_eval.store import content_digest
from slm_eval.strict_json import parse, read_lines, read_text

SIDES = ("generated", "real")
# What tables and pages show of every metric, and of some beyond that.
_OF_EACH = ("ci95", "unit", "higher_is_better")
_FIELDS_OF = {
    "pjsd": (*_OF_EACH, "floor", "floor_sd", "excess", "corrected", "coverage", "n_ngrams"),
    "plm": (*_OF_EACH, "real", "difference", "n_phones"),
}


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
    clips: dict[str, list[dict[str, Any]]]
    folder: Path | None = None

    @classmethod
    def of(cls, evaluation: Evaluation, name: str) -> FinishedRun:
        """An evaluation as if it had been written and read back."""
        clips = {side: [clip.to_dict() for clip in evaluation.clips[side]] for side in SIDES}
        return cls(name, evaluation.to_dict(), clips)

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """Key -> what summary.json says of it."""
        return self.summary["metrics"]

    @property
    def divergences(self) -> dict[int, dict[str, Any]]:
        """n -> what summary.json says of pJSD-n, in the order of n."""
        found = {int(key.partition(".")[2]): each for key, each in self.metrics.items() if key.startswith("pjsd.")}
        return dict(sorted(found.items()))

    @property
    def score_keys(self) -> list[str]:
        """Keys of the per-clip metrics: means over clips."""
        return [key for key, each in self.metrics.items() if not key.startswith("pjsd.") and {"sd", "n"} <= each.keys()]

    @property
    def cross_entropies(self) -> dict[str, dict[str, Any]]:
        """Key -> what summary.json says of plm."""
        return {key: each for key, each in self.metrics.items() if key.startswith("plm.")}

    @property
    def other_keys(self) -> list[str]:
        """Keys of metrics over whole corpora that other packages add: a value, and what every summary has."""
        ours = {*self.score_keys, *self.cross_entropies}
        return [key for key in self.metrics if not key.startswith("pjsd.") and key not in ours]

    def signature(self, key: str) -> Signature:
        """How a number was computed."""
        return Signature.parse(self.metrics[key]["signature"])

    def scores(self, key: str, side: str = "generated") -> dict[str, float]:
        """Clip id -> score, for the clips that this metric could score."""
        return {clip["id"]: clip["scores"][key] for clip in self.clips[side] if key in clip["scores"]}

    def phones(self, side: str = "generated") -> dict[str, list[str]]:
        """Clip id -> phones, for the clips that were recognised."""
        return {clip["id"]: clip["phones"] for clip in self.clips[side] if clip["phones"] is not None}


def is_run(path: Path) -> bool:
    """Whether a path is the folder of a finished run, rather than speech."""
    return (path / "summary.json").is_file()


def read_run(folder: Path) -> FinishedRun:
    """Read a run's folder.

    Raises:
        UsageError: there is no finished run.
        SlmEvalError: its files are of another schema, damaged, or do not belong together; the message names the place.
    """
    if not is_run(folder):
        if (folder / "shard.json").is_file():
            raise UsageError(f"{folder} is one shard of a run; `slm-eval merge` puts shards together")
        raise UsageError(f"{folder} is no finished run: it has no summary.json, which `slm-eval run` writes at its end")
    summary = _parse(folder / "summary.json", _read(folder / "summary.json"), "")
    _check_summary(folder / "summary.json", summary)
    clips = read_clips(folder / "clips.jsonl")
    for side in SIDES:
        told = summary["corpora"][side]["n_total"]
        if told != len(clips[side]):
            raise SlmEvalError(
                f"{folder}: summary.json tells of {told} {side} clips, clips.jsonl holds {len(clips[side])}; "
                "one of the files was changed: run it again"
            )
    _check_digest(folder, summary)
    return FinishedRun(_name(folder, summary), summary, clips, folder)


def _name(folder: Path, summary: dict[str, Any]) -> str:
    """What the run was called by --name, else its folder."""
    name = about(summary).get("name")
    return name if isinstance(name, str) else folder.resolve().name


def _check_digest(folder: Path, summary: dict[str, Any]) -> None:
    """Both files are of one run; summaries from before the digest was noted are taken as they are."""
    told = about(summary).get("clips_sha256")
    if told is not None and told != content_digest(folder / "clips.jsonl"):
        raise SlmEvalError(
            f"{folder}: clips.jsonl is not the one that summary.json was made from: a run was stopped between the "
            "two, or one of them was changed; run it again (what was observed is kept)"
        )


def read_clips(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The objects of a clips.jsonl by side, in the order of their ids.

    Raises:
        SlmEvalError: a line that is not what a run writes; the message gives its number.
    """
    clips: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    # Each phone once: as strings of their own, those of 200,000 clips take 1.2 GB instead of 0.2.
    phones: dict[str, str] = {}
    try:
        for number, line in read_lines(path):
            clip = _parse(path, line, f" line {number}")
            problem = _problem(clip)
            if problem is not None:
                raise SlmEvalError(f"{path} line {number}: {problem}")
            if clip["phones"] is not None:
                clip["phones"] = [phones.setdefault(phone, phone) for phone in clip["phones"]]
            clips[clip["side"]].append(clip)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    for side, of_side in clips.items():
        of_side.sort(key=lambda clip: clip["id"])
        repeated = next(_repeated(clip["id"] for clip in of_side), None)
        if repeated is not None:
            raise SlmEvalError(f"{path}: the {side} clip {repeated!r} is there more than once")
    return clips


def require_fields(run: FinishedRun) -> None:
    """Refuse a summary that was edited by hand: one line, not a table with holes.

    Raises:
        SlmEvalError: it lacks fields that every run writes.
    """
    for key, metric in run.metrics.items():
        fields = _FIELDS_OF.get(key.partition(".")[0], _OF_EACH)
        lacking = [name for name in fields if name not in metric]
        if lacking:
            raise SlmEvalError(f"summary.json of {run.name} lacks {', '.join(lacking)} of {key}; run it again")
    for side in SIDES:
        lacking = [name for name in ("path", "n_scored", "n_failed") if name not in run.summary["corpora"][side]]
        if lacking:
            raise SlmEvalError(
                f"summary.json of {run.name} lacks {', '.join(lacking)} of the {side} corpus; run it again"
            )


def _check_summary(path: Path, summary: Any) -> None:
    if not isinstance(summary, dict) or "schema" not in summary:
        raise SlmEvalError(f"{path} is no summary of a run: it does not say its schema")
    if summary["schema"] != SCHEMA:
        raise SlmEvalError(
            f"{path} has schema {summary['schema']}, this version reads {SCHEMA}; run it again with this one"
        )
    try:
        keys = {key: metric["signature"] for key, metric in summary["metrics"].items()}
        for side in SIDES:
            _ = summary["corpora"][side]["n_total"]
    except (KeyError, TypeError, AttributeError) as error:
        raise SlmEvalError(f"{path} lacks a part that every run writes ({error}); run it again") from error
    for key, signature in keys.items():
        try:
            Signature.parse(signature)
            float(summary["metrics"][key]["value"])
        except (KeyError, TypeError, ValueError, AttributeError, SlmEvalError) as error:
            raise SlmEvalError(f"{path}: {key} has no value with a signature ({error}); run it again") from error
        field = _malformed(summary["metrics"][key])
        if field is not None:
            raise SlmEvalError(f"{path}: {field} of {key} is not what a run writes; run it again")


def _malformed(metric: dict[str, Any]) -> str | None:
    """The first field of a metric, or of its real side, that holds something other than what a run writes there."""
    for name, held in metric.items():
        if name in {"real", "difference"} and isinstance(held, dict):
            inner = _malformed(held)
            if inner is not None:
                return f"{inner} of {name}"
        elif name in _FIELDS and not (held is None and name in _WITHHELD) and not _FIELDS[name](held):
            return name
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_interval(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _is_pair_of_sides(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_number(value.get(side)) for side in SIDES)


# What the fields of a metric hold; null only where a run withholds what the speech is too little for.
_WITHHELD = frozenset({"sd", "ci95", "floor", "floor_sd", "p", "excess", "corrected", "real", "scale"})
_FIELDS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("value", "sd", "n", "floor", "floor_sd", "p", "excess", "corrected", "coverage"), _is_number),
    "ci95": _is_interval,
    "scale": _is_interval,
    **dict.fromkeys(("n_ngrams", "n_phones"), _is_pair_of_sides),
}


def _problem(clip: Any) -> str | None:
    """What is wrong with a line of clips.jsonl, or None."""
    if not isinstance(clip, dict) or not {"id", "side", "status", "scores", "phones"} <= clip.keys():
        return "not a clip of a run: id, side, status, scores and phones are needed"
    if not isinstance(clip["id"], str) or clip["side"] not in SIDES:
        return f"id is a text and side one of {', '.join(SIDES)}, got {clip['id']!r} and {clip['side']!r}"
    if not isinstance(clip["scores"], dict):
        return f"scores of {clip['id']!r} are no object"
    for key, score in clip["scores"].items():
        if not _is_number(score):
            return f"{key} of {clip['id']!r} is {score!r}, not a score"
    phones = clip["phones"]
    if phones is not None and not (isinstance(phones, list) and set(map(type, phones)) <= {str}):
        return f"phones of {clip['id']!r} are no list of texts"
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
    """Neighbours that are equal, in sorted ids."""
    before: str | None = None
    for each in ids:
        if each == before:
            yield each
        before = each
