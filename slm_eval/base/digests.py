"""Files opened without waiting for them, and digests of what they hold."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

_BLOCK = 1 << 20  # bytes of a file that are digested at once
_KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


@contextmanager
def regular_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, never waiting for it: what is no regular file is not opened.

    Raises:
        OSError: it is a folder, a pipe, a device or a socket, or cannot be opened.
    """
    _refuse_irregular(os.stat(path))
    # What was put there in the meantime is not waited for either.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        _refuse_irregular(os.fstat(descriptor))
        yield file


def _refuse_irregular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "special file")
        raise OSError(errno.EINVAL, f"it is a {kind}; expected a regular file")


def content_digest(path: Path, start: float | None = None, end: float | None = None) -> str:
    """Return a SHA-256 of a file's bytes (and the part of it that is meant): what a clip is, wherever it lies.

    Raises:
        OSError: the file cannot be read, or is none: a folder, a pipe, a device.
    """
    if start is None and end is None:
        return _file_digest(path)
    return f"{_remembered_digest(path, file_state(path))}:{start}-{end}"


def file_state(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is replaced or written to: which file it is, its size and its times.

    Raises:
        OSError: there is no such file.
    """
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _file_digest(path: Path) -> str:
    """Digest what a file states that it holds, no more: one of the system, such as /proc/kmsg, gives bytes for ever."""
    digest = hashlib.sha256()
    with regular_file(path) as file:
        left = os.fstat(file.fileno()).st_size
        while left and (block := file.read(min(left, _BLOCK))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()


@lru_cache(maxsize=256)
def _remembered_digest(path: Path, state: tuple[int, ...]) -> str:
    """Return the digest of a file that is cut into segments, read once while nothing about it changes."""
    return _file_digest(path)
