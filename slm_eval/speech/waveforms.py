"""Waveforms that callers pass in Python, of torch, torchaudio, soundfile, librosa or datasets, as mono float32.

What is not sound as it stands is refused with the line that says how to pass it: a wrong axis or scale would give a
wrong score, and nobody would see it.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

from slm_eval.base.errors import UsageError
from slm_eval.speech.decoding import RATES

MAX_CHANNELS = 64  # more of them are samples on the wrong axis
# Floating-point samples are within ±1, but for what a model lets overshoot; beyond this they were integers.
MAX_PEAK = 32.0


def to_mono(waveform: Any, what: str = "the waveform") -> np.ndarray:
    """Return the mean over channels, float32, shape (n,); integers of 8, 16 and 32 bits are scaled to ±1.

    Args:
        waveform: an array, a tensor or a list of samples, of shape (n,) or (channels, n).
        what: it is called in messages.

    Raises:
        UsageError: it is none of these.
    """
    samples = _array(waveform, what)
    if samples.ndim not in (1, 2):
        raise UsageError(
            f"{what} has shape {samples.shape}; expected (n,) or (channels, n), as a list of them: [waveform, ...]"
        )
    if samples.ndim == 2 and len(samples) > MAX_CHANNELS:
        raise UsageError(
            f"{what} has shape {samples.shape}, that is {len(samples):,} channels; channels come first: pass waveform.T"
        )
    samples = _scaled(samples, what)
    if samples.ndim == 2:
        samples = samples.mean(axis=0) if len(samples) else samples.reshape(-1)
    samples = np.ascontiguousarray(samples, dtype=np.float32)
    peak = float(np.abs(samples).max(initial=0.0))
    if MAX_PEAK < peak < math.inf:
        raise UsageError(
            f"the samples of {what} reach {peak:,.0f}; floating-point ones are expected within about ±1: pass the "
            "integers as they are, or divide by 32768 where they had 16 bits"
        )
    return samples


def to_rate(sample_rate: Any) -> int:
    """Return a sampling rate in Hz.

    Raises:
        UsageError: it is no whole number from 1,000 to 768,000.
    """
    low, high = RATES
    number = isinstance(sample_rate, numbers.Real) and not isinstance(sample_rate, bool)
    if not (number and low <= sample_rate <= high and sample_rate == int(sample_rate)):
        got = f"{sample_rate!r} ({type(sample_rate).__name__})"
        raise UsageError(f"sample_rate is {got}; expected whole Hz from {low:,} to {high:,}, such as 16000")
    return int(sample_rate)


def _array(waveform: Any, what: str) -> np.ndarray:
    """Return what was passed, as an array of numbers."""
    kind = type(waveform).__name__
    if isinstance(waveform, dict):
        raise UsageError(f"{what} is a dict; pass its samples, such as example['audio']['array']")
    if isinstance(waveform, tuple) and any(np.ndim(entry) for entry in waveform):
        raise UsageError(f"{what} is a tuple, as load() returns it; pass its samples, and its rate as sample_rate")
    if isinstance(waveform, (str, bytes)):
        raise UsageError(f"{what} is {kind}; expected samples (files are scored by evaluate() and `slm-eval run`)")
    if hasattr(waveform, "detach"):  # a tensor, without an import of torch
        tensor = waveform.detach()
        # numpy has no bfloat16.
        waveform = (tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy()
    try:
        samples = np.asarray(waveform)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{what} must be an array, tensor or list of samples, got {kind} ({error})") from error
    if samples.dtype.name == "bfloat16":  # of jax
        samples = samples.astype(np.float32)
    if samples.dtype.kind not in "fiu":
        raise UsageError(
            f"{what} is {kind} of {samples.dtype}; expected an array, tensor or list of numbers, floating-point within "
            "±1 or integers of 8, 16 or 32 bits"
        )
    return samples


def _scaled(samples: np.ndarray, what: str) -> np.ndarray:
    """Return integers as fractions of full scale: of 8 bits without sign, as WAV has them, silence is 128."""
    if samples.dtype.kind == "f":
        return samples
    if samples.dtype not in (np.uint8, np.int8, np.int16, np.int32):
        raise UsageError(
            f"{what} has samples of {samples.dtype}, whose full scale is not known; expected floating-point within ±1, "
            "int16, int32 or uint8"
        )
    middle = 128 if samples.dtype == np.uint8 else 0
    return (samples.astype(np.float64) - middle) / (middle - np.iinfo(samples.dtype).min)
