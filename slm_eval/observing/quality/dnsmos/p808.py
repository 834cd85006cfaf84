"""The P.808 network of DNSMOS: one overall score per window, from a log-mel spectrogram.

The reference computes it with librosa per window; here the windows of a clip share their mel power. The level is
relative to the maximum of the window, so the network itself runs per window (0.87 GFLOP, 2 % of P.835's).
Source: the graph of ``model_v8.onnx`` (Reddy et al., DNSMOS, arXiv:2010.15258) and librosa's ``melspectrogram`` and
``power_to_db``. Letters of the shapes: T frames, W windows, F frequency, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slm_eval.observing.quality.dnsmos.layers import (
    HOP_FRAMES,
    WINDOW_FRAMES,
    Layer,
    convolution,
    convolve,
    dense_stack,
    pool,
    split_runs,
)

_FFT, _HOP, _MELS, _RATE = 321, 160, 120, 16_000
_AMIN, _TOP_DB = 1e-10, 80.0  # librosa.power_to_db
# Windows per batch of the network, the same for every clip, so that a score depends on nothing but the clip. On a CPU
# the activations of a few windows (14 MB each) fit its caches; on CUDA more of them hide the launches of kernels.
_BATCH = {"cpu": 2, "cuda": 32}
_POOLED = (0, 1, 3)  # convolutions followed by a pooling


class P808(nn.Module):
    """P.808 scores of the windows of a clip.

    Args:
        convolutions: the five convolutions.
        dense: the three dense layers.
    """

    def __init__(self, convolutions: Sequence[Layer], dense: Sequence[Layer]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(convolution(layer) for layer in convolutions)
        self.dense = dense_stack(dense)
        # Periodic Hann window.
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FFT) / _FFT)
        self.hann = nn.Parameter(torch.from_numpy(hann.astype(np.float32)), requires_grad=False)
        self.filters = nn.Parameter(torch.from_numpy(mel_filters()), requires_grad=False)

    def forward(self, samples: Tensor, windows: Sequence[int]) -> Tensor:
        """Score windows.

        Args:
            samples: of the whole clip, 16 kHz, shape (n,), float32.
            windows: which windows to score, ascending; window w starts at w seconds and spans 144160 samples.

        Returns:
            Shape (W,).
        """
        size = _BATCH["cpu" if samples.device.type == "cpu" else "cuda"]
        batches = [run[first : first + size] for run in split_runs(windows) for first in range(0, len(run), size)]
        return torch.cat([self._score(self.log_mel(samples, batch)) for batch in batches])

    def log_mel(self, samples: Tensor, windows: Sequence[int]) -> Tensor:
        """Return the input (W, 900, 120) for overlapping windows: dB below the window's maximum, (dB + 40) / 40."""
        first, last = windows[0], windows[-1]
        span = samples[first * _RATE : (last - first) * _RATE + first * _RATE + (WINDOW_FRAMES + 1) * _HOP]
        # Frame t is centred on sample 160 t of its window, without the window's last 160 samples and zero beyond its
        # ends: frame 0 sees 160 zeros, frame 899 one. All other frames are the same in every window that has them.
        frames = F.pad(span, (_HOP, 0)).unfold(0, _FFT, _HOP)
        heads = frames[::HOP_FRAMES][: last - first + 1].clone()
        heads[:, :_HOP] = 0
        tails = frames[WINDOW_FRAMES - 1 :: HOP_FRAMES].clone()
        tails[:, -1] = 0
        level = self._mel_db(frames).unfold(0, WINDOW_FRAMES, HOP_FRAMES).permute(0, 2, 1).contiguous()
        level[:, 0], level[:, -1] = self._mel_db(heads), self._mel_db(tails)
        scored = torch.tensor([window - first for window in windows], device=samples.device)
        level = level[scored]
        level -= level.amax((1, 2), keepdim=True)
        return level.clamp_(min=-_TOP_DB).add_(40).div_(40)

    def _mel_db(self, frames: Tensor) -> Tensor:
        """Turn frames (T, 321) into mel power in dB, (T, 120)."""
        spectrum = torch.fft.rfft(frames * self.hann)
        power = spectrum.real.square() + spectrum.imag.square()
        return (power @ self.filters.T).clamp_(min=_AMIN).log10_().mul_(10)

    def _score(self, level: Tensor) -> Tensor:
        """Return scores (W,) of inputs (W, 900, 120)."""
        x = level[..., None]
        for index, module in enumerate(self.convolutions):
            x = convolve(module, x)
            x = (pool(x) if index in _POOLED else x).relu_()
        scores: Tensor = self.dense(x.amax((1, 2)))
        return scores[:, 0]


def mel_filters() -> np.ndarray:
    """Return triangles of equal area on Slaney's mel scale, (120, 161) float32, equal to ``librosa.filters.mel``.

    The scale is linear up to 1 kHz, at 200/3 Hz per mel, and logarithmic above, at 27 mels per factor of 6.4
    (Slaney, Auditory Toolbox, 1998).
    """
    step, knee, log_step = 200 / 3, 1000.0, np.log(6.4) / 27
    top = knee / step + np.log(_RATE / 2 / knee) / log_step
    mels = np.linspace(0, top, _MELS + 2)
    corners = np.where(mels < knee / step, mels * step, knee * np.exp(log_step * (mels - knee / step)))
    bins = np.fft.rfftfreq(_FFT, 1 / _RATE)
    widths = np.diff(corners)
    rising = (bins - corners[:-2, None]) / widths[:-1, None]
    falling = (corners[2:, None] - bins) / widths[1:, None]
    area = 2 / (corners[2:] - corners[:-2])
    filters = np.maximum(0, np.minimum(rising, falling)) * area[:, None]
    return filters.astype(np.float32)
