"""What an MM-DiT is made of: normalisations, the time embedding, patches, and the weights of one stream in a block."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_zoo.cdslm.config import ModelConfig
from model_zoo.cdslm.rope import Rotation, rotate
from slm_eval.base.errors import UsageError

_EPSILON = 1e-6  # of LayerNorm and RMSNorm, as in DiT and SD3
TIME_FREQUENCIES = 128  # pairs of sine and cosine that tell the noise level


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Return LN(x) (1 + scale) + shift, computed in float32, in the type of x.

    LN has no gain or bias of its own: AdaLN's shift and scale stand for them.
    """
    normal = functional.layer_norm(x.float(), x.shape[-1:], eps=_EPSILON)
    return (normal * (1 + scale.float()) + shift.float()).to(x.dtype)


class RMSNorm(nn.Module):
    """x / rms(x) times a gain per channel, in float32, over the last dimension."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., channels) to the same shape, float32."""
        wide = x.float()
        return wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + _EPSILON) * self.weight.float()


class Projections(NamedTuple):
    """Queries, keys and values of one stream, each (batch, tokens, heads, head_dim) and of one type."""

    queries: Tensor
    keys: Tensor
    values: Tensor


class Stream(nn.Module):
    """The weights of one stream in one block: context and generation share none (paper; layout of SD3, 2403.03206).

    Args:
        reads: whether the stream takes in what attention found and goes on. The context of the last block does not:
            nobody reads it any more, only its keys and values count.
        keep_unread: build the weights of the way back even then.
        chunks: of AdaLN: shift, scale, gate for attention and for the MLP; the first two are all that keys need.
    """

    def __init__(self, config: ModelConfig, reads: bool = True, keep_unread: bool = False, chunks: int = 6) -> None:
        super().__init__()
        d = config.d
        self.heads = config.heads
        self.residual = 1 / config.depth_multiplier  # CompleteP: a branch counts less the more of them there are
        self.adaln = nn.Linear(d, chunks * d)
        self.qkv = nn.Linear(d, 3 * d)
        self.q_norm = RMSNorm(config.head_dim) if config.qk_norm else None
        self.k_norm = RMSNorm(config.head_dim) if config.qk_norm else None
        if reads or keep_unread:
            self.out = nn.Linear(d, d)
            self.fc1 = nn.Linear(d, 4 * d)
            self.fc2 = nn.Linear(4 * d, d)
        if not reads:  # no gradient reaches these: an optimizer need not know of them
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(name.split(".")[0] not in ("q_norm", "out", "fc1", "fc2"))

    def project(self, x: Tensor, modulation: Sequence[Tensor], rotation: Rotation | None) -> Projections:
        """Compute what attention needs of tokens x (batch, tokens, d)."""
        qkv = self.qkv(modulated(x, modulation[0], modulation[1]))
        queries, keys, values = qkv.unflatten(-1, (3, self.heads, -1)).unbind(2)
        if self.q_norm is not None and self.k_norm is not None:
            queries, keys = self.q_norm(queries), self.k_norm(keys)
        if rotation is not None:
            queries, keys = rotate(queries, rotation), rotate(keys, rotation)
        return Projections(queries.to(values.dtype), keys.to(values.dtype), values)

    def take(self, x: Tensor, read: Tensor, modulation: Sequence[Tensor]) -> Tensor:
        """Add what attention read (batch, tokens, d), then the MLP, each through its gate."""
        _, _, gate, mlp_shift, mlp_scale, mlp_gate = modulation
        x = x + (gate * self.residual) * self.out(read)
        hidden = functional.gelu(self.fc1(modulated(x, mlp_shift, mlp_scale)), approximate="tanh")
        return x + (mlp_gate * self.residual) * self.fc2(hidden)


def time_waves(tau: Tensor) -> Tensor:
    """Return cos and sin of tau * 1e4^(-j / 128), j = 0 ... 127, of tau (batch,): float32 (batch, 256)."""
    index = torch.arange(TIME_FREQUENCIES, dtype=torch.float64, device=tau.device)
    angle = tau.double()[:, None] * 1e4 ** (-index / TIME_FREQUENCIES)
    return torch.cat([angle.cos(), angle.sin()], dim=-1).float()


def time_condition(mlp: nn.Sequential, tau: Tensor) -> Tensor:
    """Return SiLU(time embedding), which every AdaLN projects: float32 (batch, d), whatever the weights are held in."""
    first, _, second = mlp
    with _without_autocast(tau.device.type):
        hidden = functional.silu(_float32_linear(first, time_waves(tau)))
        return functional.silu(_float32_linear(second, hidden))


def _float32_linear(layer: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(layer, nn.Linear)
    return functional.linear(x, layer.weight.float(), layer.bias.float())


def _without_autocast(device_type: str) -> AbstractContextManager:
    """Switch autocast off, where there is one: "meta" refuses even that."""
    available = torch.amp.is_autocast_available(device_type)
    return torch.autocast(device_type, enabled=False) if available else nullcontext()


def to_patches(frames: Tensor, patch: int) -> Tensor:
    """Turn (batch, n * patch, mels) into (batch, n, patch * mels), frame after frame within a token.

    Raises:
        UsageError: the frames are no multiple of the patch.
    """
    if frames.shape[1] % patch:
        raise UsageError(
            f"patches of {patch} frames do not divide {frames.shape[1]} frames; "
            f"take {frames.shape[1] // patch * patch} frames or another patch"
        )
    return frames.unflatten(1, (-1, patch)).flatten(2)


def from_patches(tokens: Tensor, patch: int) -> Tensor:
    """Undo ``to_patches``."""
    return tokens.unflatten(2, (patch, -1)).flatten(1, 2)


def cropped(context: Tensor, patch: int) -> Tensor:
    """Return the latest frames of a context (batch, Fc, mels) that patches divide; what is oldest is left out.

    Raises:
        UsageError: not one token is left.
    """
    surplus = context.shape[1] % patch
    if surplus == context.shape[1]:
        raise UsageError(f"the context has {context.shape[1]} frames, a token takes {patch}; give a longer context")
    return context[:, surplus:]
