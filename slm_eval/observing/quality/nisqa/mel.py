"""The spectrogram that NISQA hears: 48 mel bands in dB, every 10 ms, equal to librosa's with NISQA's settings.

A clip is analysed at its own rate. The reference transforms 4096 samples around a frame's centre, of which only the
window of 20 ms (320 samples at 16 kHz) is not zero. Magnitudes do not depend on where in the 4096 the window lies: we
put it first. No more than half a window of reflected padding is ever read, so that the reference's repeated reflection
of clips under 2049 samples never matters.

Legend: T frames, K bins, B bands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

N_FFT = 4096
BANDS = 48
# Amplitudes are clipped at 1e-4 (-80 dB) and, per clip, at 80 dB below its largest value.
AMPLITUDE_FLOOR, RANGE_DB = 1e-4, 80.0
# Frames transformed at once: their 128 × 2049 complex numbers are 2 MB, which stay in the cache.
_BLOCK = 128


def hop_samples(sample_rate: int) -> int:
    """Return 10 ms in samples, rounded as the reference does; 0 below 100 Hz."""
    return int(sample_rate * 0.01)


def window_samples(sample_rate: int) -> int:
    """Return 20 ms in samples, rounded as the reference does."""
    return int(sample_rate * 0.02)


def log_mel(samples: Tensor, sample_rate: int, fmax: float) -> Tensor:
    """Return the mel spectrogram in dB of one clip, shape (T, 48), T = 1 + n // hop.

    Args:
        samples: mono float32, shape (n,), at least two hops.
        sample_rate: Hz, such that a window is 2 to 4096 samples: 100 to 204,800 Hz.
        fmax: upper end of the highest band in Hz; bands above half the sample rate hear nothing.
    """
    plan = _plan(sample_rate, fmax, samples.device)
    frames_TN = _reflect(samples, plan).unfold(0, plan.window_size, plan.hop)
    padded = samples.new_zeros(min(_BLOCK, len(frames_TN)), N_FFT)
    return _decibels(torch.cat([_mel_magnitudes(block, plan, padded) for block in frames_TN.split(_BLOCK)]))


@dataclass(frozen=True)
class _Plan:
    """What depends on the sample rate alone."""

    hop: int
    window_size: int
    window: Tensor  # (window_size,)
    filters_KB: Tensor  # up to the highest bin that a band hears


@lru_cache(maxsize=16)  # 0.4 MB each; a corpus has few rates
def _plan(sample_rate: int, fmax: float, device: torch.device) -> _Plan:
    size = window_samples(sample_rate)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    filters_BK = mel_filters(sample_rate, fmax)
    used = int(np.flatnonzero(filters_BK.any(axis=0)).max(initial=0)) + 1
    return _Plan(
        hop_samples(sample_rate),
        size,
        torch.tensor(window, dtype=torch.float32, device=device),
        torch.tensor(filters_BK[:, :used].T.copy(), dtype=torch.float32, device=device),
    )


def _reflect(samples: Tensor, plan: _Plan) -> Tensor:
    """Pad a clip by as much of its mirror image as the windows of the first and last frame reach."""
    before = N_FFT // 2 - (N_FFT - plan.window_size) // 2
    last_start = len(samples) // plan.hop * plan.hop - before
    after = max(0, last_start + plan.window_size - len(samples))
    return torch.cat([samples[1 : before + 1].flip(0), samples, samples[-1 - after : -1].flip(0)])


def _mel_magnitudes(frames_TN: Tensor, plan: _Plan, padded: Tensor) -> Tensor:
    """Turn frames into mel magnitudes, shape (T, 48): sums of absolute values, not of powers.

    ``padded`` is at least T rows of 4096, of which only the first window_size columns are ever written.
    """
    padded = padded[: len(frames_TN)]
    torch.mul(frames_TN, plan.window, out=padded[:, : plan.window_size])
    spectrum_TK = torch.fft.rfft(padded)[:, : len(plan.filters_KB)]
    power_TK = spectrum_TK.real.square().addcmul_(spectrum_TK.imag, spectrum_TK.imag)
    return power_TK.sqrt_() @ plan.filters_KB


def _decibels(magnitudes: Tensor) -> Tensor:
    """Return 20 log10, clipped from below per clip."""
    decibels = magnitudes.clamp_(min=AMPLITUDE_FLOOR).log10_().mul_(20.0)
    return decibels.clamp_(min=decibels.max() - RANGE_DB)


def mel_filters(sample_rate: int, fmax: float) -> np.ndarray:
    """Return triangles of equal area, evenly spaced on Slaney's mel scale, 0 to ``fmax`` Hz; (48, 2049), float64."""
    edges = _mel_to_hertz(np.linspace(0.0, _hertz_to_mel(fmax), BANDS + 2))
    bins = np.arange(N_FFT // 2 + 1) * (sample_rate / N_FFT)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (right - left))


# Slaney's scale (Auditory Toolbox, 1998): linear to 1000 Hz, 200/3 Hz per mel, then 27 mels per factor of 6.4.
_LINEAR_HERTZ, _KNEE_HERTZ, _LOG_STEP = 200.0 / 3.0, 1000.0, math.log(6.4) / 27.0


def _hertz_to_mel(hertz: float) -> float:
    if hertz < _KNEE_HERTZ:
        return hertz / _LINEAR_HERTZ
    return _KNEE_HERTZ / _LINEAR_HERTZ + math.log(hertz / _KNEE_HERTZ) / _LOG_STEP


def _mel_to_hertz(mel: np.ndarray) -> np.ndarray:
    above = np.maximum(mel - _KNEE_HERTZ / _LINEAR_HERTZ, 0.0)
    return np.where(above > 0, _KNEE_HERTZ * np.exp(_LOG_STEP * above), mel * _LINEAR_HERTZ)
