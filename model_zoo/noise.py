"""Random numbers as functions of what they are for, not of what was drawn before.

A key (seed, purpose, ...) is hashed into the key of a Philox counter-based generator (Salmon et al., SC 2011), which is
used for that one draw and dropped. So a batch never changes a sample, a resumed run never replays the noise of its
start, ranks never share noise, and there is no state to save. Numbers are drawn on the CPU, by integer arithmetic and
the ziggurat method, and copied to where they are needed: the same on CPU and CUDA. One core draws about 100 million a
second, that is 500 continuations of 30 s, and numpy releases the lock, so threads draw at the same time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Purpose = Literal["sampling", "training", "timesteps", "windows", "validation", "weights"]


def generator(seed: int, purpose: Purpose, *key: int | str) -> np.random.Generator:
    """Return a generator of its own for this key. Other purposes and keys, 1 and "1" too, are independent of it."""
    text = json.dumps([seed, purpose, *key])
    digest = hashlib.blake2b(text.encode("ascii"), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def normal(shape: tuple[int, ...], seed: int, purpose: Purpose, *key: int | str) -> Tensor:
    """Draw the standard normal noise of this key, float32 on the CPU."""
    return torch.from_numpy(generator(seed, purpose, *key).standard_normal(shape, dtype=np.float32))


def sampling_noise(ids: Sequence[str], shape: tuple[int, ...], seed: int, segment: int = 0) -> Tensor:
    """Draw where sampling starts, (B, *shape): of each clip by its id alone, and anew in each of its segments."""
    return torch.stack([normal(shape, seed, "sampling", clip_id, segment) for clip_id in ids])


def training_noise(out: Tensor, seed: int, step: int, first: int = 0) -> Tensor:
    """Fill ``out`` (b, ...), float32 on the CPU and perhaps pinned, for one optimizer step.

    Args:
        out: what a rank needs, samples ``first`` to ``first + b - 1`` of the global batch.
        step: of the optimizer, over the whole run.
        first: index in the global batch, so that noise does not depend on how the batch is split over ranks.
    """
    for index, row in enumerate(out, start=first):
        generator(seed, "training", step, index).standard_normal(out=row.numpy(), dtype=np.float32)
    return out


def stratified_timesteps(
    n_steps: int, global_batch: int, seed: int, step: int, first: int = 0, count: int | None = None
) -> Tensor:
    """Draw one noise level in each of ``global_batch`` equal parts of the schedule, all moved by one random shift.

    Args:
        n_steps: T.
        global_batch: samples of all ranks and accumulated parts together.
        step: of the optimizer, over the whole run.
        first, count: the part of the global batch that is wanted; all of it by default.

    Returns:
        int64 (count,) on the CPU: floor(T ((b + u) / B mod 1)), b the index in the global batch, u uniform in [0, 1).
    """
    shift = generator(seed, "timesteps", step).random()
    index = np.arange(first, global_batch if count is None else first + count)
    return torch.from_numpy(np.floor(n_steps * ((index + shift) / global_batch % 1)).astype(np.int64))
