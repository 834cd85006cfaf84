"""What all vocoders share: raw log10 mels in, checked and floored; audio out."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from model_zoo.features import FeatureSpec
from slm_eval.base.errors import SlmEvalError


class Vocoder(ABC):
    """Raw log10 mels in, audio out. Statistics are its own affair: nothing that was normalised comes in.

    A clip gives the same audio in any batch.
    """

    spec: FeatureSpec  # of the mels that it takes
    digest: str  # what identifies it: weights or options, 16 hexadecimal digits

    def __call__(self, log_mel: Tensor) -> Tensor:
        """Return the audio of mels, on the vocoder's device.

        Args:
            log_mel: (B, T, n_mels) raw log10 mels on any device; what is below ``spec.mel_floor`` is raised to it.

        Returns:
            (B, T * hop) float32 in [-1, 1].

        Raises:
            SlmEvalError: another shape, no frame, or values not finite.
        """
        shape = tuple(log_mel.shape)
        if len(shape) != 3 or shape[2] != self.spec.n_mels or not shape[1]:
            raise SlmEvalError(f"a vocoder takes mels of shape (batch, frames, {self.spec.n_mels}), got {shape}")
        if not bool(torch.isfinite(log_mel).all()):
            raise SlmEvalError("the mels have values that are NaN or infinite; look for what made them")
        mels = self.spec.floored(log_mel.detach().float())
        return torch.stack([self.synthesize(mel) for mel in mels])

    @abstractmethod
    def synthesize(self, log_mel: Tensor) -> Tensor:
        """Make the audio of a clip, checked and floored: (T, n_mels) float32 -> (T * hop,) float32 in [-1, 1]."""
