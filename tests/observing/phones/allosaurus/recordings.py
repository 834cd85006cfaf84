"""Clips for the tests of Allosaurus, and what an observer and the official package say of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from slm_eval.observing.observer import Signal
from slm_eval.observing.phones.allosaurus.observer import Allosaurus, to_int16_scale

RATE = 8_000
# Lengths at which the number of frames, or of rows after stacking, changes.
SHORT = (280, 281, 359, 360, 439, 440, 519, 520, 600, 999)


def loaded(model: Path, lang: str | None = None, **options: Any) -> Allosaurus:
    made = Allosaurus(lang, model=model, **options)
    made.ready("cpu")
    return made


def observe(observer: Allosaurus, clips: Sequence[np.ndarray], batch: int = 1000) -> list[Any]:
    signals = [Signal(clip, RATE) for clip in clips]
    return [
        result for first in range(0, len(clips), batch) for result in observer.observe(signals[first : first + batch])
    ]


def official_phones(official: Any, clip: np.ndarray, folder: Path, lang: str = "ipa", **options: Any) -> str:
    path = folder / "clip.wav"
    soundfile.write(path, to_int16_scale(clip).astype(np.int16), RATE, subtype="PCM_16")
    return str(official.recognize(path, lang, **options))
