"""Which languages a recording is in: the interface of what finds out, and tags that somebody else has found."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from model_zoo.data.sources import Source
from slm_eval.base.errors import UsageError
from slm_eval.base.strict_json import parse, read_text


class NotTaggedError(Exception):
    """Nothing is known of a recording; the message says why."""


@dataclass(frozen=True)
class Tags:
    """What a tagger found."""

    shares: Mapping[str, float]  # of the speech, by language code; they sum to 1, to less where the rest is unknown
    speech_seconds: float | None = None  # None: not known


class LanguageTagger(Protocol):
    """Finds the languages of a recording: a function of its audio and of ``name`` alone."""

    @property
    def name(self) -> str:
        """Return all that decides its tags: tags of another name are never mixed with these."""

    def tag(self, source: Source) -> Tags:
        """Tag a recording.

        Raises:
            NotTaggedError: nothing is known of this one.
            AudioError: it cannot be decoded.
        """


class ManifestTagger:
    """Tags of a JSONL file, by id or else by path: ``{"id", "language_shares": {"en": 0.995}}``.

    ``"language": "en"`` says that all of the speech is. Paths are relative to the folder that the file lies in.

    Raises:
        UsageError: the file cannot be read, or a line of it (with its number).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            text = read_text(path)
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot read {path} as tags: {error}") from error
        self.name = f"tags {hashlib.sha256(text.encode()).hexdigest()[:16]}"
        self._tags: dict[str, Tags] = {}
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip():
                continue
            try:
                entry = parse(line)
                self._tags[self._key(entry)] = _tags(entry)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UsageError(
                    f'{path}, line {number}: expected {{"id" or "path", "language_shares": {{"en": 0.995}} or '
                    f'"language": "en"}}, got {line[:80]!r} ({type(error).__name__}: {error})'
                ) from error

    def _key(self, entry: dict[str, Any]) -> str:
        key = entry.get("id") or str((self._path.parent / entry["path"]).resolve())
        if not isinstance(key, str):
            raise TypeError("ids and paths are strings")
        return key

    def tag(self, source: Source) -> Tags:
        """Look a recording up.

        Raises:
            NotTaggedError: the file does not name this recording.
        """
        tags = self._tags.get(source.id) or self._tags.get(str(source.path.resolve()))
        if tags is None:
            raise NotTaggedError(f"not in {self._path.name}")
        return tags


def _tags(entry: dict[str, Any]) -> Tags:
    if "language_shares" not in entry:
        language = entry["language"]
        if not isinstance(language, str):
            raise TypeError("language is a code such as 'en'")
        return Tags({language: 1.0}, entry.get("speech_seconds"))
    shares = {str(language): float(share) for language, share in entry["language_shares"].items()}
    if not all(0 <= share <= 1 for share in shares.values()) or sum(shares.values()) > 1 + 1e-6:
        raise ValueError("shares are 0 to 1 and sum to 1 at most")
    return Tags(shares, entry.get("speech_seconds"))
