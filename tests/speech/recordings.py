"""Recordings for the tests, as libsndfile writes them, and how one is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from slm_eval.speech.audio import AudioError, read_audio
from tests.conftest import noise

RATE = 16_000


def made(form: str, subtype: str | None = None, seconds: float = 0.5, channels: int = 1, **options: str) -> bytes:
    """Return a file as libsndfile writes it."""
    held = io.BytesIO()
    samples = np.stack([noise(seconds, RATE, seed=seed) for seed in range(channels)], axis=1)
    soundfile.write(held, samples, RATE, format=form, subtype=subtype, **options)
    return held.getvalue()


def refused(path: Path, *parts: str, code: str = "decode_error") -> None:
    with pytest.raises(AudioError) as error:
        read_audio(path)
    assert error.value.code == code
    assert "\n" not in error.value.message
    for part in parts:
        assert part in error.value.message
