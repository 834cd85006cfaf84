"""Rotary positions (arXiv 2104.09864): where a token stands is an angle by which its queries and keys are turned.

By default both streams lie on one axis of time, counted in frames: the context from 0, the generation after it. So the
network is told that one follows the other, and a token of k frames counts k.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from slm_eval.base.errors import UsageError

_BASE = 1e4  # the slowest pair turns once in about 63,000 frames


class Rotation(NamedTuple):
    """Cosine and sine of the angle of every token and pair of channels, float32 (tokens, 1, head_dim / 2)."""

    cosine: Tensor
    sine: Tensor


def positions(
    kind: Literal["time_axis", "shared", "per_stream"], context: int, generation: int, patch: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return the positions of the tokens of both streams, float64 (context,) and (generation,).

    Args:
        kind: "time_axis": one axis in frames; "shared": one axis in tokens, the same if a token is one frame;
            "per_stream": in frames, both streams from 0 (F5-TTS).
        context, generation: numbers of tokens.
        patch: frames per token.
    """
    unit = 1 if kind == "shared" else patch
    start = 0 if kind == "per_stream" else context
    index = torch.arange(max(context, start + generation), dtype=torch.float64, device=device) * unit
    return index[:context], index[start : start + generation]


def rotation(where: Tensor, head_dim: int) -> Rotation:
    """Return the tables of positions (tokens,): pair j turns by position * base^(-2 j / head_dim).

    Angles are float64, since they grow to thousands of radians, where bfloat16 knows no fraction at all.
    """
    frequency = _BASE ** (-torch.arange(0, head_dim, 2, dtype=torch.float64, device=where.device) / head_dim)
    angle = (where.double()[:, None] * frequency)[:, None]
    return Rotation(angle.cos().float(), angle.sin().float())


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """Turn the channel pairs (j, j + head_dim / 2) of x (batch, tokens, heads, head_dim), in float32.

    Raises:
        UsageError: the tables were cast, as FSDP does with what it hands to a block unless told otherwise.
    """
    if by.cosine.dtype != torch.float32:
        raise UsageError(f"tables of rotary positions are float32, got {by.cosine.dtype}; do not cast what blocks get")
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat([first * by.cosine - second * by.sine, second * by.cosine + first * by.sine], dim=-1)
