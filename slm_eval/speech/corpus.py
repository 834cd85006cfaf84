"""What is scored: a folder, a file list, a kaldi wav.scp, a JSONL manifest or ready-made phones, as clips with ids.

Ids are relative paths (or those that the file gives), a duplicate is an error, and the order is that of the sorted ids,
so that a corpus is the same on every machine. What is not audio is not read, but counted.
"""

from __future__ import annotations

import os
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from slm_eval.base.errors import UsageError
from slm_eval.base.strict_json import parse, read_lines
from slm_eval.speech.audio import EXTENSIONS
from slm_eval.speech.clusters import LABELS
from slm_eval.speech.provenance import NAME as PROVENANCE
from slm_eval.speech.provenance import read_provenance

_MAX_SECONDS = 1e9  # 31 years; beyond, positions in samples are no longer exact
_MAX_TEXT = 16_384  # bytes: the longest path there is, when every byte of it has to be written as \\xff


@dataclass(frozen=True)
class Clip:
    """One thing to score. ``path`` is None for ready-made phones, ``phones`` is None for audio."""

    id: str
    path: Path | None = None
    start: float | None = None  # seconds; None: from the beginning
    end: float | None = None  # seconds; None: to the end
    phones: tuple[str, ...] | None = None
    seconds: float | None = None  # of ready-made phones, where they say it
    recognizer: str | None = None  # fingerprint of what recognised ready-made phones, where they say it
    speaker: str | None = None  # clips of one speaker, or of one prompt, are drawn together: see clusters.py
    prompt: str | None = None

    @property
    def labels(self) -> dict[str, str]:
        """Return speaker and prompt, where they are known."""
        return {name: label for name in LABELS if (label := getattr(self, name)) is not None}


@dataclass(frozen=True)
class Corpus:
    """Clips in the order of their ids, how many files were passed over and why, and what the folder says of itself."""

    path: str
    clips: tuple[Clip, ...]
    ignored: dict[str, int] = field(default_factory=dict)
    provenance: dict[str, Any] | None = None  # of provenance.json in the folder: how the speech was made

    @property
    def has_audio(self) -> bool:
        """Return whether the clips are audio; ready-made phones are not, and only metrics of phones can score those."""
        return self.clips[0].path is not None

    def limit(self, n: int | None) -> Corpus:
        """Return the corpus of the first ``n`` clips in the order of ids; all of them where ``n`` is None."""
        return self if n is None else replace(self, clips=self.clips[:n])


def load_corpus(path: str | os.PathLike[str]) -> Corpus:
    """Read any of the formats that the command line takes.

    A folder is searched recursively. A file is read by its name: ``*.scp`` as kaldi wav.scp, ``*.jsonl`` as a manifest
    (``{"id", "path"[, "start", "end"]}``) or ready-made phones (``{"id", "phones"}``), either with ``"speaker"`` and
    ``"prompt"`` where clips of one are alike, an audio file as a corpus of one clip, anything else as a list of paths,
    one a line. Paths in a file are relative to the folder that it lies in.

    Raises:
        UsageError: no such path, a line that cannot be read (with its number), ids that collide, or no clip at all.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"{path} does not exist; expected a folder, a file list, wav.scp or *.jsonl")
    ignored: Counter[str] = Counter()
    provenance = read_provenance(path) if path.is_dir() else None
    if path.is_dir():
        clips = list(_from_folder(path, ignored))
    elif path.suffix == ".scp":
        clips = list(_from_scp(path))
    elif path.suffix in {".jsonl", ".json"}:
        clips = list(_from_jsonl(path))
    elif path.suffix.lower() in EXTENSIONS:
        clips = [Clip(_printable(path.name), path)]
    else:
        clips = list(_from_list(path))
    if not clips:
        held = f" ({count_ignored(ignored)})" if ignored else ""
        raise UsageError(f"no audio in {path}{held}; readable are {' '.join(sorted(EXTENSIONS))}")
    _refuse_duplicates(path, clips)
    if len({clip.path is None for clip in clips}) > 1:
        raise UsageError(f"{path} mixes audio and ready-made phones; put them into two corpora")
    in_order = tuple(sorted(clips, key=lambda clip: clip.id))
    return Corpus(_printable(str(path)), in_order, dict(sorted(ignored.items())), provenance)


def _from_folder(root: Path, ignored: Counter[str]) -> Iterator[Clip]:
    """Yield the audio files below a folder, links followed; no folder is entered twice, however many links lead to it.

    Links are followed after everything else and in the order of names, so that the ids are the same on every machine.
    """
    entered: set[tuple[int, int]] = set()
    folders, links = [root], deque[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.popleft()
        identity, entries = _list(folder)
        if identity in entered:
            ignored["link_loop"] += 1
            continue
        entered.add(identity)
        for entry in entries:
            if entry.name.startswith("."):
                ignored["hidden"] += 1
            elif _is_folder(entry):
                (links if entry.is_symlink() else folders).append(Path(entry.path))
            elif entry.name == PROVENANCE and folder == root:
                continue
            elif os.path.splitext(entry.name)[1].lower() not in EXTENSIONS:
                ignored[_kind(entry.name)] += 1
            else:
                yield Clip(_printable(Path(entry.path).relative_to(root).as_posix()), Path(entry.path))


def _list(folder: Path) -> tuple[tuple[int, int], list[os.DirEntry[str]]]:
    """Return what tells a folder from every other, and what is in it, by name.

    Raises:
        UsageError: it cannot be listed: skipped silently, its clips would be missing in the account.
    """
    try:
        status = folder.stat()
        with os.scandir(folder) as entries:
            return (status.st_dev, status.st_ino), sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UsageError(f"cannot list {folder}: {error.strerror}; check its permissions") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or one that may not be followed: reading it as a file will say so
        return False


def _from_list(path: Path) -> Iterator[Clip]:
    """Read one path a line. Ids are the paths relative to the deepest folder that holds them all."""
    files = []
    for number, line in _lines(path):
        with _in_line(path, number, line, "a path"):
            files.append(path.parent / _plain(line, "the path"))
    if not files:
        return
    root = os.path.commonpath([os.path.abspath(file.parent) for file in files])
    for file in files:
        yield Clip(_printable(Path(os.path.relpath(os.path.abspath(file), root)).as_posix()), file)


def _from_scp(path: Path) -> Iterator[Clip]:
    """Read Kaldi's ``utterance-id path``. Commands (a line that ends in ``|``) are never run."""
    for number, line in _lines(path):
        with _in_line(path, number, line, "'utterance-id path'"):
            identifier, *rest = re.split("[ \t]+", line, maxsplit=1)
            if not rest:
                raise ValueError("the path is missing")
            if line.endswith("|"):
                raise ValueError("commands are not run; write the audio to files and list those")
            clip = Clip(_plain(identifier, "the id"), path.parent / _plain(rest[0], "the path"))
        yield clip


