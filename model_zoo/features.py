"""Log-mel features: one definition for data, silence, model and vocoder, with a digest that travels with all of them.

The definition is that of ParallelWaveGAN's libritts recipe (``egs/libritts/voc1/conf/hifigan.v1.yaml``,
``bin/preprocess.py``), whose vocoder the paper uses (section 3.3: 80 bins, 50 ms window, 12.5 ms hop): magnitudes of a
centred STFT with reflected edges and a periodic Hann window, Slaney's mel scale and area normalisation, log10. After
it comes ``mel_floor``, our choice: digital silence would otherwise lie 8.7 standard deviations below speech.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from slm_eval.base.errors import SlmEvalError, UsageError, unknown_name
from slm_eval.base.precision import exact_float32

_REVISION = 1  # of what the fields do not say: window, edges, scale, logarithm. Part of every digest
# Frames transformed at once: memory stays small, and on a CPU 256 fit its cache, 1.4 times as fast as 4096.
_BLOCK_FRAMES = {"cpu": 256}
_BLOCK_FRAMES_ELSEWHERE = 16_384


_MAX_SIZE = 1_000_000  # Hz and samples; a file that says more takes no memory for it


@dataclass(frozen=True)
class FeatureSpec:
    """What a log-mel is. Two things that exchange mels have the same one, or an error.

    Raises:
        UsageError: values that no feature can be computed with.
    """

    sample_rate: int = 24_000  # Hz
    n_fft: int = 2048
    hop: int = 300  # samples: 80 frames a second
    window: int = 1200  # samples, zero-padded to n_fft on both sides
    n_mels: int = 80
    fmin: float = 80.0  # Hz
    fmax: float = 7600.0  # Hz
    magnitude_floor: float = 1e-10  # below it a mel magnitude is taken as this, before the logarithm
    mel_floor: float | None = -5.0  # log10; [choice] nothing is quieter in data, silence or vocoder input

    def __post_init__(self) -> None:
        sizes = (self.sample_rate, self.hop, self.window, self.n_mels)
        if not all(1 <= size <= _MAX_SIZE and int(size) == size for size in (*sizes, self.n_fft)):
            raise UsageError(f"sizes of a feature are whole numbers from 1 to {_MAX_SIZE:,}, got {self}")
        if self.window > self.n_fft:
            raise UsageError(f"the window of a feature fits n_fft, got {self}")
        if not 0 <= self.fmin < self.fmax <= self.sample_rate / 2:
            raise UsageError(f"0 <= fmin < fmax <= half the sample rate, got {self}")
        floors = (self.magnitude_floor, 0.0 if self.mel_floor is None else self.mel_floor)
        if not all(map(math.isfinite, floors)) or self.magnitude_floor <= 0:
            raise UsageError(f"floors must be finite, and that of the magnitude above 0, got {self}")

    @property
    def frame_rate(self) -> float:
        """Return the frames per second."""
        return self.sample_rate / self.hop

    @property
    def silent_value(self) -> float:
        """Return the log10 mel of a waveform of zeros, in every bin."""
        lowest = math.log10(self.magnitude_floor)
        return lowest if self.mel_floor is None else max(lowest, self.mel_floor)

    @property
    def digest(self) -> str:
        """Return 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        canonical = json.dumps({"revision": _REVISION, **self.to_dict()}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, each of the type of its field, so that 80 and 80.0 have one digest."""
        values = asdict(self)
        for name in ("fmin", "fmax", "magnitude_floor", "mel_floor"):
            values[name] = None if values[name] is None else float(values[name])
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FeatureSpec:
        """Read back what ``to_dict`` wrote.

        Raises:
            UsageError: a key that does not exist, or a value that is not possible.
        """
        known = [declared.name for declared in fields(cls)]
        for key in values:
            if key not in known:
                raise unknown_name("key of FeatureSpec", key, known)
        try:
            return cls(**values)
        except TypeError as error:
            raise UsageError(f"values of FeatureSpec are numbers, got {dict(values)}") from error

    def require_same(self, other: FeatureSpec, what: str) -> None:
        """Refuse to exchange mels with something of another definition.

        Args:
            what: whose ``other`` is, for the message: "the vocoder voc.safetensors".

        Raises:
            SlmEvalError: naming the fields that differ.
        """
        if self.digest == other.digest:
            return
        wanted, given = self.to_dict(), other.to_dict()
        differing = ", ".join(
            f"{key} {given[key]} instead of {wanted[key]}" for key in wanted if wanted[key] != given[key]
        )
        raise SlmEvalError(f"{what} was made for other features: {differing}; use one made for the same features")

    def floored(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Apply ``mel_floor`` to raw log10 mels of any shape."""
        return log_mel if self.mel_floor is None else log_mel.clamp(min=self.mel_floor)


def log_mel(waveforms: torch.Tensor, spec: FeatureSpec, sample_rate: int | None = None) -> torch.Tensor:
    """Compute raw log10 mels of waveforms.

    Equal to librosa's within 1e-4; a clip has the same bits in any batch on the CPU. The last centred frame, which lies
    on the end of the waveform, is dropped: 10 s are 800 frames.

    Args:
        waveforms: (..., samples) in [-1, 1], float32, on any device.
        spec: the definition.
        sample_rate: of the waveforms in Hz, where the caller knows it; only checked.

    Returns:
        (..., samples // hop, n_mels) float32, on the same device.

    Raises:
        SlmEvalError: another sample rate, fewer samples than reflecting the edges needs, or samples not finite.
    """
    samples = waveforms.shape[-1]
    if sample_rate not in (None, spec.sample_rate):
        raise SlmEvalError(
            f"the audio has {sample_rate} Hz, the features need {spec.sample_rate} Hz; resample it first"
        )
    if samples <= spec.n_fft // 2:
        raise SlmEvalError(f"the audio has {samples} samples, log-mels need {spec.n_fft // 2 + 1}; leave this clip out")
    if not bool(torch.isfinite(waveforms).all()):
        raise SlmEvalError("the audio has samples that are NaN or infinite; leave this clip out")
    flat = waveforms.reshape(-1, samples).float()
    with exact_float32():
        mels = [_log_mel(wave, spec) for wave in flat]
    # Stacked outside: what is made in inference mode could not be trained on.
    return torch.stack(mels).reshape(*waveforms.shape[:-1], samples // spec.hop, spec.n_mels)


def silence(frames: int, spec: FeatureSpec) -> torch.Tensor:
    """Return the log-mel of a waveform of zeros, (frames, n_mels): raw log10 values, and not a tensor of zeros."""
    return torch.full((frames, spec.n_mels), spec.silent_value)


def mel_filters(spec: FeatureSpec) -> np.ndarray:
    """Return triangles on Slaney's mel scale, each of the same area, (n_mels, n_fft // 2 + 1) float64; equal to
    librosa's.

    Slaney's scale (Auditory Toolbox): linear to 1000 Hz, 200/3 Hz a mel, then a factor of 6.4 in 27 mels.
    """
    edges = _slaney_hz(np.linspace(_slaney_mel(spec.fmin), _slaney_mel(spec.fmax), spec.n_mels + 2))
    bins = np.arange(spec.n_fft // 2 + 1) * (spec.sample_rate / spec.n_fft)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (right - left))


def _slaney_mel(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)


def _slaney_hz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * (math.log(6.4) / 27)))


def _log_mel(waveform: torch.Tensor, spec: FeatureSpec) -> torch.Tensor:
    """Compute one clip, (samples,) -> (frames, n_mels). By itself: products of another shape may round differently."""
    frames = len(waveform) // spec.hop
    reach = spec.n_fft // 2
    padded = torch.nn.functional.pad(waveform[None], (reach, reach), mode="reflect")[0]
    # The window is shorter than n_fft: transforming its samples alone only turns phases, which magnitudes do not show.
    margin = (spec.n_fft - spec.window) // 2
    framed = padded[margin:].unfold(0, spec.window, spec.hop)[:frames]
    window, filters, first = _constants(spec, str(waveform.device))
    heard = slice(first, first + len(filters))
    block = _BLOCK_FRAMES.get(waveform.device.type, _BLOCK_FRAMES_ELSEWHERE)
    padding = (0, spec.n_fft - spec.window)
    out = waveform.new_empty(frames, spec.n_mels)
    for start in range(0, frames, block):
        spectrum = torch.fft.rfft(torch.nn.functional.pad(framed[start : start + block] * window, padding))
        real, imaginary = spectrum.real[:, heard], spectrum.imag[:, heard]
        magnitude = real.square().addcmul_(imaginary, imaginary).sqrt_()  # 2.5 times as fast as abs()
        out[start : start + block] = (magnitude @ filters).clamp_(min=spec.magnitude_floor).log10_()
    return spec.floored(out)


@lru_cache(maxsize=8)
def _constants(spec: FeatureSpec, device: str) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Return the window, the filters (bins, n_mels) without FFT bins that none of them hears, and the first bin."""
    window = torch.hann_window(spec.window, periodic=True, dtype=torch.float64).float()
    filters = torch.from_numpy(mel_filters(spec))
    heard = filters.sum(0).nonzero()
    first, last = int(heard[0]), int(heard[-1])
    return window.to(device), filters[:, first : last + 1].T.float().contiguous().to(device), first


@dataclass(frozen=True)
class Normalizer:
    """Per-bin mean and standard deviation of the training frames; lives in the model's checkpoint.

    A vocoder has one of its own: only raw log10 mels pass between model and vocoder.
    """

    mean: torch.Tensor  # (n_mels,) float32
    scale: torch.Tensor  # (n_mels,) float32, above 0

    def __post_init__(self) -> None:
        if self.mean.ndim != 1 or self.mean.shape != self.scale.shape:
            shapes = f"{tuple(self.mean.shape)} and {tuple(self.scale.shape)}"
            raise SlmEvalError(f"mean and scale are one number per bin, got shapes {shapes}; use another file")
        if not bool(torch.isfinite(self.mean).all() and torch.isfinite(self.scale).all() and (self.scale > 0).all()):
            raise SlmEvalError("mean and scale are finite and the scale is above 0, got others; compute them again")

    @classmethod
    def fit(cls, frames: Iterable[torch.Tensor]) -> Normalizer:
        """Compute mean and population standard deviation over all frames, in one pass and in float64.

        Args:
            frames: tensors (..., n_mels) of raw log10 mels, of any lengths.

        Raises:
            SlmEvalError: no frame at all, or a bin that never changes.
        """
        count = 0
        mean = squares = torch.zeros((), dtype=torch.float64)  # squares: sum of squared distances from the mean
        for mels in frames:
            block = mels.reshape(-1, mels.shape[-1]).double()
            if not len(block):
                continue
            # Chan, Golub & LeVeque (1979): joining two parts exactly, where sums of squares would cancel.
            block_mean = block.mean(0)
            distance, total = block_mean - mean, count + len(block)
            squares = squares + (block - block_mean).square().sum(0) + distance.square() * (count * len(block) / total)
            mean = mean + distance * (len(block) / total)
            count = total
        if not count:
            raise SlmEvalError("there are no frames to take mean and scale of; give data that holds speech")
        scale = (squares / count).sqrt()
        constant = (scale == 0).nonzero().flatten().tolist()
        if constant:
            raise SlmEvalError(f"bins {constant[:5]} never change over {count} frames; give data that holds speech")
        return cls(mean.float(), scale.float())

    def normalize(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Normalise raw log10 mels (..., n_mels) to zero mean and unit variance per bin."""
        return (log_mel - self.mean.to(log_mel)) / self.scale.to(log_mel)

    def denormalize(self, normalized: torch.Tensor) -> torch.Tensor:
        """Turn normalised mels back to raw log10 mels."""
        return normalized * self.scale.to(normalized) + self.mean.to(normalized)

    def to_tensors(self) -> dict[str, torch.Tensor]:
        """Return {"mean", "scale"}, for a checkpoint."""
        return {"mean": self.mean, "scale": self.scale}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, torch.Tensor]) -> Normalizer:
        """Read back what ``to_tensors`` gave.

        Raises:
            SlmEvalError: a tensor is missing, or not what it should be.
        """
        for name in ("mean", "scale"):
            if name not in tensors:
                raise SlmEvalError(f"the normalizer lacks {name!r}, there are {sorted(tensors)}; use another file")
        return cls(tensors["mean"].float(), tensors["scale"].float())
