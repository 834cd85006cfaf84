"""Griffin-Lim: audio from mels without any weights, and a lower bound for every trained vocoder.

Mels to magnitudes: the non-negative spectrum whose mels come closest, by multiplicative updates (Lee & Seung 2001) from
the pseudo-inverse. Magnitudes to audio: fast Griffin-Lim (Perraudin, Balazs & Soendergaard 2013), which goes on a
little in the direction of its last step. Nothing above ``fmax`` is in the mels, and nothing is made up there.
"""

from __future__ import annotations

import hashlib
import json
import math

import torch
from torch import Tensor

from model_zoo.features import FeatureSpec, mel_filters
from model_zoo.vocoder.vocoder import Vocoder
from slm_eval.base.precision import exact_float32

_REVISION = 1


class GriffinLim(Vocoder):
    """Iterative phase retrieval; the same mels give the same audio.

    Args:
        spec: of the mels.
        device: "cpu", "cuda:0".
        iterations: of the phase.
        momentum: how far beyond each step to go; 0 is the algorithm of Griffin & Lim (1984).
        updates: of the magnitudes.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        device: str = "cpu",
        iterations: int = 64,
        momentum: float = 0.99,
        updates: int = 30,
    ) -> None:
        self.spec, self.device = spec, torch.device(device)
        self.iterations, self.momentum, self.updates = iterations, momentum, updates
        options = [_REVISION, spec.digest, iterations, momentum, updates]
        self.digest = hashlib.sha256(json.dumps(["griffin-lim", *options]).encode()).hexdigest()[:16]
        filters = torch.from_numpy(mel_filters(spec))
        self._filters = filters.float().to(self.device)
        self._inverse = torch.linalg.pinv(filters).float().to(self.device)
        self._window = torch.hann_window(spec.window, periodic=True, dtype=torch.float64).float().to(self.device)

    def synthesize(self, log_mel: Tensor) -> Tensor:
        """Make the audio of one clip, (T, n_mels) -> (T * hop,)."""
        frames = len(log_mel)
        with exact_float32():
            # The feature drops the frame that lies on the end of the audio: without it the end would fade. And edges
            # can only be reflected in audio that is longer than they are.
            more = max(1, self.spec.n_fft // 2 // self.spec.hop + 2 - frames)
            mels = torch.cat([log_mel, log_mel[-1:].expand(more, -1)]).to(self.device)
            audio = self.audio_of(self.magnitudes_of(mels), (len(mels) - 1) * self.spec.hop)
        return audio[: frames * self.spec.hop].clamp(-1.0, 1.0)

    def magnitudes_of(self, log_mel: Tensor) -> Tensor:
        """Turn raw log10 mels (T, n_mels) into STFT magnitudes (n_fft // 2 + 1, T)."""
        mels = torch.pow(10.0, log_mel).T
        tiny = torch.finfo(mels.dtype).tiny
        # An update only multiplies: what starts at 0 stays there. 1e-3 of the mel lets it grow back.
        magnitudes = torch.maximum(self._inverse @ mels, 1e-3 * (self._filters.T @ mels))
        wanted, overlap = self._filters.T @ mels, self._filters.T @ self._filters
        for _ in range(self.updates):
            magnitudes = magnitudes * wanted / (overlap @ magnitudes).clamp(min=tiny)
        return magnitudes

    def audio_of(self, magnitudes: Tensor, samples: int) -> Tensor:
        """Turn STFT magnitudes (n_fft // 2 + 1, T) into audio (samples,) whose own magnitudes come close to them."""
        phases = self._first_phases(*magnitudes.shape)
        before = torch.zeros_like(phases)
        for _ in range(self.iterations):
            consistent = self._stft(self._istft(magnitudes * phases, samples))
            phases = consistent - self.momentum / (1 + self.momentum) * before
            phases = phases / phases.abs().clamp(min=1e-16)
            before = consistent
        return self._istft(magnitudes * phases, samples)

    def _first_phases(self, bins: int, frames: int) -> Tensor:
        """Return the phases of steady tones at the bins' own frequencies: coherent from frame to frame."""
        bin_numbers = torch.arange(bins, dtype=torch.float64)[:, None]
        turns = bin_numbers * torch.arange(frames, dtype=torch.float64) * (self.spec.hop / self.spec.n_fft)
        angles = (2 * math.pi * (turns % 1)).float().to(self.device)
        return torch.polar(torch.ones_like(angles), angles)

    def _stft(self, audio: Tensor) -> Tensor:
        spec = self.spec
        return torch.stft(audio, spec.n_fft, spec.hop, spec.window, self._window, return_complex=True)

    def _istft(self, spectrum: Tensor, samples: int) -> Tensor:
        spec = self.spec
        return torch.istft(spectrum, spec.n_fft, spec.hop, spec.window, self._window, length=samples)
