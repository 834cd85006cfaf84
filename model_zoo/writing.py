"""Audio files: written whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from slm_eval.errors import SlmEvalError


def write_audio(path: Path, samples: np.ndarray, sample_rate: int) -> None:
    """16-bit audio of the kind that the name's end says (.wav, .flac), in a folder that is made where needed.

    Args:
        samples: (n,) float32; what exceeds [-1, 1] is clipped, as 16 bits demand.

    Raises:
        SlmEvalError: it cannot be written; what was there before is still there.
    """
    import soundfile

    partial: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with open(descriptor, "wb") as file:
            kind = path.suffix.removeprefix(".").upper()
            soundfile.write(file, np.clip(samples, -1.0, 1.0), sample_rate, format=kind, subtype="PCM_16")
        os.chmod(partial, 0o644)
        os.replace(partial, path)
        partial = None
    except (OSError, soundfile.LibsndfileError) as error:
        raise SlmEvalError(f"cannot write {path}: {error}; choose another place with --output") from error
    finally:
        if partial is not None:
            os.unlink(partial)
