"""Sequences like normalised log-mels whose future follows from their past, drawn in no time: for checks of training.

Some cepstral coefficients wander, each a stationary autoregression of first order with its own memory, from a few
frames (what cannot be known ahead) to seconds (what a context tells, as a speaker's voice); a cosine basis makes 80
bins of them. There is something to learn at every noise level, in every frame, and from the context.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from model_zoo.noise import generator

MEMORY = np.array([300.0, 100.0, 60.0, 30.0, 300.0, 10.0, 100.0, 3.0])  # frames, of the coefficients 1 to 8
NOISE = 0.2  # sd of what is white in time and frequency; the bins have sd 1 in all


def coloured_mels(batch: int, frames: int, seed: int, step: int, mels: int = 80) -> Tensor:
    """A batch of its own for each step, float32 (batch, frames, mels), mean 0 and standard deviation 1 over samples."""
    rng = generator(seed, "windows", step)
    keep = np.exp(-1 / MEMORY)
    innovations = rng.standard_normal((frames, batch, MEMORY.size))
    wander = innovations.copy()
    for now in range(1, frames):
        wander[now] = keep * wander[now - 1] + np.sqrt(1 - keep**2) * innovations[now]
    order = np.arange(1, MEMORY.size + 1)
    basis = np.cos(np.pi * order[:, None] * (np.arange(mels) + 0.5) / mels)
    basis *= np.sqrt((1 - NOISE**2) / (basis**2).sum(0))
    white = NOISE * rng.standard_normal((batch, frames, mels))
    return torch.from_numpy((wander.transpose(1, 0, 2) @ basis + white).astype(np.float32))
