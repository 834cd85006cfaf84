"""The front end of Allosaurus: 8 kHz signals on the int16 scale -> normalised, stacked MFCC, 33 rows of 120 a second.

Written from the formulas in Kaldi's documentation and from what allosaurus 1.0.2 computes, in the precisions in which
it computes: float32 for what is done to samples and to cepstra, float64 in between. Clips travel as one packed list of
rows, without padding. Shapes: S samples of all clips, F frames of all clips, T rows that the network sees.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from slm_eval.observing.phones.allosaurus.settings import FrontEndConfig

_RATE = 8_000  # Hz
WINDOW = 200  # samples, 25 ms at 8 kHz
SHIFT = 80  # samples, 10 ms
STACK = 3  # frames side by side, and the step between rows
_FFT = 256
_PREEMPHASIS = 0.97
_LIFTER = 22
_EPSILON = float(np.finfo(np.float64).eps)
# Every block of frames has this size (the last is filled up), so that no operation can depend on the batch.
_BLOCK = {"cpu": 512, "cuda": 8192}


class FrontEnd:
    """Computes the features of a batch of clips.

    Args:
        config: bands and frequencies.
        device: "cpu" or "cuda:0".
    """

    def __init__(self, config: FrontEndConfig, device: str) -> None:
        self._device = torch.device(device)
        self._block = _BLOCK[self._device.type]
        self._window = torch.from_numpy(povey_window()).to(self._device)
        self._bands = torch.from_numpy(mel_triangles(config)).to(self._device)
        self._cosines = torch.from_numpy(liftered_dct(config)).to(self._device)

    def __call__(self, clips: Sequence[np.ndarray]) -> list[Tensor]:
        """Return the features of each clip.

        Args:
            clips: int16-scale samples, each of shape (n,) with n >= ``WINDOW``.

        Returns:
            float32 tensors of shape (T, 120) on the device. One that is not finite cannot be decoded: a coefficient
            of that clip does not vary, or varies less than float32 can tell.
        """
        counts = [frame_count(len(clip)) for clip in clips]
        cepstra = self._cepstra(clips, counts).cpu().numpy()
        features = [
            torch.from_numpy(normalise(own)) for own in np.split(cepstra, np.cumsum(counts[:-1], dtype=np.int64))
        ]
        return [stack(own.to(self._device)) for own in features]

    def _cepstra(self, clips: Sequence[np.ndarray], counts: Sequence[int]) -> Tensor:
        """Return the MFCC of all clips, float32, shape (F, cepstra)."""
        # Each clip is laid out on a multiple of SHIFT: frames of all of them are then rows of one strided view.
        lengths = [-(-len(clip) // SHIFT) * SHIFT for clip in clips]
        samples = np.zeros(sum(lengths) + WINDOW, dtype=np.float32)
        first_rows, position = [], 0
        for clip, length in zip(clips, lengths, strict=True):
            samples[position : position + len(clip)] = clip
            first_rows.append(position // SHIFT)
            position += length
        frames = torch.from_numpy(samples).to(self._device).unfold(0, WINDOW, SHIFT)
        rows = np.concatenate([first + np.arange(count) for first, count in zip(first_rows, counts, strict=True)])
        total = len(rows)
        rows = np.pad(rows, (0, -total % self._block))
        blocks = torch.from_numpy(rows).to(self._device).split(self._block)
        return torch.cat([self._block_cepstra(frames[block]) for block in blocks])[:total]

    def _block_cepstra(self, frames_FW: Tensor) -> Tensor:
        # A sum of 200 integers below 2^15 is exact in float32, in any order.
        x = frames_FW - frames_FW.sum(dim=1, keepdim=True) / WINDOW
        # Two roundings per sample, as in the package: a fused multiply-add would differ in the last digit.
        x = torch.cat([x[:, :1] * (1 - _PREEMPHASIS), x[:, 1:] - x[:, :-1] * _PREEMPHASIS], dim=1)
        spectrum = torch.fft.rfft(x.double() * self._window, n=_FFT)[:, : _FFT // 2]
        power = spectrum.real.square() + spectrum.imag.square()
        energy = power @ self._bands
        energy = torch.where(energy == 0, _EPSILON, energy)
        return (energy.log() @ self._cosines).float()


def frame_count(samples: int) -> int:
    """Return the number of whole windows in a clip of ``samples`` >= ``WINDOW``: nothing is padded."""
    return 1 + (samples - WINDOW) // SHIFT


def povey_window() -> np.ndarray:
    """Return Kaldi's window, (0.5 - 0.5 cos(2 pi i / 199))^0.85, (200,), float64: near Hamming, zero at its ends."""
    return np.asarray((0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / (WINDOW - 1))) ** 0.85)


def mel_triangles(config: FrontEndConfig) -> np.ndarray:
    """Return triangles, linear in mel = 1127 ln(1 + f / 700), over FFT bins 0 to 127; shape (128, bands), float64."""

    def mel(hertz: np.ndarray | float) -> np.ndarray:
        return np.asarray(1127.0 * np.log(1.0 + np.asarray(hertz) / 700.0))

    edges = np.linspace(mel(config.low), mel(config.high), config.bands + 2)
    bins = mel(np.arange(_FFT // 2) * (_RATE / _FFT))[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)))


def liftered_dct(config: FrontEndConfig) -> np.ndarray:
    """Return the orthonormal DCT-II times the lifter 1 + 11 sin(pi n / 22); shape (bands, cepstra), float64."""
    n = np.arange(config.cepstra)
    k = np.arange(config.bands)[:, None]
    cosines = np.sqrt(2.0 / config.bands) * np.cos(np.pi * n * (2 * k + 1) / (2 * config.bands))
    cosines[:, 0] = np.sqrt(1.0 / config.bands)
    return np.asarray(cosines * (1.0 + _LIFTER / 2 * np.sin(np.pi * n / _LIFTER)))


def normalise(cepstra_FC: np.ndarray) -> np.ndarray:
    """Bring each coefficient of a clip to mean 0 and variance 1, sd = sqrt(E[x^2] - E[x]^2), all in float32.

    In numpy, also for CUDA: the package adds frame after frame in float32, whose error grows with the clip. Summing
    along the first axis does the same; pairwise sums are better, and give other phones on long clips.
    """
    frames = np.float32(len(cepstra_FC))
    mean = cepstra_FC.sum(axis=0) / frames
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = np.sqrt((cepstra_FC * cepstra_FC).sum(axis=0) / frames - mean * mean)
        return np.asarray((cepstra_FC - mean) / deviation)


def stack(x_FC: Tensor) -> Tensor:
    """Put previous, current and next frame side by side, every third: (F, C) -> (ceil(F / 3), 3 C).

    The ends wrap around, as in the package: the first frame's left neighbour is the last frame.
    """
    return torch.cat([x_FC.roll(1, 0), x_FC, x_FC.roll(-1, 0)], dim=1)[::STACK]
