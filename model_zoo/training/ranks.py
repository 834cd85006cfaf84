"""The processes of one run: one, or as many as ``torchrun`` started.

    torchrun --nproc-per-node 8 -m model_zoo train CONFIG.yaml -o DIR

A run of one process starts no process group, and every function here is then the identity: same code, no wrapper.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
import torch.distributed as dist

from slm_eval.base.device import resolve_device
from slm_eval.base.errors import UsageError

Anything = TypeVar("Anything")

_TORCHRUN = (("WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_RANK", "0"))  # its variables, and what they are without it


@dataclass(frozen=True)
class Ranks:
    """Who this process is."""

    rank: int
    world: int
    device: torch.device
    group: dist.ProcessGroup | None = None  # None: that of the training

    def beside(self) -> Ranks:
        """Return the same ranks with a line of their own, through the CPU, for threads beside the training."""
        return replace(self, group=dist.new_group(backend="gloo")) if self.world > 1 else self

    @property
    def first(self) -> bool:
        """Tell whether this is the one that writes logs."""
        return self.rank == 0

    def share(self, batch: int) -> tuple[int, int]:
        """Return first sample and number of samples of a global batch that are this rank's.

        Raises:
            UsageError: ranks cannot have equal shares, without which a mean of means would not be the mean.
        """
        if batch % self.world:
            raise UsageError(
                f"a batch of {batch} cannot be shared equally by {self.world} processes; start as many as divide it, "
                f"such as {max(n for n in range(1, min(batch, self.world) + 1) if batch % n == 0)}"
            )
        count = batch // self.world
        return self.rank * count, count

    def any(self, flag: bool) -> bool:
        """Tell whether any rank says so. Through the CPU, so that no GPU is waited for."""
        if self.world == 1:
            return flag
        flags = torch.tensor([int(flag)])
        dist.all_reduce(flags, op=dist.ReduceOp.MAX, group=self.group)
        return bool(flags.item())

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over all ranks."""
        if self.world > 1:
            values = values.clone()
            dist.all_reduce(values, group=self.group)
        return values

    def gather(self, value: Anything) -> list[Anything]:
        """Return what every rank holds, in their order."""
        if self.world == 1:
            return [value]
        held: list[Anything] = [value] * self.world
        dist.all_gather_object(held, value, group=self.group)
        return held

    def from_first(self, value: Anything) -> Anything:
        """Return what the first rank holds."""
        if self.world == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0, group=self.group)
        return held[0]

    def barrier(self) -> None:
        """Wait for all."""
        if self.world > 1:
            self.any(False)


def reading_threads() -> int:
    """Return the threads that read and draw noise for one process: its share of the node's cores, at most 16."""
    return max(1, min(16, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


@contextmanager
def process_group(device: str = "auto") -> Iterator[Ranks]:
    """Join the ranks of this run, as torchrun's environment variables tell; without them there is one.

    Raises:
        UsageError: fewer GPUs than processes of this node.
    """
    world, rank, local = (int(os.environ.get(name, default)) for name, default in _TORCHRUN)
    chosen = resolve_device(device)
    if world == 1:
        yield Ranks(0, 1, torch.device(chosen))
        return
    if chosen.startswith("cuda"):
        if local >= torch.cuda.device_count():
            raise UsageError(
                f"process {local} of this node has no GPU, there are {torch.cuda.device_count()}; "
                "start as many processes as GPUs, by --nproc-per-node"
            )
        chosen = f"cuda:{local}"
        torch.cuda.set_device(local)
    # Flags and checkpoints travel through the CPU beside the GPU's own traffic.
    dist.init_process_group("cpu:gloo,cuda:nccl" if chosen.startswith("cuda") else "gloo")
    try:
        yield Ranks(rank, world, torch.device(chosen))
    finally:
        dist.destroy_process_group()
