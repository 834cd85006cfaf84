"""What the two networks of DNSMOS share: windows, layers, and how they are computed.

Layouts: activations are (N, T, F, C), T time, F frequency, C channels. PyTorch calls this channels_last, and oneDNN
convolves it fastest. All is float32: the tolerance against the reference leaves no room for less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# A window is 900 frames of 10 ms; the next one starts a second later.
WINDOW_FRAMES, HOP_FRAMES = 900, 100
WINDOW_HOPS = WINDOW_FRAMES // HOP_FRAMES


@dataclass(frozen=True)
class Layer:
    """Weight and bias of a convolution, (out, in, 3, 3), or of a dense layer, (out, in); float32."""

    weight: Tensor
    bias: Tensor


def split_runs(windows: Sequence[int]) -> list[list[int]]:
    """Group ascending windows such that within a group each overlaps the one before.

    >>> split_runs([0, 1, 6, 24, 25])
    [[0, 1, 6], [24, 25]]
    """
    runs: list[list[int]] = []
    for window in windows:
        if runs and window - runs[-1][-1] < WINDOW_HOPS:
            runs[-1].append(window)
        else:
            runs.append([window])
    return runs


def convolution(layer: Layer) -> nn.Conv2d:
    """Return a 3×3 convolution, zero-padded to the same size."""
    outputs, inputs = layer.weight.shape[:2]
    module = nn.Conv2d(inputs, outputs, 3, padding=1)
    module.weight = nn.Parameter(layer.weight.contiguous(memory_format=torch.channels_last), requires_grad=False)
    module.bias = nn.Parameter(layer.bias, requires_grad=False)
    return module


def dense_stack(layers: Sequence[Layer]) -> nn.Sequential:
    """Return dense layers with ReLU between them."""
    modules: list[nn.Module] = []
    for layer in layers:
        outputs, inputs = layer.weight.shape
        linear = nn.Linear(inputs, outputs)
        linear.weight = nn.Parameter(layer.weight, requires_grad=False)
        linear.bias = nn.Parameter(layer.bias, requires_grad=False)
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def convolve(module: nn.Module, x_NTFC: Tensor) -> Tensor:
    """Apply a convolution to (N, T, F, C)."""
    y: Tensor = module(x_NTFC.permute(0, 3, 1, 2))
    return y.permute(0, 2, 3, 1)


def pool(x_NTFC: Tensor) -> Tensor:
    """Return 2×2 maxima of (N, T, F, C); an odd last column or row is dropped. ReLU and maximum commute."""
    return F.max_pool2d(x_NTFC.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
