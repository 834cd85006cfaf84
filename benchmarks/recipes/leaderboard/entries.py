"""systems.yaml: which systems are ranked, against what, by which metrics. Read strictly: a key that is not known is an
error, since a misspelt one would silently change what is ranked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from speech import Speech

from model_zoo.plain_yaml import read_yaml
from model_zoo.values import build
from slm_eval.base.errors import UsageError

_SETTINGS = ("metrics", "recognizer", "lang", "ngrams", "log_base")


@dataclass(frozen=True)
class Entry:
    """A system of the list.

    Attributes:
        name: in the leaderboard.
        speech: what it generated.
        link: to a paper or a repository.
        notes: what is known of it, its citation first.
    """

    name: str
    speech: Speech
    link: str | None = None
    notes: str | None = None

    @property
    def slug(self) -> str:
        """Return its name as that of a folder."""
        return re.sub(r"[^\w.-]+", "-", self.name).strip("-.") or "system"


@dataclass(frozen=True)
class Entries:
    """The list.

    Attributes:
        real: what all are compared with.
        settings: of ``slm-eval run``: metrics, recognizer, lang, ngrams, log_base.
        seed: of the random draws.
        sort: key of the metric that orders the systems; None: as ``slm-eval leaderboard`` chooses.
        systems: at least one; no two of a name.
    """

    real: Speech
    settings: Mapping[str, str | None]
    seed: int
    sort: str | None
    systems: tuple[Entry, ...]


@dataclass(frozen=True)
class _System:
    """A system of the file."""

    name: str
    generated: Path | Speech
    citation: str | None = None
    link: str | None = None
    notes: str | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise UsageError("name must not be empty")


@dataclass(frozen=True)
class _File:
    """What the file says."""

    real: Path | Speech
    systems: tuple[_System, ...]
    metrics: str | None = None  # these are as for `slm-eval run`
    recognizer: str = "auto"
    lang: str | None = None
    ngrams: str = "1-5"
    log_base: str = "e"
    seed: int = 0
    sort: str | None = None

    def __post_init__(self) -> None:
        if not self.systems:
            raise UsageError("systems must be a list of name and generated, got none")


def read_entries(path: Path) -> Entries:
    """Read systems.yaml; paths in it are relative to the folder that it lies in.

    Raises:
        UsageError: it is no YAML, or says what is not known; the message names the place.
    """
    file = build(_File, read_yaml(path), f"{path}: ")
    systems = tuple(_entry(system, path.parent) for system in file.systems)
    _refuse_shared_folders(systems, path)
    settings = {name: getattr(file, name) for name in _SETTINGS}
    return Entries(_below(path.parent, file.real), settings, file.seed, file.sort, systems)


def _entry(system: _System, folder: Path) -> Entry:
    notes = " ".join(text for text in (system.citation, system.notes) if text) or None
    return Entry(system.name, _below(folder, system.generated), system.link, notes)


def _below(folder: Path, speech: Path | Speech) -> Speech:
    """Return speech whose path is relative to a folder."""
    if isinstance(speech, Path):
        speech = Speech(speech)
    return replace(speech, path=Path(os.path.normpath(folder / speech.path)))


def _refuse_shared_folders(systems: tuple[Entry, ...], path: Path) -> None:
    first: dict[str, str] = {}
    for entry in systems:
        other = first.setdefault(entry.slug.casefold(), entry.name)
        if other != entry.name or [system.name for system in systems].count(entry.name) > 1:
            raise UsageError(
                f"{path}: systems need names that differ in letters or digits; {entry.name!r} and {other!r} do not"
            )
