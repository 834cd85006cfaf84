"""Which recordings are trained on: those long enough, and in the language wanted (section 3.1 of the paper).

A step of its own before ``slm-zoo prepare``, which takes the manifest that it writes:

    DIR/kept.jsonl      {"id", "path", "speaker"[, "start", "end"], "seconds"}: what passed
    DIR/dropped.jsonl   {"id", "path", "reason", "why"}: what did not
    DIR/tags.jsonl      {"id", "path", "language_shares", "speech_seconds", "tagger"}: grows as recordings are heard, so
                        that a command that was stopped goes on; may be given as tags again
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from tqdm import tqdm

from model_zoo.data.sources import Source, collect, lengths
from model_zoo.data.tags import LanguageTagger, NotTaggedError, Tags
from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.files import dump, write_jsonl
from slm_eval.base.strict_json import parse
from slm_eval.speech.audio import AudioError


@dataclass(frozen=True)
class FilterOptions:
    """What passes.

    Raises:
        UsageError: a number out of range.
    """

    min_seconds: float = 300.0  # [paper] recordings over 5 min
    max_seconds: float | None = None
    language: str = "en"  # [paper]
    min_share: float = 0.99  # [paper] of the speech that is in that language
    progress: bool = False  # a bar on stderr

    def __post_init__(self) -> None:
        if self.min_seconds < 0 or (self.max_seconds is not None and self.max_seconds < self.min_seconds):
            raise UsageError(f"0 <= min seconds <= max seconds, got {self.min_seconds:g} and {self.max_seconds}")
        if not 0 <= self.min_share <= 1:
            raise UsageError(f"a share is 0 to 1, got {self.min_share:g}")


class Dropped(NamedTuple):
    """Why a recording does not pass."""

    reason: str  # too_short, too_long, unreadable, untagged, no_speech or language
    why: str  # one line


@dataclass(frozen=True)
class Filtered:
    """What ``filter_speech`` decided, by id."""

    kept: dict[str, float]  # seconds
    dropped: dict[str, Dropped]


def filter_speech(
    sources: Sequence[str | Path], output: Path, options: FilterOptions, tagger: LanguageTagger | None
) -> Filtered:
    """Write which recordings pass and why the others do not.

    Args:
        sources: folders, lists or manifests, as ``slm-zoo prepare`` takes them.
        tagger: finds languages; None: any language passes.

    Raises:
        UsageError: a source cannot be read, or the folder holds tags of another tagger.
        SlmEvalError: the folder cannot be written.
    """
    recordings = collect(sources)
    seconds = lengths(recordings)
    dropped = {
        source.id: why
        for source in recordings
        if (why := _unwritable(source) or _wrong_length(seconds[source.id], options))
    }
    if tagger is not None:
        todo = [source for source in recordings if source.id not in dropped]
        dropped |= _wrong_language(todo, output / "tags.jsonl", options, tagger)
    kept = {source.id: seconds[source.id] for source in recordings if source.id not in dropped}
    write_jsonl(output / "dropped.jsonl", (_dropped(source, dropped) for source in recordings if source.id in dropped))
    write_jsonl(output / "kept.jsonl", (_kept(source, kept[source.id]) for source in recordings if source.id in kept))
    return Filtered(kept, dropped)


def _unwritable(source: Source) -> Dropped | None:
    """Return why a path cannot stand in a manifest, or None."""
    try:
        str(source.path.resolve()).encode()
    except UnicodeEncodeError:
        return Dropped("unreadable", "its path is not UTF-8, and cannot stand in a manifest; rename it")
    return None


def _wrong_length(seconds: float, options: FilterOptions) -> Dropped | None:
    if seconds == 0:
        return Dropped("unreadable", "its length cannot be read")
    if seconds < options.min_seconds:
        return Dropped("too_short", f"{seconds:.1f} s, shorter than {options.min_seconds:g} s")
    if options.max_seconds is not None and seconds > options.max_seconds:
        return Dropped("too_long", f"{seconds:.1f} s, longer than {options.max_seconds:g} s")
    return None


def _wrong_language(
    recordings: list[Source], path: Path, options: FilterOptions, tagger: LanguageTagger
) -> dict[str, Dropped]:
    """Return the recordings that do not pass, by id."""
    tags = _read_tags(path, tagger)
    dropped: dict[str, Dropped] = {}
    bar = tqdm(recordings, desc="tagging", unit="recording", disable=not options.progress)
    with _journal(path, tags.values()) as journal, bar:
        for source in bar:
            try:
                if source.id not in tags:
                    tags[source.id] = _line(source, tagger.tag(source), tagger)
                    _append(journal, path, tags[source.id])
                why = _not_enough(tags[source.id], options)
            except AudioError as error:
                why = Dropped("unreadable", error.message)
            except NotTaggedError as error:
                why = Dropped("untagged", str(error))
            if why is not None:
                dropped[source.id] = why
    return dropped


def _not_enough(tag: dict[str, Any], options: FilterOptions) -> Dropped | None:
    shares = tag["language_shares"]
    share = shares.get(options.language, 0.0)
    if share >= options.min_share:
        return None
    if not shares:
        return Dropped("no_speech", "no speech was heard")
    others = ", ".join(f"{language} {value:.4f}" for language, value in list(shares.items())[:3])
    line = f"{share:.4f} of the speech is {options.language}, less than {options.min_share:g} ({others})"
    return Dropped("language", line)


def _line(source: Source, tags: Tags, tagger: LanguageTagger) -> dict[str, Any]:
    return {
        "id": source.id,
        "path": str(source.path.resolve()),
        "language_shares": {language: round(share, 6) for language, share in tags.shares.items()},
        "speech_seconds": tags.speech_seconds,
        "tagger": tagger.name,
    }


def _read_tags(path: Path, tagger: LanguageTagger) -> dict[str, dict[str, Any]]:
    """Read the lines of an earlier call; one that was cut off by a kill is left out.

    Raises:
        UsageError: they are of another tagger.
    """
    if not path.exists():
        return {}
    tags: dict[str, dict[str, Any]] = {}
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines[:-1], start=1):  # behind the last line break there is nothing, or half a line
        try:
            entry = parse(line)
            _ = entry["id"], dict(entry["language_shares"])
        except (ValueError, KeyError, TypeError) as error:
            raise SlmEvalError(
                f"{path}, line {number} must be a tag, got {line[:80]!r} ({error}); remove that line"
            ) from error
        if entry.get("tagger") != tagger.name:
            raise UsageError(
                f"{path} holds tags of {entry.get('tagger')}, not of {tagger.name}; choose another folder, or give "
                "them by --tags"
            )
        tags[entry["id"]] = entry
    return tags


@contextmanager
def _journal(path: Path, lines: Any) -> Iterator[TextIO]:
    """Open the file of tags for more lines, without half ones."""
    write_jsonl(path, lines)
    with path.open("a", encoding="utf-8") as file:
        yield file


def _append(journal: TextIO, path: Path, line: dict[str, Any]) -> None:
    try:
        journal.write(dump(line) + "\n")
        journal.flush()
    except OSError as error:
        raise SlmEvalError(f"cannot write {path}: {error.strerror}; make room or choose another --output") from error


def _dropped(source: Source, why: dict[str, Dropped]) -> dict[str, Any]:
    path = str(source.path.resolve()).encode("utf-8", "backslashreplace").decode()
    return {"id": source.id, "path": path, **why[source.id]._asdict()}


def _kept(source: Source, seconds: float) -> dict[str, Any]:
    """Return a line of a manifest. Its speaker is the group, so that what may be joined stays the same."""
    line: dict[str, Any] = {"id": source.id, "path": str(source.path.resolve()), "speaker": source.group}
    line |= {name: value for name in ("start", "end") if (value := getattr(source, name)) is not None}
    return {**line, "seconds": round(seconds, 3)}
