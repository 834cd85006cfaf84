"""Prepared folders, and what they hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from model_zoo.data.prepare import Prepared, PrepareOptions, prepare
from model_zoo.features import FeatureSpec, log_mel
from slm_eval.speech.audio import read_audio, resample

SPEC = FeatureSpec()
HALF = {"validation": 0.5, "workers": 0}


def make(source: Path, output: Path, **options: object) -> Prepared:
    return prepare([source], output, PrepareOptions(**{**HALF, **options}))  # type: ignore[arg-type]


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but the lock."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def features(path: Path, start: float | None = None, end: float | None = None) -> np.ndarray:
    """By the way that evaluation reads files: the whole recording at once."""
    audio = read_audio(path, start, end)
    samples = resample(audio.samples, audio.facts.sample_rate, 24_000)
    return log_mel(torch.from_numpy(samples), SPEC).half().numpy()
