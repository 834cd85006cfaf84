"""Ways to carry out a training step: the trainer as it is, and with one of its decisions taken back.

All of them run the trainer's own ``Run``. What is an option of the configuration is changed there; the rest (order
of attention kernels, kind of AdamW, garbage collection, feed) by replacing that one thing while steps run.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch.nn.attention import SDPBackend
from torch.profiler import ProfilerActivity, profile

import model_zoo.training.train
from model_zoo.cdslm import attention
from model_zoo.data.feed import Batch, Feed
from model_zoo.training.config import TrainConfig
from model_zoo.training.ranks import Ranks
from model_zoo.training.train import Run

KERNELS = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
TORCH_ORDER = ("flash", "efficient", "math")  # what torch takes where nobody chooses; the first that can, runs
WARM_UP = 3  # steps that are not timed: the first compiles, the next two take what the feed holds ready


@dataclass(frozen=True)
class Variant:
    """One way.

    Attributes:
        config: fields of ``TrainConfig`` by name.
        attention: kernels to try, first to last; None: the order of ``model_zoo.cdslm.attention``.
        fused: AdamW in one kernel, as the trainer has it; else the one of torch's ``foreach``.
        collected: Python looks for garbage during the steps.
        ahead: the feed reads while the device works; else when a batch is asked for.
    """

    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    attention: tuple[str, ...] | None = None
    fused: bool = True
    collected: bool = False
    ahead: bool = True


def ladder() -> list[Variant]:
    """From plain torch to the trainer as it is, each with one thing more than the one before."""
    variant = Variant("eager float32", {"precision": "float32", "compile": False}, TORCH_ORDER, False, True, False)
    steps = [variant]
    for name, change in (
        ("bfloat16 autocast", {"config": {"precision": "bfloat16", "compile": False}}),
        ("compiled blocks", {"config": {"precision": "bfloat16", "compile": True}}),
        ("cuDNN attention first", {"attention": None}),
        ("fused AdamW", {"fused": True}),
        ("no garbage collection", {"collected": False}),
        ("feed ahead", {"ahead": True}),
    ):
        variant = replace(variant, name=name, **change)  # type: ignore[arg-type]
        steps.append(variant)
    return steps


def attention_kernels() -> list[Variant]:
    """The trainer as it is, made to take one kernel each."""
    return [Variant(f"attention: {name}", attention=(name,)) for name in KERNELS]


def memory_savers(micro_batches: list[int]) -> list[Variant]:
    """Activation checkpointing, then samples at once: a batch is one part of so many."""
    sizes = [Variant(f"micro batch {size}", {"batch": size, "micro_batch": size}) for size in micro_batches]
    return [Variant("activation checkpointing", {"activation_checkpointing": True}), *sizes]


class Synchronous(Feed):
    """Reads a batch when it is asked for, and nothing before."""

    def _begin(self, slot: Any) -> None:
        self._slots.append(slot)

    def __next__(self) -> Batch:
        idle = list(self._slots)
        self._slots.clear()
        super()._begin(idle[0])
        batch = super().__next__()
        self._slots.extend(idle[1:])
        return batch


class Times(NamedTuple):
    """Of some steps, in seconds."""

    all: float  # from a device that was waited for to one that was waited for
    issued: float  # until the host had asked for everything: close to ``all`` if the host is what is waited for
    waited: float  # of that, for the feed


class Trial:
    """A training in this way, ready for its next step.

    Args:
        folder: of the run, empty.

    Raises:
        RuntimeError: it cannot be done here: memory, or a kernel that refuses.
    """

    def __init__(self, variant: Variant, config: TrainConfig, folder: Path, device: torch.device) -> None:
        self.variant, self.device = variant, device
        before = self._memory()
        with ExitStack() as undo:
            self.run = Run(replace(config, **variant.config), folder, Ranks(0, 1, device))
            for group in self.run.optimizer.param_groups:
                group["fused"], group["foreach"] = variant.fused, not variant.fused
            with mock.patch.object(model_zoo.training.train, "Feed", Feed if variant.ahead else Synchronous):
                self.feed = undo.enter_context(self.run.feed(0))
            start = time.perf_counter()
            self.steps(1)
            self.compiling = time.perf_counter() - start
            self.attention = self.kernels()
            wrong = set(self.attention) - set(variant.attention or KERNELS)
            if wrong:
                raise RuntimeError(f"attention ran by {self.attention}, not by {variant.attention}")
            took = self.steps(WARM_UP - 1)
            self.pace = took.all / (WARM_UP - 1)
            self.peak = self._memory(peak=True) - before
            undo.pop_all()

    def steps(self, count: int) -> Times:
        """So many steps of the optimizer, timed."""
        with _attention(self.variant.attention), _garbage(self.variant.collected):
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
        """Which attention one step really ran, and how often, forward; as the profiler saw it.

        Where it saw none, the compiler has taken ``math`` apart: ``{"math": 0}``.
        """
        with profile(activities=[ProfilerActivity.CPU], acc_events=True) as seen:
            self.steps(1)
        counts = {event.key: event.count for event in seen.key_averages()}
        of = {name: [f"aten::_scaled_dot_product_{name}_attention"] for name in KERNELS}
        of["flash"].append("aten::_scaled_dot_product_flash_attention_for_cpu")
        of["math"] = ["aten::_scaled_dot_product_attention_math"]
        found = {name: sum(counts.get(key, 0) for key in keys) for name, keys in of.items()}
        return {name: count for name, count in found.items() if count} or {"math": 0}

    def close(self) -> None:
        """End the feed and give the memory back."""
        self.feed.close()
        del self.run, self.feed
        _free(self.device)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _memory(self, peak: bool = False) -> int:
        """Bytes that tensors take now, or the most since the last call without ``peak``."""
        if self.device.type != "cuda":
            return 0
        if peak:
            return torch.cuda.max_memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        return torch.cuda.memory_allocated(self.device)


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


@contextmanager
def _attention(names: tuple[str, ...] | None) -> Iterator[None]:
    if names is None:
        yield
        return
    with mock.patch.object(attention, "attention_backends", _order(names)):
        yield


@cache  # compiled code is made for a function: the same one must come again
def _order(names: tuple[str, ...]) -> Any:
    kernels = [KERNELS[name] for name in names]
    return lambda device: kernels


@contextmanager
def _garbage(collected: bool) -> Iterator[None]:
    if not collected:
        gc.freeze()
        gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
