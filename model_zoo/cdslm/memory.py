"""How much memory a model takes, estimated before it is tried. Needs no torch.

Activations are counted in values of one channel of one token: 17 are alive at once in a forward pass without gradients,
and each layer keeps 26 (float32) or 34 (autocast to bfloat16, 16 bits each) for the backward pass. Counted with torch's
``MemTracker`` in eager mode; compiled blocks and activation checkpointing take less. Left out are attention's own
scratch memory, AdaLN of the sampling steps, which is below 3 % of the weights, and what CUDA itself takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from model_zoo.cdslm.config import ModelConfig
from model_zoo.cdslm.flops import Tokens, parameter_count

Precision = Literal["float32", "bfloat16"]
_BYTES: dict[Precision, int] = {"float32": 4, "bfloat16": 2}
_ALIVE = 17
_KEPT: dict[Precision, int] = {"float32": 26, "bfloat16": 34}
# Bytes of a float32 weight, its gradient, two moments of AdamW and its average; autocast adds a copy in bfloat16.
_TRAINED: dict[Precision, int] = {"float32": 20, "bfloat16": 22}


@dataclass(frozen=True)
class Memory:
    """Bytes."""

    parameters: int  # with gradients, optimizer and averages in training
    activations: int

    @property
    def total(self) -> int:
        """Return the bytes in all."""
        return self.parameters + self.activations


def memory_estimate(
    config: ModelConfig, tokens: Tokens, batch: int, precision: Precision = "float32", training: bool = False
) -> Memory:
    """Estimate the peak of sampling, or of a training step.

    Args:
        tokens: of one sample.
        batch: samples at once; guidance doubles it.
        precision: of the weights in sampling, of autocast in training, where weights are float32.
    """
    per_parameter = (_TRAINED if training else _BYTES)[precision]
    values = _KEPT[precision] * config.layers if training else _ALIVE
    activations = batch * tokens.all * config.d * values * _BYTES[precision]
    return Memory(parameter_count(config) * per_parameter, activations)


def largest_batch(
    config: ModelConfig, tokens: Tokens, available: int, precision: Precision = "float32", training: bool = False
) -> int:
    """Return how many samples fit in so many bytes; 0 if not even one does."""
    one = memory_estimate(config, tokens, 1, precision, training)
    return max(0, (available - one.parameters) // one.activations)
