"""A lock between processes that cannot go stale: the operating system drops it when its holder ends, in any way."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_SECONDS = 0.1
# What "somebody else holds it" looks like: EAGAIN from flock, EACCES and EDEADLK from Windows and from NFS.
_HELD = {errno.EAGAIN, errno.EACCES, errno.EDEADLK}

if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def exclusive(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock ``path`` within the ``with`` block; ``on_wait`` is called once if somebody else holds it.

    The file stays afterwards: deleting it would let a third process lock a new file while a second one still waits
    for the old one. There is no time limit, since a large download may take an hour.

    Raises:
        OSError: the file cannot be made, or the file system knows no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        waited = False
        while not _taken(descriptor):
            if not waited:
                on_wait()
                waited = True
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        _take(descriptor)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise
    return True
