"""A network by a formula, and the schedules that it is sampled with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from model_zoo.cdslm.config import DiffusionConfig
from model_zoo.cdslm.schedule import Schedule

Function = Callable[[Tensor, float, float], Tensor]  # (x, alpha, sigma) -> v


def schedule_of(steps: int = 1000, terminal: bool = True, name: str = "linear") -> Schedule:
    return Schedule.from_config(DiffusionConfig(schedule=name, steps=steps, zero_terminal_snr=terminal))  # type: ignore[arg-type]


class Formula:
    """A velocity that is known at every level; contexts are added to it, so that guidance can be told."""

    def __init__(self, schedule: Schedule, function: Function) -> None:
        self.schedule, self.function = schedule, function

    def prepare(self, contexts: Tensor, taus: Tensor) -> Callable[[Tensor, int], Tensor]:
        assert taus.dtype == torch.float32
        index = (taus.double() * self.schedule.steps / 1000).round().long().tolist()
        shift = contexts.mean(dim=(1, 2), keepdim=True)

        def velocity(x: Tensor, j: int) -> Tensor:
            return self.function(x, self.schedule.alpha[index[j]], self.schedule.sigma[index[j]]) + shift

        return velocity
