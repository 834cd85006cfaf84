"""From raw log10 mels to audio: HiFi-GAN where its weights are at hand, Griffin-Lim where none are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from slm_eval.errors import SlmEvalError, UsageError

if TYPE_CHECKING:
    import torch

    from model_zoo.features import FeatureSpec

GRIFFIN_LIM = "griffin-lim"


class Vocoder(ABC):
    """Raw log10 mels in, audio out. Statistics are its own affair: nothing that was normalised comes in.

    A clip gives the same audio in any batch.
    """

    spec: FeatureSpec  # of the mels that it takes
    digest: str  # what identifies it: weights or options, 16 hexadecimal digits

    def __call__(self, log_mel: torch.Tensor) -> torch.Tensor:
        """Audio of mels, on the vocoder's device.

        Args:
            log_mel: (B, T, n_mels) raw log10 mels on any device; what is below ``spec.mel_floor`` is raised to it.

        Returns:
            (B, T * hop) float32 in [-1, 1].

        Raises:
            SlmEvalError: another shape, no frame, or values not finite.
        """
        import torch

        shape = tuple(log_mel.shape)
        if len(shape) != 3 or shape[2] != self.spec.n_mels or not shape[1]:
            raise SlmEvalError(f"a vocoder takes mels of shape (batch, frames, {self.spec.n_mels}), got {shape}")
        if not bool(torch.isfinite(log_mel).all()):
            raise SlmEvalError("the mels have values that are NaN or infinite; look for what made them")
        mels = self.spec.floored(log_mel.detach().float())
        return torch.stack([self.synthesize(mel) for mel in mels])

    @abstractmethod
    def synthesize(self, log_mel: torch.Tensor) -> torch.Tensor:
        """One clip, checked and floored: (T, n_mels) float32 on any device -> (T * hop,) float32 in [-1, 1]."""


def load_vocoder(
    name_or_path: str | Path, device: str = "auto", bfloat16: bool = False, features: FeatureSpec | None = None
) -> Vocoder:
    """A vocoder, ready on a device.

    Args:
        name_or_path: "griffin-lim", or a file that ``slm-zoo convert-vocoder`` wrote.
        device: "auto", "cpu", "cuda:0".
        bfloat16: HiFi-GAN's convolutions in bfloat16: faster where the processor has units for it, less exact.
        features: of the mels that Griffin-Lim is to take, which takes any; by default ours. A trained vocoder has its
            own: compare its ``spec``.

    Raises:
        UsageError: neither a vocoder's name nor a file.
        SlmEvalError: the file is damaged, or no converted vocoder.
    """
    from slm_eval.observer import resolve_device

    where = resolve_device(device)
    if str(name_or_path) == GRIFFIN_LIM:
        from model_zoo.features import FeatureSpec
        from model_zoo.vocoder.griffin_lim import GriffinLim

        return GriffinLim(features or FeatureSpec(), where)
    path = Path(name_or_path)
    if not path.is_file():
        raise UsageError(
            f"there is no vocoder {str(name_or_path)!r}; give {GRIFFIN_LIM}, "
            "or a .safetensors file that slm-zoo convert-vocoder wrote"
        )
    from model_zoo.vocoder.file import load_hifigan

    return load_hifigan(path, where, bfloat16)
