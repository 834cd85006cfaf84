"""A validation loss that can be compared between runs: the same clips, noise and noise levels, always.

Every clip is denoised at 8 fixed levels, with noise that depends on (seed, clip id) alone, in float32. The paper's loss
of 0.0061 is no target: a loss depends on the spread and the spectrum of the data, so compare runs on the same clips.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from model_zoo.cdslm.loss import DiffusionLoss
from model_zoo.data.windows import ValidationClip
from model_zoo.noise import normal
from model_zoo.training.ranks import Ranks
from slm_eval.base.arrays import Floats
from slm_eval.base.errors import UsageError

LEVELS = 8

# (contexts (B, Fc, 80), x_t (B, Fg, 80), taus (B,)) -> v (B, Fg, 80), as ``MMDiT.forward``
Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Validation:
    """Errors of every clip at every level, so that two runs can be compared clip by clip."""

    ids: tuple[str, ...]  # N clips
    errors: Floats  # (N, 8), unweighted mean squared error of v
    weights: Floats  # (8,), of the training loss at these levels
    protocol: str  # digest of clips, seed and levels: values of two runs compare if this is the same

    @property
    def loss(self) -> float:
        """Return the training loss, weights included."""
        return float((self.errors * self.weights).mean())

    @property
    def v_mse(self) -> float:
        """Return the unweighted error."""
        return float(self.errors.mean())

    @property
    def by_level(self) -> Floats:
        """Return the unweighted error, mean over clips, from nearly clean to nearly noise: (8,)."""
        return self.errors.mean(axis=0)


def validation_timesteps(n_steps: int) -> list[int]:
    """Return floor((j + 1/2) T / 8), j = 0 ... 7: the middles of eight equal parts of the schedule."""
    return [(2 * j + 1) * n_steps // (2 * LEVELS) for j in range(LEVELS)]


@torch.no_grad()
def validate(
    velocity: Velocity, clips: Iterable[ValidationClip], loss: DiffusionLoss, seed: int = 0, batch_size: int = 8
) -> Validation:
    """Run the protocol.

    Args:
        velocity: the network, float32 weights; autocast is switched off around it.
        clips: at least one, all of the same lengths, on any device.
        loss: of the run; computation happens on its device.
        seed: of the noise.
        batch_size: pairs of clip and level at once. It changes no number by more than the network's rounding.

    Raises:
        UsageError: there is no clip.
    """
    device = loss.weight.device
    timesteps = validation_timesteps(len(loss.weight))
    ids: list[str] = []

    def pairs() -> Iterator[tuple[ValidationClip, Tensor, int]]:
        for clip in clips:
            ids.append(clip.id)
            noise = normal((LEVELS, *clip.target.shape), seed, "validation", clip.id)
            yield from ((clip, sample, t) for sample, t in zip(noise, timesteps, strict=True))

    errors: list[Tensor] = []
    remaining = pairs()
    while batch := list(islice(remaining, batch_size)):
        t = torch.tensor([t for _, _, t in batch]).to(device)
        x0 = torch.stack([clip.target for clip, _, _ in batch]).to(device)
        contexts = torch.stack([clip.context for clip, _, _ in batch]).to(device).float()
        noisy, target = loss.noised(x0, torch.stack([noise for _, noise, _ in batch]).to(device), t)
        with torch.autocast(device.type, enabled=False):
            predicted = velocity(contexts, noisy, loss.taus(t))
        errors.append(loss.errors(predicted, target))
    if not ids:
        raise UsageError("validation needs at least one clip, got none")
    return Validation(
        ids=tuple(ids),
        errors=torch.cat(errors).double().cpu().numpy().reshape(-1, LEVELS),
        weights=loss.weight[timesteps].double().cpu().numpy(),
        protocol=_protocol(ids, seed, loss),
    )


def validate_together(
    velocity: Velocity, clips: Sequence[ValidationClip], loss: DiffusionLoss, ranks: Ranks, batch_size: int = 8
) -> Validation:
    """Run the protocol with each clip on one of the ranks.

    Every rank gets as many clips, since all take part in every forward pass; some are then done twice.
    """
    rounds = math.ceil(len(clips) / ranks.world)
    own = [clips[(ranks.rank + turn * ranks.world) % len(clips)] for turn in range(rounds)]
    part = validate(velocity, own, loss, batch_size=batch_size)
    return joined(ranks.gather(part), [clip.id for clip in clips], loss)


def joined(parts: Sequence[Validation], ids: Sequence[str], loss: DiffusionLoss, seed: int = 0) -> Validation:
    """Join the validations of several processes, each of some of the clips, into one.

    Args:
        ids: of all clips, in their order; one that several processes had counts once.
        loss, seed: as ``validate`` was given.
    """
    errors = {clip: row for part in parts for clip, row in zip(part.ids, part.errors, strict=True)}
    every = np.stack([errors[clip] for clip in ids])
    return Validation(tuple(ids), every, parts[0].weights, _protocol(list(ids), seed, loss))


def _protocol(ids: list[str], seed: int, loss: DiffusionLoss) -> str:
    """Digest clips, seed and signal levels, to 6 digits. Weightings are left out, as errors carry no weight."""
    timesteps = validation_timesteps(len(loss.weight))
    levels = [f"{value:.6g}" for value in loss.alpha[timesteps].tolist()]
    return hashlib.blake2b(json.dumps([ids, seed, levels]).encode("ascii"), digest_size=8).hexdigest()
