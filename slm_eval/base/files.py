"""Files written whole, or not at all: text, as summary.json and clips.jsonl are, and what libraries write by name."""

from __future__ import annotations

import glob
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from slm_eval.base.errors import SlmEvalError, UsageError


def write_jsonl(path: Path, objects: Iterable[dict]) -> None:
    """Write one JSON object a line.

    Raises:
        SlmEvalError: the file cannot be written.
    """
    write_whole(path, (dump(value) + "\n" for value in objects))


def dump(value: object, indent: int | None = None) -> str:
    """Return JSON that every parser reads: NaN and infinity are refused, since JSON has neither."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)


def write_whole(path: Path, parts: Iterable[str]) -> None:
    """Write a text file so that nobody ever sees half of it, in a folder that is made where needed.

    What a process that was killed left half written there is removed.

    Raises:
        SlmEvalError: it cannot be written; what was there before is still there.
    """
    partial: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        descriptor, partial = _new_partial(path)
        with open(descriptor, "w", encoding="utf-8", newline="\n") as file:  # digests are of the same bytes everywhere
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(partial, new_file_mode())
            os.replace(partial, path)
            partial = None
    except OSError as error:
        raise SlmEvalError(f"cannot write {path}: {error.strerror}; choose another place with --output") from error
    finally:
        if partial is not None:
            Path(partial).unlink(missing_ok=True)  # gone where Ctrl-C came just after the file got its name


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to, in a folder of its own beside ``path``; what is there at the end takes its place.

    For files that a library writes by their name. Nothing takes its place where the block raises an error.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        partial = Path(folder, path.name)
        yield partial
        os.chmod(partial, new_file_mode())
        os.replace(partial, path)


# Whoever writes a partial file holds a lock on it, which the system drops when the process ends in any way.
_SUFFIX = ".partial"


def _new_partial(path: Path) -> tuple[int, str]:
    """Return a new file beside ``path``, open and locked."""
    while True:
        descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_SUFFIX)
        try:
            _lock(descriptor, wait=True)
            if os.path.exists(partial):
                return descriptor, partial
        except BaseException:
            os.close(descriptor)
            Path(partial).unlink(missing_ok=True)
            raise
        os.close(descriptor)  # another process took it for abandoned before it was locked


def _remove_abandoned(path: Path) -> None:
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*{_SUFFIX}"):
        try:
            descriptor = os.open(partial, os.O_RDWR)
        except OSError:
            continue  # finished, or removed by another process, since we looked
        try:
            if _lock(descriptor, wait=False):
                partial.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def _lock(descriptor: int, *, wait: bool) -> bool:
    """Return whether the lock is ours; never, where the file system knows none, so that nothing is removed there."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def require_writable(folder: Path) -> None:
    """Find out before any work whether results can be written there. Nothing is made.

    Raises:
        UsageError: it is not a folder, or none that this user may make or write.
    """
    path = Path(os.path.abspath(folder))
    try:
        while not path.exists() and path != path.parent:
            path = path.parent
    except OSError as error:  # such as a name that is too long
        raise UsageError(f"cannot write {folder}: {error.strerror}; choose another --output") from error
    if not path.is_dir():
        raise UsageError(f"cannot write {folder}: {path} is not a folder; choose another --output")
    if not os.access(path, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write {folder}: {path} cannot be written; choose another --output")


def new_file_mode() -> int:
    """Return the permissions that the user wants new files to have; temporary files are private."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def cache_folder() -> Path:
    """Return where weights and observations are kept: ``$SLM_EVAL_CACHE``, else ``~/.cache/slm_eval``."""
    return Path(os.environ.get("SLM_EVAL_CACHE") or Path.home() / ".cache" / "slm_eval").expanduser()
