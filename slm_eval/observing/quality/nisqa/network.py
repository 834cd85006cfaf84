"""The two networks of NISQA: a CNN over overlapping segments, attention or an LSTM over their sequence (Mittag 2021).

``nisqa.tar``: five scores, from segments 40 ms apart. ``nisqa_tts.tar``: naturalness, from segments 10 ms apart.

Clips are computed one by one, so that no number depends on another clip of the batch: every shape follows from the clip
alone. A clip of 10 s is 250 segments, which is work enough for a CPU. Legend: ``layers.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from slm_eval.observing.quality.nisqa.layers import (
    SEGMENT_FRAMES,
    AttentionLayer,
    AttentionPool,
    FirstLayer,
    Pooling,
    Weights,
    adaptive_pool,
    by_position,
    convolution,
    convolve,
    folded,
    layer_norm,
    linear,
    linear_of,
)

# Segments convolved at once: the largest activation, 128 × 7 × 24 × 32 numbers, is 2.8 MB and stays in the cache.
_BLOCK = 128
# Adaptive pooling from 15 frames to 7 amounts to windows of three, each sharing a frame with the next.
_ADAPTIVE = Pooling(first=(1, 2), starts=(2, 4, 6, 8, 10), size=3, last=(12, 13))
# Windows of two frames after one of padding: the first holds frame 0 alone.
_STANDARD = Pooling(first=(), starts=(1, 3, 5, 7, 9, 11), size=2, last=(13,))


class Network(nn.Module):
    """What both have in common: a clip is cut into segments, these become features, and those scores.

    Args:
        weights: the checkpoint's tensors by name.
        hop: frames from one segment to the next.
        pooling: after the first convolution.
    """

    def __init__(self, weights: Weights, hop: int, pooling: Pooling) -> None:
        super().__init__()
        self.hop = hop
        self.first = FirstLayer(*folded(weights, 1), hop, pooling)

    def forward(self, mel_TB: Tensor) -> Tensor:
        """Score a clip, float32, from its mel spectrogram in dB, (T, 48), of at least 15 frames."""
        segments = count_segments(len(mel_TB), self.hop)
        features = []
        for begin in range(0, segments, _BLOCK):
            end = min(begin + _BLOCK, segments)
            frames = mel_TB[begin * self.hop : (end - 1) * self.hop + SEGMENT_FRAMES]
            features.append(self.features(self.first(frames)))
        return self.scores(torch.cat(features))

    def features(self, x_STBC: Tensor) -> Tensor:
        """Turn the pooled output of the first convolution into features, (S, D)."""
        raise NotImplementedError

    def scores(self, x_SD: Tensor) -> Tensor:
        """Turn the features of all segments of a clip into its scores."""
        raise NotImplementedError


class NISQANetwork(Network):
    """``nisqa.tar``: scores in the order mos, noi, dis, col, loud; shape (5,)."""

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights, 4, _ADAPTIVE)
        self.conv2, self.conv3, self.conv4, self.conv5 = (convolution(weights, layer) for layer in range(2, 6))
        self.conv6 = convolution(weights, 6, padding=(0, 1))  # as wide as what is left of time
        name = "time_dependency.model"
        self.linear = linear(by_position(weights[f"{name}.linear.weight"], 64, 6, 1), weights[f"{name}.linear.bias"])
        self.norm = layer_norm(weights, f"{name}.norm1")
        self.attention = nn.Sequential(*(AttentionLayer(weights, f"{name}.layers.{layer}") for layer in range(2)))
        self.pool = AttentionPool(weights)

    def features(self, x_STBC: Tensor) -> Tensor:
        x = adaptive_pool(convolve(self.conv2, x_STBC), (5, 12)).relu_()
        x = convolve(self.conv3, x).relu_()
        x = adaptive_pool(convolve(self.conv4, x), (3, 6)).relu_()
        x = convolve(self.conv5, x).relu_()
        x = convolve(self.conv6, x).relu_()
        return self.norm(self.linear(x.flatten(1)))

    def scores(self, x_SD: Tensor) -> Tensor:
        return self.pool(self.attention(x_SD))


class NISQATTSNetwork(Network):
    """``nisqa_tts.tar``: naturalness; shape (1,)."""

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights, 1, _STANDARD)
        convolutions = (convolution(weights, layer) for layer in range(2, 7))
        self.conv2, self.conv3, self.conv4, self.conv5, self.conv6 = convolutions
        self.linear = linear(
            by_position(weights["cnn.model.fc_out.weight"], 64, 6, 2), weights["cnn.model.fc_out.bias"]
        )
        self.lstm = nn.LSTM(self.linear.out_features, 128, bidirectional=True)
        name = "time_dependency.model.lstm"
        self.lstm.load_state_dict({part: weights[f"{name}.{part}"] for part in self.lstm.state_dict()})
        self.score = linear_of(weights, "pool.model.linear")

    def features(self, x_STBC: Tensor) -> Tensor:
        x = adaptive_pool(convolve(self.conv2, x_STBC), (4, 12)).relu_()
        x = convolve(self.conv3, x).relu_()
        x = adaptive_pool(convolve(self.conv4, x), (2, 6)).relu_()
        x = convolve(self.conv5, x).relu_()
        x = convolve(self.conv6, x).relu_()
        return self.linear(x.flatten(1))

    def scores(self, x_SD: Tensor) -> Tensor:
        """Score the state after the last segment, and, backwards, after the first."""
        with _exact_rnn(x_SD.device):
            _, (state, _) = self.lstm(x_SD)
        return self.score(state.flatten())


def count_segments(frames: int, hop: int) -> int:
    """Return how many segments of 15 frames start every ``hop`` frames.

    >>> [count_segments(frames, 4) for frames in (15, 18, 19)]
    [1, 1, 2]
    """
    return (frames - SEGMENT_FRAMES) // hop + 1


@contextmanager
def _exact_rnn(device: torch.device) -> Iterator[None]:
    """Forbid TF32 in the LSTM on CUDA: PyTorch 2.9 allows it unless told otherwise, and apart from convolutions.

    Older versions have one switch for both, which ``exact_float32`` sets.
    """
    rnn: Any = getattr(torch.backends.cudnn, "rnn", None)
    if device.type != "cuda" or rnn is None:
        yield
        return
    before = rnn.fp32_precision
    rnn.fp32_precision = "ieee"
    try:
        yield
    finally:
        rnn.fp32_precision = before
