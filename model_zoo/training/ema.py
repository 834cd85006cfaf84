"""Averages of the weights over training, which sample better than the last ones.

Float32, because 1e-4 of a difference is lost in bfloat16. Each rank averages the part of the weights that it holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class Average:
    """ema <- decay ema + (1 - decay) weights, after every step of the optimizer.

    Early on the decay is smaller, min(decay, (1 + step) / (10 + step)), so that a short run is not an average of its
    own beginning [choice].

    Args:
        decay: 0 keeps none.

    Attributes:
        weights: by the names of the parameters, each sharded like its parameter.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights: dict[str, Tensor] = {}
        if decay:
            self.weights = {name: parameter.detach().float().clone() for name, parameter in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Follow the weights of a step.

        Args:
            step: steps done before this one.
        """
        if not self.weights:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        now = [_local(parameter) for parameter in model.parameters()]
        torch._foreach_lerp_([_local(parameter) for parameter in self.weights.values()], now, 1 - decay)

    @contextmanager
    @torch.no_grad()
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Put averaged weights into the model; afterwards its own again, to the bit."""
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)

    @torch.no_grad()
    def _swap(self, model: nn.Module) -> None:
        # Values change places rather than tensors: FSDP and compiled graphs hold on to the tensors.
        for name, parameter in model.named_parameters():
            weight, averaged = _local(parameter), _local(self.weights[name])
            kept = weight.clone()
            weight.copy_(averaged)
            averaged.copy_(kept)


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
