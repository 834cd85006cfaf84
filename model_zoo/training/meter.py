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


class Meter:
    """Sums since the last reading, on the device.

    Args:
        step_samples: samples of all ranks in one step.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self.losses = torch.zeros(2, device=ranks.device)  # sum of losses, number of steps
        self.levels = torch.zeros(2, len(LEVEL_EDGES) + 1, device=ranks.device)  # errors by noise level, and counts
        self.norms = torch.zeros((), device=ranks.device)
        self.first_bad = torch.full((), _NONE, dtype=torch.int64, device=ranks.device)

    def state(self) -> dict[str, Tensor]:
        """What a run that goes on needs, so that its log goes on too."""
        return {"losses": self.losses, "levels": self.levels, "norms": self.norms}

    def add(self, step: int, loss: Tensor, norm: Tensor, levels: Tensor) -> None:
        """One step: this rank's loss, the norm of all gradients, errors of this rank by noise level."""
        self.losses += torch.stack([loss, torch.ones_like(loss)])
        self.levels += levels
        self.norms += norm
        bad = ~(loss.isfinite() & norm.isfinite()) & (self.first_bad == _NONE)
        self.first_bad.masked_fill_(bad, step)

    def bad_step(self) -> int | None:
        """The first step, on any rank, whose loss or gradient was NaN or infinite. Waits for the device."""
        found = [step for step in self._ranks.gather(int(self.first_bad.item())) if step != _NONE]
        return min(found, default=None)

    def read(self) -> dict[str, Any]:
        """Means over the steps since the last reading. Waits for the device."""
        told = self._ranks.sum(torch.cat([self.losses, self.levels.flatten()])).tolist()
        own_steps = self.losses[1].item()
        bins = self.levels.shape[1]
        errors, counts = told[2 : 2 + bins], told[2 + bins :]
        values = {
            "loss": told[0] / told[1],
            "v_mse": sum(errors) / sum(counts),
            "v_mse_by_log_snr": [error / n if n else None for error, n in zip(errors, counts, strict=True)],
            "gradient_norm": self.norms.item() / own_steps,
        }
        for each in (self.losses, self.levels, self.norms):
            each.zero_()
        return values


class Clock:
    """Seconds of training: validating, saving and scoring are not in them.

    Attributes:
        seconds: float64 (), of all parts of a run; a checkpoint holds it.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds = torch.zeros((), dtype=torch.float64)
        self._lap = 0.0
        self._since = time.perf_counter()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done inside is not training."""
        self._count()
        yield
        self._wait()
        self._since = time.perf_counter()

    def lap(self) -> float:
        """Seconds of training since the last lap. Waits for the device."""
        self._count()
        seconds, self._lap = self._lap, 0.0
        return seconds

    def _count(self) -> None:
        self._wait()
        now = time.perf_counter()
        self._lap += now - self._since
        self.seconds += now - self._since
        self._since = now

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
