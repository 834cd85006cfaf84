"""The observation cache: (audio content digest, observer fingerprint) -> observation, in one SQLite file.

A run that was stopped continues from here, a second run is free, and a changed option never meets old results, because
it changes the fingerprint. Several runs may use one file at once: each batch is one transaction, and SQLite's own
journal makes that all or nothing, also when the process is killed. The journal mode is the default one, not WAL, since
home folders on clusters are network file systems, where WAL does not work.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from slm_eval.base.errors import SlmEvalError
from slm_eval.observing.observer import Observation

_BUSY_SECONDS = 120.0  # how long one run waits while another one writes
# PRAGMA user_version of the file. 0: without checksums, from before there were versions; it is brought up to date.
_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS fingerprints (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS observations (
    content TEXT NOT NULL, fingerprint INTEGER NOT NULL REFERENCES fingerprints (id), value TEXT NOT NULL,
    checksum TEXT, PRIMARY KEY (content, fingerprint)
) WITHOUT ROWID
"""
# What SQLite says of a file that it could read and cannot write, and of a folder that cannot hold its journal.
_NOT_WRITABLE = ("readonly database", "unable to open database file")
_NO_SPACE = ("disk is full", "disk I/O error")
# What to do, by what SQLite says; what is not listed says that the file is damaged.
_ELSEWHERE = "or set SLM_EVAL_CACHE to another folder"
_ADVICE = {
    "disk is full": f"free space there, {_ELSEWHERE}",
    "locked": f"another run has been writing to it for {_BUSY_SECONDS:.0f} s: wait until it ends, {_ELSEWHERE}",
    "readonly database": "set SLM_EVAL_CACHE to a folder that can be written",
    "unable to open": "set SLM_EVAL_CACHE to a folder that can be written",
    "disk I/O error": f"check that disk, {_ELSEWHERE}",
}
_DAMAGED = "it is damaged: delete it, and what it held is observed again"


