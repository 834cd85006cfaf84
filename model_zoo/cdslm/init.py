"""Initial weights: CompleteP's table (arXiv 2505.01618), each a function of its name, its shape and the seed.

Linear layers have standard deviation 1 / sqrt(fan_in), and no further factor for depth: the residual multiplier is
that. AdaLN and the last layer are 0, so that every block begins as the identity and the network answers 0. Biases are
0, gains 1. As nothing depends on the order of parameters or on a rank, whoever holds a part of the network can draw it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from model_zoo.noise import generator

_ZERO = ("adaln", "final_adaln", "final")
_GAINS = ("q_norm", "k_norm")


def initial_value(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """Draw the initial value of a parameter, float32 on the CPU.

    Args:
        name: of the parameter in the network: "blocks.0.context.qkv.weight".
        shape: of the whole parameter.
        seed: of the run; another seed gives other weights.
    """
    *_, module, kind = name.split(".")
    if module in _GAINS:
        return torch.ones(shape)
    if module in _ZERO or kind == "bias":
        return torch.zeros(shape)
    value = torch.empty(shape)
    generator(seed, "weights", name).standard_normal(out=value.numpy(), dtype=np.float32)
    return value.mul_(1 / math.sqrt(shape[1]))


@torch.no_grad()
def initialize(model: nn.Module, seed: int) -> None:
    """Fill every parameter, whatever it holds; on the meta device there is nothing to fill."""
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            continue
        value = initial_value(name, tuple(parameter.shape), seed)
        if isinstance(parameter, DTensor):
            # No rank sends anything: each draws the whole and keeps its part.
            value = distribute_tensor(
                value.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
            )
        parameter.copy_(value)
