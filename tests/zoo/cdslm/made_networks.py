"""Small networks whose every weight counts, and clips for them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from model_zoo.cdslm.config import ModelConfig
from model_zoo.cdslm.model import MMDiT

TINY = ModelConfig(layers=2, width=16, head_dim=8)
TAUS = torch.tensor([999.0, 0.25])


def randomized(config: ModelConfig, seed: int = 0, mels: int = 80) -> MMDiT:
    """A network none of whose parameters is 0 or 1, with velocities near 1: 1e-5 means the same of each."""
    model = MMDiT(config, mels)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            spread = 1 / math.sqrt(parameter.shape[-1]) if parameter.ndim == 2 else 0.3
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread + (parameter == 1))
        model.final.weight *= config.width_multiplier
    return model


def clips(batch: int, context: int, generation: int, mels: int = 80) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    return (
        torch.randn(batch, context, mels, generator=generator),
        torch.randn(batch, generation, mels, generator=generator),
    )
