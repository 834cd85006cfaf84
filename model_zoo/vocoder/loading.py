"""A vocoder by its name or its file: Griffin-Lim, which needs no weights, or a converted HiFi-GAN."""

from __future__ import annotations

from pathlib import Path

from model_zoo.features import FeatureSpec
from model_zoo.vocoder.file import load_hifigan
from model_zoo.vocoder.griffin_lim import GriffinLim
from model_zoo.vocoder.vocoder import Vocoder
from slm_eval.base.errors import UsageError
from slm_eval.observing.observer import resolve_device

GRIFFIN_LIM = "griffin-lim"


def load_vocoder(
    name_or_path: str | Path, device: str = "auto", bfloat16: bool = False, features: FeatureSpec | None = None
) -> Vocoder:
    """Load a vocoder, ready on a device.

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
    where = resolve_device(device)
    if str(name_or_path) == GRIFFIN_LIM:
        return GriffinLim(features or FeatureSpec(), where)
    path = Path(name_or_path)
    if not path.is_file():
        raise UsageError(
            f"there is no vocoder {str(name_or_path)!r}; give {GRIFFIN_LIM}, "
            "or a .safetensors file that slm-zoo convert-vocoder wrote"
        )
    return load_hifigan(path, where, bfloat16)
