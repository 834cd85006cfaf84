"""The network of Audiobox Aesthetics for inference: WavLM base, pooled per axis. Tjandra et al. 2025, Chen et al. 2022.

Equal to ``AesMultiOutput`` of the package audiobox-aesthetics 0.0.4 up to rounding, with less work:

- frames that are all padding are never computed. Attention and pooling mask them, and what the convolutions see of
  them is zero, so that nothing depends on them but the group norm, whose statistics count their zeros;
- the first convolution and its group norm are one matrix product: mean and variance of every channel follow from the
  10 × 10 second moments of the samples, before the convolution is computed;
- sound is (B, T, C) throughout, so that convolutions and linear layers share one layout; q, k, v and the gate of the
  relative positions are one product; the mean over time is taken before the weighted sum over layers;
- weight norm and position buckets are computed once, when the weights are read.

Shapes: B windows, T frames, C channels of the convolutions, D width, H heads, L layers + 1, A axes. float32; with
``torch.bfloat16`` the operands of matrix products and convolutions are rounded to it, but for the first convolution,
that of the positions, and the heads; sums over layers, norms and pooling stay in float32.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from slm_eval.observing.quality.audiobox.shapes import AXES

WINDOW_SAMPLES = 160_000
STRIDES = (5, 2, 2, 2, 2, 2, 2)
HOP = math.prod(STRIDES)  # samples per frame
MAX_DISTANCE = 800  # frames, beyond which relative positions share a bucket
# Conv outputs computed at once on a CPU by the first two layers: their activations then stay in the cache.
_BLOCK_ROWS = 1024


class AudioboxNetwork:
    """Predicts the four axes of windows of 10 s, before they are scaled to scores.

    Args:
        tensors: the checkpoint's, by the names of ``AesMultiOutput``; sizes are taken from their shapes.
        normalise_pooled: whether the pooled vector is scaled to unit length.
        device: "cpu", "cuda:0".
        dtype: of the operands of matrix products: ``torch.float32`` or ``torch.bfloat16``.
    """

    def __init__(
        self, tensors: dict[str, Tensor], normalise_pooled: bool, device: str, dtype: torch.dtype = torch.float32
    ) -> None:
        self.device = torch.device(device)
        self.dtype = dtype
        self.normalise_pooled = normalise_pooled
        self._all = {name: tensor.to(self.device, torch.float32) for name, tensor in tensors.items()}
        encoder = "wavlm_model.encoder"
        conv = "wavlm_model.feature_extractor.conv_layers"
        # (C, 10) in float64: the group norm's statistics are computed with it.
        self.first = self._all[f"{conv}.0.0.weight"][:, 0].double()
        self.group_norm = (self._all[f"{conv}.0.2.weight"].double(), self._all[f"{conv}.0.2.bias"].double())
        self.convs = [_as_image(self._all[f"{conv}.{i}.0.weight"]).to(dtype) for i in range(1, len(STRIDES))]
        self.feature_norm = self._pair("wavlm_model.layer_norm")
        self.project = self._linear("wavlm_model.post_extract_proj")
        # Always in float32: oneDNN's bf16 convolution of groups of 8 channels is plainly wrong (torch 2.11, AMX).
        self.position_conv = (
            _fold_weight_norm(self._all[f"{encoder}.pos_conv.0.weight_v"], self._all[f"{encoder}.pos_conv.0.weight_g"]),
            self._all[f"{encoder}.pos_conv.0.bias"],
        )
        self.embed_norm = self._pair(f"{encoder}.layer_norm")
        buckets = self._all[f"{encoder}.layers.0.self_attn.relative_attention_bias.weight"]
        self.max_frames = frames_of(WINDOW_SAMPLES)
        self.positions = position_bias(buckets, self.max_frames)
        n_layers = len({name.split(".")[3] for name in tensors if name.startswith(f"{encoder}.layers.")})
        self.layers = [self._layer(f"{encoder}.layers.{i}") for i in range(n_layers)]
        self.mix = torch.stack([self._all[f"layer_weights.{axis}"] for axis in AXES]).softmax(-1)  # (A, L)
        self.heads = [self._head(f"proj_layer.{axis}") for axis in AXES]
        del self._all

    def __call__(self, windows_BS: Tensor, frames: list[int], n: int) -> Tensor:
        """Predict the axes of windows.

        Args:
            windows_BS: 16 kHz samples, shape (B, 160000), zero-padded.
            frames: how many frames of each window hold sound, ``frames_of(samples)``.
            n: how many frames are computed, at least the largest of ``frames``.

        Returns:
            Shape (B, 4), float32, in the order of ``AXES``.
        """
        alive = None
        if frames != [n]:  # also where all are full: what a batch computes must not depend on who is in it
            alive = torch.arange(n, device=self.device) < torch.tensor(frames, device=self.device)[:, None]
        x = F.layer_norm(self._features(windows_BS, n).float(), *self.feature_norm)
        x = self._encode(F.linear(x.to(self.dtype), *self.project).float(), alive)
        return self._predict(x)

    def _features(self, windows_BS: Tensor, n: int) -> Tensor:
        """Apply the convolutions: the first n frames, (B, n, C)."""
        weight_BKC, bias_B1C = self._first_layer(windows_BS)
        rows_BTK = windows_BS.unfold(1, self.first.shape[1], STRIDES[0])
        counts = self._rows_needed(n)
        if self.device.type == "cpu":
            x = self._first_two_in_blocks(rows_BTK, weight_BKC, bias_B1C, counts[1])
        else:
            x = self._convolve(1, self._expand(rows_BTK[:, : counts[0]], weight_BKC, bias_B1C))
        for index in range(2, len(STRIDES)):
            x = self._convolve(index, x)
        return x

    def _first_layer(self, windows_BS: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first convolution with its group norm: weight (B, 10, C) and bias (B, 1, C).

        Channel c is W_c·r_t for rows r_t of 10 samples, so that its mean over time is W_c·mean(r) and its mean square
        W_c·M·W_c with M = mean(r rᵀ). Padding counts, as in the reference.
        """
        rows = windows_BS.double().unfold(1, self.first.shape[1], STRIDES[0])
        mean_BC = rows.mean(1) @ self.first.T
        moments_BKK = rows.transpose(1, 2) @ rows / rows.shape[1]
        square_BC = torch.einsum("ck,bkj,cj->bc", self.first, moments_BKK, self.first)
        gamma, beta = self.group_norm
        scale_BC = gamma / ((square_BC - mean_BC**2).clamp(min=0) + 1e-5).sqrt()
        weight_BKC = self.first.T * scale_BC[:, None]
        return weight_BKC.float(), (beta - mean_BC * scale_BC)[:, None].float()

    def _rows_needed(self, n: int) -> list[int]:
        """Return how many outputs of each convolution n frames need."""
        counts = [n]
        for stride, weight in zip(STRIDES[:0:-1], self.convs[::-1], strict=True):
            counts.insert(0, (counts[0] - 1) * stride + weight.shape[-1])
        return counts

    def _first_two_in_blocks(self, rows_BTK: Tensor, weight_BKC: Tensor, bias_B1C: Tensor, count: int) -> Tensor:
        """Apply the first two layers in blocks, so that the wide activations of the first one never leave the cache."""
        kernel, stride = self.convs[0].shape[-1], STRIDES[1]
        blocks = []
        for start in range(0, count, _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, count)
            rows = rows_BTK[:, start * stride : (stop - 1) * stride + kernel]
            blocks.append(self._convolve(1, self._expand(rows, weight_BKC, bias_B1C)))
        return torch.cat(blocks, 1)

    def _expand(self, rows_BTK: Tensor, weight_BKC: Tensor, bias_B1C: Tensor) -> Tensor:
        return _gelu_(torch.baddbmm(bias_B1C, rows_BTK.contiguous(), weight_BKC)).to(self.dtype)

    def _convolve(self, index: int, x_BTC: Tensor) -> Tensor:
        image = x_BTC.transpose(1, 2).unsqueeze(2)  # (B, C, 1, T) in the order of memory that is called channels_last
        y = F.conv2d(image, self.convs[index - 1], stride=(1, STRIDES[index]))
        return _gelu_(y).squeeze(2).transpose(1, 2)

    def _encode(self, x_BTD: Tensor, alive_BT: Tensor | None) -> Tensor:
        """Apply the transformer: the mean over time of its input and of every layer's output, (B, L, D)."""
        if alive_BT is not None:
            x_BTD = x_BTD * alive_BT[..., None]
        weight, bias = self.position_conv
        groups, n = weight.shape[0] // weight.shape[1], x_BTD.shape[1]
        position = F.conv1d(x_BTD.transpose(1, 2), weight, bias, padding=weight.shape[2] // 2, groups=groups)
        x = F.layer_norm(x_BTD + _gelu_(position[..., :n]).transpose(1, 2), *self.embed_norm)
        pooled = [_mean(x, alive_BT)]
        for layer in self.layers:
            x = layer(x, self.positions[:, :n, :n], alive_BT)
            pooled.append(_mean(x, alive_BT))
        return torch.stack(pooled, 1)

    def _predict(self, pooled_BLD: Tensor) -> Tensor:
        mixed_BAD = self.mix @ pooled_BLD
        if self.normalise_pooled:
            mixed_BAD = F.normalize(mixed_BAD, dim=-1)
        return torch.cat([head(mixed_BAD[:, axis]) for axis, head in enumerate(self.heads)], 1)

    def _pair(self, name: str) -> Any:
        """Return the arguments of F.layer_norm after the input."""
        weight = self._all[f"{name}.weight"]
        return weight.shape, weight, self._all[f"{name}.bias"]

    def _linear(self, name: str) -> tuple[Tensor, Tensor]:
        return self._all[f"{name}.weight"].to(self.dtype), self._all[f"{name}.bias"].to(self.dtype)

    def _layer(self, name: str) -> _Layer:
        return _Layer(
            {key[len(name) + 1 :]: self._all[key] for key in self._all if key.startswith(f"{name}.")}, self.dtype
        )

    def _head(self, name: str) -> _Head:
        return _Head(self._below(name))

    def _below(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of a part of the model, by their names within it."""
        return {key[len(name) + 1 :]: tensor for key, tensor in self._all.items() if key.startswith(f"{name}.")}


class _Layer:
    """A transformer layer, norms after the sums, attention with gated relative positions."""

    def __init__(self, tensors: dict[str, Tensor], dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.gate_scale = tensors["self_attn.grep_a"]  # (1, H, 1, 1)
        self.n_heads = self.gate_scale.shape[1]
        gate_weight, gate_bias = _gate(
            tensors["self_attn.grep_linear.weight"], tensors["self_attn.grep_linear.bias"], self.n_heads
        )
        parts = ("q", "k", "v")
        self.qkvg = (
            torch.cat([*(tensors[f"self_attn.{part}_proj.weight"] for part in parts), gate_weight]).to(dtype),
            torch.cat([*(tensors[f"self_attn.{part}_proj.bias"] for part in parts), gate_bias]).to(dtype),
        )
        self.out, self.fc1, self.fc2 = (
            (tensors[f"{name}.weight"].to(dtype), tensors[f"{name}.bias"].to(dtype))
            for name in ("self_attn.out_proj", "fc1", "fc2")
        )
        self.norm1, self.norm2 = (
            (tensors[f"{name}.weight"].shape, tensors[f"{name}.weight"], tensors[f"{name}.bias"])
            for name in ("self_attn_layer_norm", "final_layer_norm")
        )

    def __call__(self, x_BTD: Tensor, positions_HTT: Tensor, alive_BT: Tensor | None) -> Tensor:
        x = F.layer_norm(x_BTD + self._attend(x_BTD, positions_HTT, alive_BT), *self.norm1)
        hidden = _gelu_(F.linear(x.to(self.dtype), *self.fc1))
        return F.layer_norm(x + F.linear(hidden, *self.fc2), *self.norm2)

    def _attend(self, x_BTD: Tensor, positions_HTT: Tensor, alive_BT: Tensor | None) -> Tensor:
        batch, n, width = x_BTD.shape
        mixed = F.linear(x_BTD.to(self.dtype), *self.qkvg)
        q, k, v = mixed[..., : 3 * width].view(batch, n, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        a, b = mixed[..., 3 * width :].float().sigmoid().view(batch, n, self.n_heads, 2, 1).permute(3, 0, 2, 1, 4)
        bias_BHTT = (a * (b * self.gate_scale - 1) + 2) * positions_HTT
        if alive_BT is not None:
            bias_BHTT.masked_fill_(~alive_BT[:, None, None], -math.inf)
        heard = F.scaled_dot_product_attention(q, k, v, attn_mask=bias_BHTT.to(self.dtype))
        return F.linear(heard.transpose(1, 2).reshape(batch, n, width), *self.out)


class _Head:
    """Linear layers from the pooled vector to one number; all but the last may be followed by a norm, then GELU."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        indices = sorted({int(name.split(".")[0]) for name in tensors})
        self.steps = [(tensors[f"{index}.weight"], tensors[f"{index}.bias"]) for index in indices]

    def __call__(self, x_BD: Tensor) -> Tensor:
        pending = False  # a GELU follows every linear layer but the last, after its norm
        for weight, bias in self.steps:
            if weight.ndim == 1:
                x_BD = F.layer_norm(x_BD, weight.shape, weight, bias)
                continue
            x_BD = F.linear(F.gelu(x_BD) if pending else x_BD, weight, bias)
            pending = True
        return x_BD


def frames_of(samples: int) -> int:
    """Return how many frames of a window hold sound: one per 320 samples or part of them, 499 at most.

    >>> frames_of(1), frames_of(321), frames_of(160_000)
    (1, 2, 499)
    """
    return min(math.ceil(samples / HOP), WINDOW_SAMPLES // HOP - 1)


def position_bias(table_NH: Tensor, n: int) -> Tensor:
    """Return what attention adds for the distance of two frames, (H, n, n), from the values of N buckets.

    Half of the buckets are for keys after the query. In each half the first half are single distances, the others
    grow with the logarithm of the distance up to ``MAX_DISTANCE``.
    """
    half = table_NH.shape[0] // 2
    exact = half // 2
    time = torch.arange(n)
    offset = time[None] - time[:, None]
    distance = offset.abs()
    # As the reference computes it, in float32: distances at the edges of buckets must fall to the same side.
    large = exact + (torch.log(distance.float() / exact) / math.log(MAX_DISTANCE / exact) * (half - exact)).long()
    bucket = torch.where(distance < exact, distance, large.clamp(max=half - 1)) + half * (offset > 0)
    return table_NH[bucket.to(table_NH.device)].permute(2, 0, 1).contiguous()


def _gate(weight: Tensor, bias: Tensor, n_heads: int) -> tuple[Tensor, Tensor]:
    """Return the gate's two numbers per head as rows of one matrix over the whole width: (2 H, D) and (2 H,).

    The reference maps the 64 channels of a head to 8 numbers, and sums each 4 of them.
    """
    weight, bias = weight.view(2, 4, -1).sum(1), bias.view(2, 4).sum(1)
    return torch.block_diag(*[weight] * n_heads), bias.repeat(n_heads)


def _fold_weight_norm(direction: Tensor, length: Tensor) -> Tensor:
    """Fold weight norm over all but the last dimension into one weight."""
    return direction * (length / direction.norm(dim=(0, 1), keepdim=True))


def _as_image(weight: Tensor) -> Tensor:
    """Reshape (out, in, k) to (out, in, 1, k), channels last in memory."""
    return weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)


def _mean(x_BTD: Tensor, alive_BT: Tensor | None) -> Tensor:
    """Return the mean over the frames that hold sound, (B, D)."""
    if alive_BT is None:
        return x_BTD.mean(1)
    return (x_BTD * alive_BT[..., None]).sum(1) / alive_BT.sum(1, keepdim=True)


def _gelu_(x: Tensor) -> Tensor:
    """Apply GELU in place: fresh memory for wide activations costs twice as much as the function."""
    y: Tensor = torch.ops.aten.gelu_(x)
    return y
