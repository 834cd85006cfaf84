"""Layers of the two networks of NISQA, with batch norms folded into convolutions.

Legend: S segments, T frames, B mel bands, C channels, D = 64 features, P = 5 pools. Activations are (S, T, B, C) in
memory, which PyTorch calls channels_last, and oneDNN convolves fastest; time comes first, so that segments are slices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SEGMENT_FRAMES = 15
# Of batch and layer norms: PyTorch's default, with which NISQA was trained.
_EPSILON = 1e-5

Weights = Mapping[str, Tensor]


class Pooling(NamedTuple):
    """How the 15 frames of a segment are pooled after the first convolution: maxima over windows of frames.

    All windows start two frames after the one before. The first and the last hold frame 0 and 14, which differ from
    segment to segment; they are given by the frames that they hold besides.
    """

    first: tuple[int, ...]
    starts: tuple[int, ...]  # of the windows between
    size: int
    last: tuple[int, ...]


class FirstLayer(nn.Module):
    """Convolution of one channel to 16, and pooling, of all segments of a stretch of frames; ReLU.

    The reference convolves each segment on its own, with zeros at its ends. So only frames 0 and 14 of a segment differ
    from those of the whole stretch: they lack one of three rows of the kernel. All others are computed once and shared.
    """

    def __init__(self, weight: Tensor, bias: Tensor, hop: int, pooling: Pooling) -> None:
        super().__init__()
        self.hop, self.pooling = hop, pooling
        self.inner = _as_convolution(weight, bias, (0, 1))
        self.left = _as_convolution(weight[:, :, 1:], bias, (0, 1), stride=(hop, 1))
        self.right = _as_convolution(weight[:, :, :2], bias, (0, 1), stride=(hop, 1))

    def forward(self, frames_TB: Tensor) -> Tensor:
        """Turn (T, 48) into (S, windows, 24, 16); the last segment ends with the last frame."""
        count, pooling = (len(frames_TB) - SEGMENT_FRAMES) // self.hop + 1, self.pooling
        # ReLU and maximum commute: it is cheapest where nothing is repeated yet. Row t belongs to frame t + 1.
        inner = self._bands(self.inner, frames_TB).relu_()
        left = self._bands(self.left, frames_TB[: (count - 1) * self.hop + 2]).relu_()
        right = self._bands(self.right, frames_TB[SEGMENT_FRAMES - 2 :]).relu_()
        windows = _maxima([inner[shift : len(inner) - pooling.size + 1 + shift] for shift in range(pooling.size)])
        between = windows[pooling.starts[0] - 1 :].unfold(0, 2 * len(pooling.starts) - 1, self.hop)[..., ::2]
        pooled = inner.new_empty(count, len(pooling.starts) + 2, *inner.shape[1:])
        pooled[:, 0] = _maxima([left, *(inner[frame - 1 :: self.hop][:count] for frame in pooling.first)])
        pooled[:, 1:-1] = between[:count].permute(0, 3, 1, 2)
        pooled[:, -1] = _maxima([right, *(inner[frame - 1 :: self.hop][:count] for frame in pooling.last)])
        return pooled

    @staticmethod
    def _bands(convolution: nn.Conv2d, frames_TB: Tensor) -> Tensor:
        """Convolve (T, 48) and take the maximum of pairs of bands: (T', 24, 16)."""
        x_TBC = convolve(convolution, frames_TB[None, :, :, None])[0]
        return torch.maximum(x_TBC[:, 0::2], x_TBC[:, 1::2])


class AttentionLayer(nn.Module):
    """One head of self-attention and a dense layer, each added to its input and normalised; (S, D) to (S, D)."""

    def __init__(self, weights: Weights, name: str) -> None:
        super().__init__()
        self.project = linear(weights[f"{name}.self_attn.in_proj_weight"], weights[f"{name}.self_attn.in_proj_bias"])
        self.combine = linear_of(weights, f"{name}.self_attn.out_proj")
        self.norm1, self.norm2 = layer_norm(weights, f"{name}.norm1"), layer_norm(weights, f"{name}.norm2")
        self.dense = nn.Sequential(
            linear_of(weights, f"{name}.linear1"), nn.ReLU(), linear_of(weights, f"{name}.linear2")
        )

    def forward(self, x_SD: Tensor) -> Tensor:
        query, key, value = self.project(x_SD)[None, None].chunk(3, -1)
        heard = F.scaled_dot_product_attention(query, key, value)[0, 0]
        x_SD = self.norm1(x_SD + self.combine(heard))
        return self.norm2(x_SD + self.dense(x_SD))


class AttentionPool(nn.Module):
    """Five scores, each from a mean over segments with weights of its own; (S, D) to (5,)."""

    def __init__(self, weights: Weights, pools: int = 5) -> None:
        super().__init__()
        layers = [f"pool_layers.{pool}.model" for pool in range(pools)]
        joined = {
            part: torch.stack([weights[f"{layer}.{part}"] for layer in layers])
            for part in ("linear1.weight", "linear1.bias", "linear2.weight", "linear3.weight", "linear3.bias")
        }
        self.hidden = linear(joined["linear1.weight"].flatten(0, 1), joined["linear1.bias"].flatten())
        # The bias of linear2 moves all weights alike before the softmax, which does not hear it.
        self.register_buffer("attend_PH", joined["linear2.weight"][:, 0])
        self.register_buffer("score_PD", joined["linear3.weight"][:, 0])
        self.register_buffer("bias_P", joined["linear3.bias"][:, 0])

    def forward(self, x_SD: Tensor) -> Tensor:
        hidden_SPH = self.hidden(x_SD).relu_().unflatten(1, self.attend_PH.shape)
        weight_PS = (hidden_SPH * self.attend_PH).sum(-1).T.softmax(-1)
        return (weight_PS @ x_SD * self.score_PD).sum(-1) + self.bias_P


def convolve(module: nn.Module, x_STBC: Tensor) -> Tensor:
    """Apply a convolution to (S, T, B, C)."""
    y: Tensor = module(x_STBC.permute(0, 3, 1, 2))
    return y.permute(0, 2, 3, 1)


def adaptive_pool(x_STBC: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maxima that leave ``size`` frames and bands: window i of n holds floor(i·T/n) to ceil((i+1)·T/n)."""
    return F.adaptive_max_pool2d(x_STBC.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1)


def convolution(weights: Weights, layer: int, padding: tuple[int, int] = (1, 1)) -> nn.Conv2d:
    """Return convolution ``layer`` of the checkpoint, 1 to 6, its batch norm folded in; padding of frames and bands."""
    return _as_convolution(*folded(weights, layer), padding)


def folded(weights: Weights, layer: int) -> tuple[Tensor, Tensor]:
    """Return weight, (out, in, frames, bands), and bias of a convolution followed by its batch norm.

    BN(w·x + b) = w·g·x + (b - mean)·g + beta, with g = gamma / sqrt(var + epsilon).
    """
    norm = {part: weights[f"cnn.model.bn{layer}.{part}"].double() for part in ("weight", "bias")}
    mean, variance = (weights[f"cnn.model.bn{layer}.running_{part}"].double() for part in ("mean", "var"))
    gain = norm["weight"] / torch.sqrt(variance + _EPSILON)
    weight = weights[f"cnn.model.conv{layer}.weight"].double() * gain[:, None, None, None]
    bias = (weights[f"cnn.model.conv{layer}.bias"].double() - mean) * gain + norm["bias"]
    return weight.transpose(2, 3).float(), bias.float()  # (bands, frames) in the checkpoint


def _as_convolution(
    weight: Tensor, bias: Tensor, padding: tuple[int, int], stride: tuple[int, int] = (1, 1)
) -> nn.Conv2d:
    outputs, inputs, frames, bands = weight.shape
    module = nn.Conv2d(inputs, outputs, (frames, bands), stride=stride, padding=padding)
    module.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last), requires_grad=False)
    module.bias = nn.Parameter(bias, requires_grad=False)
    return module


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """Return a dense layer of these values."""
    module = nn.Linear(weight.shape[1], weight.shape[0])
    module.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    module.bias = nn.Parameter(bias, requires_grad=False)
    return module


def linear_of(weights: Weights, name: str) -> nn.Linear:
    """Return a dense layer of the checkpoint, as it is."""
    return linear(weights[f"{name}.weight"], weights[f"{name}.bias"])


def by_position(weight: Tensor, channels: int, bands: int, frames: int) -> Tensor:
    """Return the weight of a dense layer over (C, B, T) of the checkpoint, for (T, B, C) as we flatten it."""
    return weight.unflatten(1, (channels, bands, frames)).permute(0, 3, 2, 1).flatten(1)


def layer_norm(weights: Weights, name: str) -> nn.LayerNorm:
    """Return a layer norm of the checkpoint."""
    module = nn.LayerNorm(len(weights[f"{name}.weight"]), eps=_EPSILON)
    module.weight = nn.Parameter(weights[f"{name}.weight"], requires_grad=False)
    module.bias = nn.Parameter(weights[f"{name}.bias"], requires_grad=False)
    return module


def _maxima(tensors: list[Tensor]) -> Tensor:
    """Return elementwise maxima over tensors of one shape."""
    highest = tensors[0]
    for tensor in tensors[1:]:
        highest = torch.maximum(highest, tensor)
    return highest
