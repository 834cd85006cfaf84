"""What is measured at every step without waiting for the device, and the time that steps take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from model_zoo.cdslm.loss import LEVEL_EDGES
from model_zoo.training.ranks import Ranks

_NONE = -1  # a step, in a tensor, where there is none
_LEVELS = len(LEVEL_EDGES) + 1


class Meter:
    """Sums since the last reading, on the device: of what this rank saw."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        # Steps, their losses, norms of gradients; errors by noise level; how many samples had that level.
        self._sums = torch.zeros(3 + 2 * _LEVELS, device=ranks.device)
        self._first_bad = torch.full((), _NONE, dtype=torch.int64, device=ranks.device)

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint holds, so that the log of a run that goes on is that of one that never stopped."""
        return {"sums": self._ranks.sum(self._sums) / self._shares()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from it: the first rank, of however many there are now, takes over all that was seen."""
        self._sums.copy_(state["sums"] * self._shares() * float(self._ranks.first))

    def add(self, step: int, loss: Tensor, norm: Tensor, levels: Tensor) -> None:
        """Add one step: this rank's loss, the norm of all gradients, errors of this rank by noise level."""
        self._sums += torch.cat([torch.stack([torch.ones_like(loss), loss, norm]), levels.flatten()])
        bad = ~(loss.isfinite() & norm.isfinite()) & (self._first_bad == _NONE)
        self._first_bad.masked_fill_(bad, step)

    def bad_step(self) -> int | None:
        """Return the first step, on any rank, whose loss or gradient was NaN or infinite. Waits for the device."""
        steps = [step for step in self._ranks.gather(int(self._first_bad.item())) if step != _NONE]
        return min(steps, default=None)

    def read(self) -> dict[str, Any]:
        """Return means over the steps since the last reading. Waits for the device."""
        steps, loss, norm, *levels = (self._ranks.sum(self._sums) / self._shares()).tolist()
        self._sums.zero_()
        errors, counts = levels[:_LEVELS], levels[_LEVELS:]
        return {
            "loss": loss / steps,
            "v_mse": sum(errors) / sum(counts),
            "v_mse_by_log_snr": [error / n if n else None for error, n in zip(errors, counts, strict=True)],
            "gradient_norm": norm / steps,
        }

    def _shares(self) -> Tensor:
        """Return what the sum over ranks counts several times: steps, with their losses and norms, but no sample."""
        shares = torch.ones_like(self._sums)
        shares[:3] = self._ranks.world
        return shares


class Clock:
    """Seconds of training: validating, saving and scoring are not in them.

    Args:
        step: how many are done already.

    Attributes:
        seconds: float64 (), of all parts of a run; a checkpoint holds it.
    """

    def __init__(self, device: torch.device, step: int = 0) -> None:
        self._device, self._step = device, step
        self.seconds = torch.zeros((), dtype=torch.float64)
        self._lap = 0.0
        self._since = time.perf_counter()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock: what is done inside is not training."""
        self._count()
        yield
        self._wait()
        self._since = time.perf_counter()

    def lap(self, step: int) -> tuple[int, float]:
        """Return steps and seconds of training since the last lap. Waits for the device.

        Args:
            step: how many are done.
        """
        self._count()
        steps, seconds = step - self._step, self._lap
        self._step, self._lap = step, 0.0
        return steps, seconds

    def _count(self) -> None:
        self._wait()
        now = time.perf_counter()
        self._lap += now - self._since
        self.seconds += now - self._since
        self._since = now

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
