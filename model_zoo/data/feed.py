"""The feed: threads read the next windows and draw their noise while the device works on the batch before.

Numpy releases the lock while it copies and draws, so threads suffice. What is in a batch is a function of (seed, step,
index in the global batch): neither the number of threads nor ranks nor a stop changes it. On CUDA the host side is two
sets of pinned buffers; they are copied on a stream of their own, so that the copy of one batch hides behind the
computation on the one before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from types import TracebackType

import torch
from torch import Tensor

from model_zoo.data.windows import Windows
from model_zoo.features import Normalizer
from model_zoo.noise import stratified_timesteps, training_noise
from slm_eval.base.errors import UsageError

_AHEAD = 2  # batches in the making: one that waits, one that is filled


@dataclass(frozen=True, eq=False)
class Batch:
    """One rank's share of an optimizer step, on the device."""

    step: int
    context: Tensor  # (b, Fc, bins) float32, normalised
    target: Tensor  # (b, Fg, bins) float32, normalised
    noise: Tensor  # (b, Fg, bins) float32, standard normal
    t: Tensor  # (b,) int64, indices of the noise schedule


@dataclass(eq=False)
class _Slot:
    """Host buffers of one batch in the making."""

    mels: Tensor  # (b, Fc + Fg, bins) float16, raw log10
    noise: Tensor
    t: Tensor
    step: int = -1
    tasks: list[Future[None]] = field(default_factory=list)
    copied: torch.cuda.Event | None = None  # recorded when the device has taken the buffers


class Feed:
    """Batches from ``start_step`` on, without end. A context manager: leaving it ends the threads.

    Args:
        windows: of the training split.
        loss_steps: T of the noise schedule.
        global_batch: samples of all ranks and accumulated parts together.
        first, count: this rank's share of it; all of it by default.
        seed: of noise and timesteps; that of the windows is their own.
        device: where batches are wanted.
        start_step: the first step, as after a resume.
        threads: that read and draw.

    Raises:
        UsageError: a share that does not lie in the global batch, or no threads.
    """

    def __init__(
        self,
        windows: Windows,
        loss_steps: int,
        global_batch: int,
        first: int = 0,
        count: int | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
        start_step: int = 0,
        threads: int = 4,
    ) -> None:
        self._count = global_batch - first if count is None else count
        if not (0 <= first < first + self._count <= global_batch):
            raise UsageError(f"samples {first} to {first + self._count - 1} do not lie in a batch of {global_batch}")
        if threads < 1:
            raise UsageError(f"threads must be at least 1, got {threads}")
        self._windows, self._loss_steps, self._global_batch = windows, loss_steps, global_batch
        self._first, self._seed, self._threads = first, seed, min(threads, self._count)
        self._device = torch.device(device)
        self._cuda = self._device.type == "cuda"
        self._stream = torch.cuda.Stream(self._device) if self._cuda else None
        normalizer = windows.shards.normalizer
        self._normalizer = Normalizer(normalizer.mean.to(self._device), normalizer.scale.to(self._device))
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="feed")
        self._slots: deque[_Slot] = deque()
        self._next_step = start_step
        for _ in range(_AHEAD):
            self._begin(self._buffers())

    def __enter__(self) -> Feed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the threads: what is half done is finished, what was not begun is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """Return the next step's batch.

        Raises:
            whatever went wrong in a thread; the feed is closed then.
        """
        slot = self._slots.popleft()
        try:
            for task in slot.tasks:
                task.result()
        except BaseException:
            self.close()
            raise
        mels, noise, t = self._to_device(slot)
        batch = self._batch(slot.step, mels, noise, t)
        # Pinned buffers are used again; plain ones now belong to the batch.
        self._begin(slot if self._cuda else self._buffers())
        return batch

    def _batch(self, step: int, mels: Tensor, noise: Tensor, t: Tensor) -> Batch:
        normalised = self._normalizer.normalize(mels.float())
        context = normalised[:, : self._windows.context_frames]
        target = normalised[:, self._windows.context_frames :]
        return Batch(step, context, target, noise, t)

    def _buffers(self) -> _Slot:
        bins, pinned = self._windows.shards.spec.n_mels, self._cuda
        return _Slot(
            torch.empty(self._count, self._windows.frames, bins, dtype=torch.float16, pin_memory=pinned),
            torch.empty(self._count, self._windows.target_frames, bins, pin_memory=pinned),
            torch.empty(self._count, dtype=torch.int64, pin_memory=pinned),
        )

    def _begin(self, slot: _Slot) -> None:
        """Hand a slot to the threads, each a part of its samples."""
        slot.step, self._next_step = self._next_step, self._next_step + 1
        edges = [self._count * part // self._threads for part in range(self._threads + 1)]
        slot.tasks = [self._pool.submit(self._fill, slot, low, high) for low, high in pairwise(edges)]
        self._slots.append(slot)

    def _fill(self, slot: _Slot, low: int, high: int) -> None:
        """Fill samples ``low`` to ``high - 1`` of the slot, in a thread."""
        if slot.copied is not None:
            slot.copied.synchronize()  # until the device has taken what was in it
        first = self._first + low
        self._windows.fill(slot.mels[low:high].numpy(), slot.step, first)
        training_noise(slot.noise[low:high], self._seed, slot.step, first)
        own = stratified_timesteps(self._loss_steps, self._global_batch, self._seed, slot.step, first, high - low)
        slot.t[low:high] = own

    def _to_device(self, slot: _Slot) -> tuple[Tensor, Tensor, Tensor]:
        host = slot.mels, slot.noise, slot.t
        if self._stream is None:
            mels, noise, t = (tensor.to(self._device) for tensor in host)
            return mels, noise, t
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            mels, noise, t = (tensor.to(self._device, non_blocking=True) for tensor in host)
            slot.copied = self._stream.record_event(torch.cuda.Event(blocking=True))  # waited for without spinning
        current.wait_stream(self._stream)
        for tensor in (mels, noise, t):
            tensor.record_stream(current)  # their memory is not to be used again before this stream is done with it
        return mels, noise, t