class Store:
    """Observations by content digest and fingerprint.

    Each row carries a checksum. One that does not fit its row is as if it were not there, so that it is observed again;
    ``damaged`` counts those that were met. A file that cannot be written is read, and nothing is put into it.

    Args:
        path: the SQLite file; made, with its folder, where it does not exist.

    Raises:
        SlmEvalError: from every method, where the file cannot be used; the message says what to do.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged = 0
        self._ids: dict[str, int] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            advice = "set SLM_EVAL_CACHE to a folder that can be written"
            raise SlmEvalError(f"the cache {path} cannot be made: {error.strerror}; {advice}") from error
        with self._errors():
            self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            # A text that is no UTF-8 is one damaged row, and no error that ends the run.
            self._connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            self.writable = self._bring_up_to_date()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def get(self, contents: Sequence[str], fingerprint: str) -> dict[str, Observation]:
        """Return the observations that are there, by content digest."""
        observations: dict[str, Observation] = {}
        with self._errors():
            identifier = self._fingerprint_id(fingerprint)
            for first in range(0, len(contents), 500):  # SQLite's limit on parameters is 999 in old builds
                some = contents[first : first + 500]
                marks = ",".join("?" * len(some))
                rows = self._connection.execute(
                    f"SELECT content, value, checksum FROM observations WHERE fingerprint = ? AND content IN ({marks})",
                    (identifier, *some),
                )
                for content, value, checksum in rows:
                    if checksum is None or checksum != _checksum(content, fingerprint, value):
                        self.damaged += 1
                    else:
                        observations[content] = json.loads(value)
        return observations

    def put(self, rows: Iterable[tuple[str, str, Observation]]) -> None:
        """Write (content digest, fingerprint, observation) rows in one transaction: all of them or none.

        Where the file cannot be written, nothing happens.
        """
        if not self.writable:
            return
        texts = [(content, fingerprint, json.dumps(value, ensure_ascii=False)) for content, fingerprint, value in rows]
        with self._errors(), self._transaction():
            values = [(row[0], self._make_fingerprint_id(row[1]), row[2], _checksum(*row)) for row in texts]
            self._connection.executemany("INSERT OR REPLACE INTO observations VALUES (?, ?, ?, ?)", values)

    def _bring_up_to_date(self) -> bool:
        """Make the tables, or add the checksums that an older file lacks. Returns whether the file can be written.

        Raises:
            SlmEvalError: it is of a newer version, or of an older one and cannot be written.
        """
        version = self._version()
        if version > _VERSION:
            raise SlmEvalError(
                f"the cache {self.path} is of a newer slm-eval (its version is {version}, this one knows {_VERSION}); "
                "update slm-eval, or set SLM_EVAL_CACHE to another folder"
            )
        try:
            with self._transaction():
                if self._version() < _VERSION:  # asked again: another process may have been first
                    self._migrate()
                # Written also where it is the same: that the file cannot be written shows here, and not after minutes.
                self._connection.execute(f"PRAGMA user_version = {_VERSION}")
        except sqlite3.OperationalError as error:
            if version == _VERSION and any(words in str(error) for words in _NO_SPACE):
                return True  # a run that knows everything needs none; another one hears of it when it puts
            if not any(words in str(error) for words in _NOT_WRITABLE):
                raise
            if version < _VERSION:
                raise SlmEvalError(
                    f"the cache {self.path} is of an older slm-eval and has to be brought up to date, but cannot be "
                    "written; set SLM_EVAL_CACHE to a folder that can be written"
                ) from error
            return False
        return True

    def _version(self) -> int:
        return self._connection.execute("PRAGMA user_version").fetchone()[0]

    def _migrate(self) -> None:
        """Make a file current from version 0 or from nothing. What an older one holds is taken as it is, where JSON."""
        columns = [row[1] for row in self._connection.execute("PRAGMA table_info(observations)")]
        if columns and "checksum" not in columns:
            self._connection.create_function("checksum_of", 3, _checksum_of_json, deterministic=True)
            self._connection.execute("ALTER TABLE observations ADD COLUMN checksum TEXT")
            self._connection.execute(
                "UPDATE observations SET checksum = checksum_of(content, (SELECT f.fingerprint FROM fingerprints AS f "
                "WHERE f.id = observations.fingerprint), value)"
            )
        for statement in _SCHEMA.split(";"):
            self._connection.execute(statement)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
        except BaseException:
            self._ids.clear()  # those that were made in it are not there
            raise

    def _fingerprint_id(self, fingerprint: str) -> int | None:
        if fingerprint not in self._ids:
            rows = self._connection.execute("SELECT id FROM fingerprints WHERE fingerprint = ?", (fingerprint,))
            row = rows.fetchone()
            if row is None:
                return None
            self._ids[fingerprint] = row[0]
        return self._ids[fingerprint]

    def _make_fingerprint_id(self, fingerprint: str) -> int | None:
        if self._fingerprint_id(fingerprint) is None:
            self._connection.execute("INSERT INTO fingerprints (fingerprint) VALUES (?)", (fingerprint,))
        return self._fingerprint_id(fingerprint)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn SQLite's errors into one line that says what to do."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter where a message quotes a damaged table
            advice = next((advice for words, advice in _ADVICE.items() if words in str(error)), _DAMAGED)
            said = " ".join(str(error).split())
            raise SlmEvalError(f"the cache {self.path} cannot be used: {said}; {advice}") from error


def _checksum(content: object, fingerprint: object, value: object) -> str | None:
    """Return what stands in a row beside these; None for what no row of ours holds."""
    if not (isinstance(content, str) and isinstance(fingerprint, str) and isinstance(value, str)):
        return None
    text = "\0".join((content, fingerprint, value))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _checksum_of_json(content: object, fingerprint: object, value: Any) -> str | None:
    try:
        whole = isinstance(json.loads(value), dict)
    except (ValueError, TypeError, RecursionError):
        return None
    return _checksum(content, fingerprint, value) if whole else None
