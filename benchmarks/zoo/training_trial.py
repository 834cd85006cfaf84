"""A training that takes timed steps: for what measures the trainer."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch.nn.attention import SDPBackend
from torch.profiler import ProfilerActivity, profile

from model_zoo.cdslm import attention
from model_zoo.training.config import TrainConfig
from model_zoo.training.guards import without_garbage_collection
from model_zoo.training.ranks import Ranks
from model_zoo.training.train import Run

KERNELS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
WARM_UP = 3  # steps that are not timed: the first compiles, the next two take what the feed holds ready


class Way(NamedTuple):
    """A configuration, and the one attention kernel that it may take; None: the trainer's order."""

    config: TrainConfig
    kernel: str | None = None


class Times(NamedTuple):
    """Seconds of some steps."""

    all: float  # from a device that was waited for to one that was waited for
    issued: float  # until the host had asked for everything: close to ``all`` if the host is what is waited for
    waited: float  # of that, for the feed


class Trial:
    """A training, ready for its next step.

    Args:
        folder: of the run, empty.

    Raises:
        RuntimeError: it cannot be done here: memory, or a kernel that refuses.
    """

    def __init__(self, way: Way, folder: Path, device: torch.device) -> None:
        self.way, self.config, self.device = way, way.config, device
        before = self._memory()
        with ExitStack() as undo:
            self.run = Run(way.config, folder, Ranks(0, 1, device))
            self.feed = undo.enter_context(self.run.feed(0))
            start = time.perf_counter()
            self.steps(1)
            self.compiling = time.perf_counter() - start
            self.attention = self.kernels()
            if way.kernel is not None and set(self.attention) != {way.kernel}:
                raise RuntimeError(f"attention ran by {self.attention}, not by {way.kernel}")
            self.pace = self.steps(WARM_UP - 1).all / (WARM_UP - 1)
            self.peak = self._memory(peak=True) - before
            undo.pop_all()

    def steps(self, count: int) -> Times:
        """Take so many steps of the optimizer, timed."""
        with _attention(self.way.kernel), without_garbage_collection():
            self._wait()
            start, waited = time.perf_counter(), 0.0
            for _ in range(count):
                asked = time.perf_counter()
                batch = next(self.feed)
                waited += time.perf_counter() - asked
                self.run.step(batch)
            issued = time.perf_counter() - start
            self._wait()
            return Times(time.perf_counter() - start, issued, waited)

    def kernels(self) -> dict[str, int]:
        """Return which attention one step really ran, and how often, forward; as the profiler saw it.

        Where it saw none, the compiler has taken ``math`` apart: ``{"math": 0}``.
        """
        with profile(activities=[ProfilerActivity.CPU], acc_events=True) as seen:
            self.steps(1)
        counts = {event.key: event.count for event in seen.key_averages()}
        events = {name: [f"aten::_scaled_dot_product_{name}_attention"] for name in KERNELS}
        events["flash"].append("aten::_scaled_dot_product_flash_attention_for_cpu")
        events["math"] = ["aten::_scaled_dot_product_attention_math"]
        ran = {name: sum(counts.get(key, 0) for key in keys) for name, keys in events.items()}
        return {name: count for name, count in ran.items() if count} or {"math": 0}

    def close(self) -> None:
        """End the feed and give the memory back."""
        self.feed.close()
        del self.run, self.feed
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _memory(self, peak: bool = False) -> int:
        """Return the bytes that tensors take now, or the most since the last call without ``peak``."""
        if self.device.type != "cuda":
            return 0
        if peak:
            return torch.cuda.max_memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        return torch.cuda.memory_allocated(self.device)


@contextmanager
def _attention(kernel: str | None) -> Iterator[None]:
    if kernel is None:
        yield
        return
    with mock.patch.object(attention, "attention_backends", _only(kernel)):
        yield


@cache  # compiled code is made for a function: the same one must come again
def _only(kernel: str) -> Any:
    return lambda device: [KERNELS[kernel]]