def _from_jsonl(path: Path) -> Iterator[Clip]:
    """Read a manifest of audio, or ready-made phones, one JSON object a line."""
    for number, line in _lines(path):
        with _in_line(path, number, line, '{"id", "path"[, "start", "end"]} or {"id", "phones"}'):
            entry = parse(line)
            if not isinstance(entry, dict):
                raise ValueError(f"a line must hold a JSON object, got {type(entry).__name__}")
            clip = _phones_clip(entry) if "phones" in entry else _manifest_clip(entry, path.parent)
        yield clip


@contextmanager
def _in_line(path: Path, number: int, line: str, expected: str) -> Iterator[None]:
    """Say of an error inside in which line it is."""
    try:
        yield
    except ValueError as error:
        raise UsageError(f"{path}, line {number}: expected {expected}, got {line[:80]!r} ({error})") from error


def _manifest_clip(entry: dict[str, Any], folder: Path) -> Clip:
    start, end = _seconds(entry, "start"), _seconds(entry, "end")
    if end is not None and not end > (start or 0.0):
        raise ValueError(f"start and end must be seconds with 0 <= start < end, got start {start} and end {end}")
    return Clip(_text(entry, "id"), folder / _text(entry, "path"), start, end, **_labels(entry))


def _phones_clip(entry: dict[str, Any]) -> Clip:
    phones = entry["phones"]
    if not isinstance(phones, list) or not all(isinstance(phone, str) and phone for phone in phones):
        raise ValueError(f"phones must be a list of non-empty strings, got {repr(phones)[:40]}")
    return Clip(
        _text(entry, "id"),
        phones=tuple(_plain(phone, "a phone") for phone in phones),
        seconds=_seconds(entry, "seconds"),
        recognizer=None if entry.get("recognizer") is None else _text(entry, "recognizer"),
        **_labels(entry),
    )


def _labels(entry: dict[str, Any]) -> dict[str, Any]:
    """Return speaker and prompt, where the line names them; null is no name."""
    return {name: _text(entry, name) for name in LABELS if entry.get(name) is not None}


def _seconds(entry: dict[str, Any], key: str) -> float | None:
    value = entry.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _MAX_SECONDS:
        raise ValueError(f"{key} must be seconds from 0 to {_MAX_SECONDS:.0e}, got {repr(value)[:40]}")
    return float(value)


def _text(entry: dict[str, Any], key: str) -> str:
    if key not in entry:
        raise ValueError(f"{key!r} is missing")
    value = entry[key]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} must be a non-empty string, got {repr(value)[:40]}")
    return _plain(value, key)


def _plain(text: str, what: str) -> str:
    """Return the text, if a file could be called so; ids become names of files, and go through lists and tables."""
    if "\0" in text:
        raise ValueError(f"{what} must not hold a NUL character")
    if len(text.encode()) > _MAX_TEXT:
        raise ValueError(f"{what} must have at most {_MAX_TEXT} bytes, got {len(text.encode())}")
    return text


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield numbered lines that hold something."""
    try:
        yield from read_lines(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path} as a list of clips: {error}") from error


def _printable(name: str) -> str:
    """Return a name that can be written as UTF-8, whatever bytes the file system holds."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _refuse_duplicates(path: Path, clips: Iterable[Clip]) -> None:
    repeated = [identifier for identifier, count in Counter(clip.id for clip in clips).items() if count > 1]
    if repeated:
        shown = ", ".join(map(repr, sorted(repeated)[:3]))
        raise UsageError(f"{path}: {len(repeated)} ids occur more than once ({shown}); ids have to be unique")


def _kind(name: str) -> str:
    """Return the end of a file's name, as far as it is a common one."""
    end = os.path.splitext(name)[1].lower()
    return end if re.fullmatch(r"\.[a-z][a-z0-9]{0,9}", end) else "other"


def count_ignored(ignored: Mapping[str, int]) -> str:
    """Return what a folder held that is no audio, the most frequent first: "3 .txt, 1 .json, 2 hidden"."""
    return ", ".join(
        f"{count:,} {kind}" for kind, count in sorted(ignored.items(), key=lambda item: (-item[1], item[0]))
    )
