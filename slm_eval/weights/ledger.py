"""Digests of weights: computed once per file, remembered, and enforced from the first use on.

One small JSON file per weight set, ``$SLM_EVAL_CACHE/weights/<name>.json``: the set's digest when it was first used,
and for each file its digest beside what the file system said of it then (size, times of change, inode). As long as that
is the same the file is not read again, so that a cached run stays fast.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from slm_eval.base.digests import content_digest
from slm_eval.base.errors import SlmEvalError
from slm_eval.base.files import replacing
from slm_eval.base.strict_json import parse, read_text
from slm_eval.weights.download import cannot_write

_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


def combined_digest(digests: Mapping[str, str]) -> str:
    """Return the digest of a set of files: of its one file, else of the lines ``sha256sum`` would print, by name."""
    if len(digests) == 1:
        return next(iter(digests.values()))
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, read once per process as long as it stays the same.

    Raises:
        SlmEvalError: the file cannot be read.
    """
    try:
        return _digest(path, tuple(_state(path)))
    except OSError as error:
        raise SlmEvalError(f"cannot read {path}: {error.strerror or error}; make it readable, or delete it") from error


@lru_cache(maxsize=16_384)
def _digest(path: Path, state: tuple[int, ...]) -> str:
    return content_digest(path)


def _state(path: Path) -> list[int]:
    """Return what changes whenever the file is written. st_ctime also does when somebody sets the other times back."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


_ENTRY = 5  # a digest and what ``_state`` says


class Ledger:
    """What is remembered of one weight set."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def first_digest(self) -> str | None:
        """Return the set's digest when it was first used; None before that.

        Raises:
            SlmEvalError: the record cannot be read.
        """
        return self._read().get("sha256")

    def digest(self, root: Path, files: Mapping[str, Path], published: str | None) -> str:
        """Return the digest of the set at ``root`` of these ``files``, by relative name; read only what changed.

        It is recorded if it is the ``published`` one or, where none is, the first or the same as the first.

        Raises:
            SlmEvalError: a file or the record cannot be read.
        """
        record = self._read()
        known: dict[str, list] = record.get("files", {}) if record.get("root") == str(root) else {}
        entries: dict[str, list] = {}
        for name, path in files.items():
            state = _state_or_error(path)
            entry = known.get(name)
            entries[name] = entry if entry is not None and entry[1:] == state else [file_digest(path), *state]
        combined = combined_digest({name: str(entry[0]) for name, entry in entries.items()})
        expected = published or record.get("sha256", combined)
        if entries != known and combined == expected:
            self._write({"sha256": combined, "root": str(root), "files": entries})
        return combined

    def _read(self) -> dict[str, Any]:
        try:
            record = parse(read_text(self.path))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise self._damaged(error) from error
        match record:
            case {"sha256": str(), "root": str(), "files": {**files}} if all(
                isinstance(entry, list) and len(entry) == _ENTRY for entry in files.values()
            ):
                return dict(record)
        raise self._damaged("no digest in it")

    def _write(self, record: dict[str, Any]) -> None:
        try:
            with replacing(self.path) as partial:
                partial.write_text(json.dumps(record), encoding="utf-8")
        except OSError as error:
            # Weights that an administrator shares read-only are used as they are: the digest is in every signature.
            if error.errno not in _READ_ONLY:
                raise cannot_write(self.path, error) from error

    def _damaged(self, why: object) -> SlmEvalError:
        return SlmEvalError(f"the record of first-used weights {self.path} cannot be read ({why}); delete it")


def _state_or_error(path: Path) -> list[int]:
    try:
        return _state(path)
    except OSError as error:
        raise SlmEvalError(f"cannot read {path}: {error.strerror or error}; make it readable, or delete it") from error
