"""systems.yaml: which systems are ranked, against what, by which metrics. Read strictly: a key that is not known is an
error, since a misspelt one would silently change what is ranked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from speech import DEGRADATIONS, Speech

from slm_eval.base.errors import UsageError, unknown_name
from slm_eval.run.share import parse_share

# As for `slm-eval run`; None: as there by default.
_SETTINGS: dict[str, Any] = {"metrics": None, "recognizer": "auto", "lang": None, "ngrams": "1-5", "log_base": "e"}
_ABOUT = ("citation", "link", "notes")


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
        """Its name as that of a folder."""
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


def read_entries(path: Path) -> Entries:
    """Read systems.yaml; paths in it are relative to the folder that it lies in.

    Raises:
        UsageError: it is no YAML, or says what is not known; the message names the place.
    """
    told = read_yaml(path)
    _require_keys(told, {"real", "systems"}, {*_SETTINGS, "seed", "sort"}, str(path))
    listed = told["systems"]
    if not isinstance(listed, list) or not listed:
        raise UsageError(f"{path}: systems is a list of name and generated, got {listed!r}")
    systems = tuple(_entry(each, path, f"{path}: system {at}") for at, each in enumerate(listed, start=1))
    _refuse_shared_folders(systems, path)
    settings = {key: _text(told.get(key, default), f"{path}: {key}") for key, default in _SETTINGS.items()}
    seed = told.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UsageError(f"{path}: seed is a whole number, got {seed!r}")
    real = _speech(told["real"], path, f"{path}: real")
    return Entries(real, settings, seed, _text(told.get("sort"), f"{path}: sort"), systems)


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping, read without making any object but plain values.

    Raises:
        UsageError: it cannot be read or is none.
    """
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read {path} as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(told, dict):
        raise UsageError(f"{path} holds no mapping; the systems.yaml beside make.py is an example")
    return told


def _entry(told: Any, path: Path, where: str) -> Entry:
    if not isinstance(told, dict):
        raise UsageError(f"{where}: expected name and generated, got {told!r}")
    _require_keys(told, {"name", "generated"}, set(_ABOUT), where)
    name = _text(told["name"], f"{where}: name")
    if not name:
        raise UsageError(f"{where} has no name")
    about = {key: _text(told.get(key), f"{where}: {key}") for key in _ABOUT}
    notes = " ".join(each for each in (about["citation"], about["notes"]) if each) or None
    return Entry(name, _speech(told["generated"], path, f"{where}: generated"), about["link"], notes)


def _speech(told: Any, path: Path, where: str) -> Speech:
    """A path, or a mapping of path, part and degradation."""
    if isinstance(told, str):
        told = {"path": told}
    if not isinstance(told, dict):
        raise UsageError(f"{where}: expected a path, or path with part and degradation, got {told!r}")
    _require_keys(told, {"path"}, {"part", "degradation"}, where)
    found = {key: _text(value, f"{where}: {key}") for key, value in told.items()}
    degradation = found.get("degradation")
    if degradation is not None and degradation not in DEGRADATIONS:
        raise unknown_name("degradation", degradation, DEGRADATIONS)
    if found.get("part") is not None:
        parse_share(found["part"] or "")
    if not found["path"]:
        raise UsageError(f"{where} has no path")
    return Speech(Path(os.path.normpath(path.parent / found["path"])), found.get("part"), degradation)


def _require_keys(told: Mapping[str, Any], needed: set[str], optional: set[str], where: str) -> None:
    lacking = sorted(needed - told.keys())
    if lacking:
        raise UsageError(f"{where} lacks {', '.join(lacking)}")
    unknown = next((key for key in told if key not in needed | optional), None)
    if unknown is not None:
        raise UsageError(f"{where}: {unknown!r} is not known; known are {', '.join(sorted(needed | optional))}")


def _text(value: Any, where: str) -> str | None:
    """A scalar as it was written: ``ngrams: 5`` and ``log_base: 2`` are numbers to YAML."""
    if isinstance(value, (dict, list, bool)):
        raise UsageError(f"{where} is a text, got {value!r}")
    return None if value is None else str(value)


def _refuse_shared_folders(systems: tuple[Entry, ...], path: Path) -> None:
    first: dict[str, str] = {}
    for entry in systems:
        other = first.setdefault(entry.slug.casefold(), entry.name)
        if other != entry.name or [each.name for each in systems].count(entry.name) > 1:
            raise UsageError(
                f"{path}: systems need names that differ in letters or digits; {entry.name!r} and {other!r} do not"
            )
