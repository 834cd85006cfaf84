"""Run a small network on many clips on the CPU: one thread per clip instead of all threads on each operation.

Operations of a millisecond gain little from several threads, and lose much where another process wants the same cores:
each waits for its slowest thread. One thread per clip never waits. It also makes scores independent of the number of
threads, which changes the order in which some libraries add.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def map_clips(function: Callable[[_Item], _Result], items: Sequence[_Item], device: torch.device) -> list[_Result]:
    """Apply ``function`` to every item, in inference mode; results in order.

    On the CPU as many items at once as PyTorch may use threads, each in one thread. On other devices one after another,
    where the device finds its parallelism itself.
    """
    if device.type != "cpu":
        with torch.inference_mode():
            return [function(item) for item in items]
    with _single_threaded() as threads, ThreadPoolExecutor(max(1, min(threads, len(items)))) as pool:
        return list(pool.map(lambda item: _without_gradients(function, item), items))


def _without_gradients(function: Callable[[_Item], _Result], item: _Item) -> _Result:
    """Enter inference mode, which belongs to a thread: each has to enter it."""
    with torch.inference_mode():
        return function(item)


@contextmanager
def _single_threaded() -> Iterator[int]:
    """Use one thread per operation, in this thread and in those begun meanwhile; yields how many there were before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)
