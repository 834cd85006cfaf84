"""The front end beside its formulas and the official one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from slm_eval.observing.phones.allosaurus.frontend import FrontEnd
from slm_eval.observing.phones.allosaurus.observer import to_int16_scale
from slm_eval.observing.phones.allosaurus.settings import FrontEndConfig
from tests.conftest import noise
from tests.observing.phones.allosaurus.recordings import RATE


def formulas(samples: np.ndarray) -> np.ndarray:
    """Compute the front end in float64, frame by frame, from the formulas: no code is shared with the module."""
    window = [(0.5 - 0.5 * np.cos(2 * np.pi * i / 199)) ** 0.85 for i in range(200)]
    mel = [1127 * np.log(1 + hertz / 700) for hertz in (40, 3800)]
    edges = [mel[0] + (mel[1] - mel[0]) * i / 41 for i in range(42)]
    rows = []
    for start in range(0, len(samples) - 199, 80):
        frame = samples[start : start + 200].astype(np.float64)
        frame = frame - frame.mean()
        frame = np.array([0.03 * frame[0], *(frame[i] - 0.97 * frame[i - 1] for i in range(1, 200))]) * window
        turns = np.exp(-2j * np.pi * np.outer(np.arange(128), np.arange(200)) / 256)
        power = np.abs(turns @ frame) ** 2
        bands = np.zeros(40)
        for band in range(40):
            left, centre, right = edges[band : band + 3]
            for k in range(128):
                place = 1127 * np.log(1 + k * 8000 / 256 / 700)
                if left < place < right:
                    weight = (place - left) / (centre - left) if place <= centre else (right - place) / (right - centre)
                    bands[band] += weight * power[k]
        logs = np.log(np.where(bands == 0, np.finfo(float).eps, bands))
        cepstra = [
            sum(logs[k] * np.cos(np.pi * n * (2 * k + 1) / 80) for k in range(40)) * (2 / 40 if n else 1 / 40) ** 0.5
            for n in range(40)
        ]
        rows.append([c * (1 + 11 * np.sin(np.pi * n / 22)) for n, c in enumerate(cepstra)])
    x = np.array(rows)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    return np.array([np.concatenate([x[t - 1], x[t], x[(t + 1) % len(x)]]) for t in range(0, len(x), 3)])


@pytest.mark.parametrize("samples", [440, 1333, 4000])
def test_front_end_matches_the_formulas(samples: int) -> None:
    clip = to_int16_scale(noise(samples / RATE, RATE, samples))
    (features,) = FrontEnd(FrontEndConfig(), "cpu")([clip])
    expected = formulas(clip)
    assert features.shape == expected.shape
    assert features.dtype == torch.float32
    # sqrt(E[x^2] - E[x]^2) in float32 costs digits where a coefficient varies little beside its mean.
    assert np.abs(features.numpy() - expected).max() < 1e-3


def test_front_end_equals_the_official_one_in_nearly_every_bit(official: Any, clips: list[np.ndarray]) -> None:
    from allosaurus.audio import Audio

    scaled = [to_int16_scale(clip) for clip in clips]
    unequal = total = 0
    for clip, own in zip(scaled, FrontEnd(FrontEndConfig(), "cpu")(scaled), strict=True):
        expected = official.pm.compute(Audio(clip.astype(np.int16), RATE))
        assert np.abs(own.numpy() - expected).max() < 1e-4
        unequal, total = unequal + int((own.numpy() != expected).sum()), total + expected.size
    assert unequal / total < 1e-3
