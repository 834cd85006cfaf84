"""The observation cache: (audio content digest, observer fingerprint) -> observation, in one SQLite file.

A run that was stopped continues from here, a second run is free, and a changed option never meets old results, because
it changes the fingerprint. Several runs may use one file at once: each batch is one transaction, and SQLite's own
journal makes that all or nothing, also when the process is killed. The journal mode is the default one, not WAL, since
home folders on clusters are network file systems, where WAL does not work.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from types import TracebackType

from slm_eval.errors import SlmEvalError
from slm_eval.observer import Observation

_BUSY_SECONDS = 120.0  # how long one run waits while another one writes
_SCHEMA = """
CREATE TABLE IF NOT EXISTS fingerprints (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS observations (
    content TEXT NOT NULL, fingerprint INTEGER NOT NULL REFERENCES fingerprints (id), value TEXT NOT NULL,
    PRIMARY KEY (content, fingerprint)
) WITHOUT ROWID;
"""


def cache_folder() -> Path:
    """Where weights and observations are kept: ``$SLM_EVAL_CACHE``, else ``~/.cache/slm_eval``."""
    return Path(os.environ.get("SLM_EVAL_CACHE") or Path.home() / ".cache" / "slm_eval").expanduser()


def content_digest(path: Path, start: float | None = None, end: float | None = None) -> str:
    """Digest of a file's bytes (and of the part of it that is meant): what a clip is, wherever it lies.

    Raises:
        OSError: the file cannot be read.
    """
    if start is None and end is None:
        return _file_digest(path)
    return f"{_remembered_digest(path, file_state(path))}:{start}-{end}"


def file_state(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is replaced or written to: which file it is, its size and its times.

    Raises:
        OSError: there is no such file.
    """
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else _sha256(file)
    return digest.hexdigest()


@lru_cache(maxsize=256)
def _remembered_digest(path: Path, state: tuple[int, ...]) -> str:
    """Return the digest of a file that is cut into segments, read once while nothing about it changes."""
    return _file_digest(path)


class Store:
    """Observations by content digest and fingerprint.

    Args:
        path: the SQLite file; made, with its folder, where it does not exist.

    Raises:
        SlmEvalError: from every method, where the file cannot be used; the message says what to do.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            self._connection.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        self._ids: dict[str, int] = {}

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def get(self, contents: Sequence[str], fingerprint: str) -> dict[str, Observation]:
        """The observations that are there, by content digest."""
        found: dict[str, Observation] = {}
        try:
            identifier = self._fingerprint_id(fingerprint)
            for at in range(0, len(contents), 500):  # SQLite's limit on parameters is 999 in old builds
                some = contents[at : at + 500]
                marks = ",".join("?" * len(some))
                rows = self._connection.execute(
                    f"SELECT content, value FROM observations WHERE fingerprint = ? AND content IN ({marks})",
                    (identifier, *some),
                )
                found.update((content, json.loads(value)) for content, value in rows)
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        return found

    def put(self, rows: Iterable[tuple[str, str, Observation]]) -> None:
        """Write (content digest, fingerprint, observation) rows in one transaction: all of them or none."""
        try:
            values = [
                (content, self._fingerprint_id(fingerprint), json.dumps(observation, ensure_ascii=False))
                for content, fingerprint, observation in rows
            ]
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany("INSERT OR REPLACE INTO observations VALUES (?, ?, ?)", values)
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _fingerprint_id(self, fingerprint: str) -> int:
        if fingerprint not in self._ids:
            self._connection.execute("INSERT OR IGNORE INTO fingerprints (fingerprint) VALUES (?)", (fingerprint,))
            row = self._connection.execute("SELECT id FROM fingerprints WHERE fingerprint = ?", (fingerprint,))
            self._ids[fingerprint] = row.fetchone()[0]
        return self._ids[fingerprint]

    def _unusable(self, error: Exception) -> SlmEvalError:
        advice = (
            "delete it"
            if isinstance(error, sqlite3.DatabaseError) and "not a database" in str(error)
            else ("free space there, or set SLM_EVAL_CACHE to a folder that can be written")
        )
        return SlmEvalError(f"the cache {self.path} cannot be used: {error}; {advice}")


def _sha256(file: object) -> hashlib._Hash:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):  # type: ignore[attr-defined]
        digest.update(block)
    return digest
