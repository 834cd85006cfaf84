"""A lock between processes that cannot go stale: the operating system drops it when its holder ends, in any way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock ``path`` within the ``with`` block; ``on_wait`` is called once if somebody else holds it.

    There is no time limit, since a large download may take an hour.

    Raises:
        OSError: the file cannot be made, or the file system knows no locks.
    """
    from filelock import FileLock, Timeout  # with its asyncio variants 0.05 s to import, and most runs lock nothing

    path.parent.mkdir(parents=True, exist_ok=True)
    # Where a file system knows no locks the library would fall back to a file that a killed process leaves behind.
    lock = FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
