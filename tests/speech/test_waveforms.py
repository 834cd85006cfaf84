"""What people pass to ``update``: right as it is, or refused with the line that says how."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from slm_eval.base.errors import UsageError
from slm_eval.speech.waveforms import to_mono, to_rate
from tests.conftest import noise
from tests.fakes import Loudness

SAMPLES = noise(0.2)
STEREO = np.stack([SAMPLES, 0.5 * SAMPLES])  # channels first
INT16 = np.round(SAMPLES * 32768).astype(np.int16)


@pytest.mark.parametrize(
    ("waveform", "expected", "tolerance"),
    [
        (SAMPLES, SAMPLES, 0),
        (SAMPLES.astype(np.float64), SAMPLES, 0),
        (SAMPLES.tolist(), SAMPLES, 0),
        (tuple(SAMPLES.tolist()), SAMPLES, 0),
        (torch.from_numpy(SAMPLES), SAMPLES, 0),
        (torch.from_numpy(SAMPLES)[None], SAMPLES, 0),  # torchaudio.load
        (torch.from_numpy(SAMPLES).requires_grad_(), SAMPLES, 0),
        (STEREO, STEREO.mean(axis=0), 0),
        (torch.from_numpy(STEREO), STEREO.mean(axis=0), 0),
        (SAMPLES.astype(np.float16), SAMPLES, 2**-11),
        (torch.from_numpy(SAMPLES).bfloat16(), SAMPLES, 2**-8),
        (INT16, SAMPLES, 2**-16),
        (torch.from_numpy(INT16), SAMPLES, 2**-16),
        (INT16.astype(np.int32) * 65536, SAMPLES, 2**-16),
        (np.round(SAMPLES * 128 + 128).astype(np.uint8), SAMPLES, 2**-7),  # as scipy reads 8-bit WAV
        (SAMPLES * 20, SAMPLES * 20, 0),  # a model that overshoots
    ],
)
def test_waveforms_that_are_right_as_they_are(waveform: Any, expected: np.ndarray, tolerance: float) -> None:
    mono = to_mono(waveform)
    assert mono.dtype == np.float32
    assert mono.shape == expected.shape
    np.testing.assert_allclose(mono, expected, rtol=1e-6, atol=tolerance)


WRONG = [
    (np.zeros((225_360, 2)), "has shape (225360, 2), that is 225,360 channels; channels come first: pass waveform.T"),
    (np.zeros((1, 2, 16_000)), "has shape (1, 2, 16000); expected (n,) or (channels, n)"),
    (np.float32(0.1), "has shape (); expected (n,) or (channels, n), as a list of them: [waveform, ...]"),
    (INT16.astype(np.float32), "expected within about ±1: pass the integers as they are, or divide by 32768"),
    (INT16.astype(np.int64), "has samples of int64, whose full scale is not known"),
    (INT16 > 0, "is ndarray of bool; expected an array, tensor or list of numbers"),
    (SAMPLES.astype(np.complex64), "is ndarray of complex64"),
    (np.array([SAMPLES, SAMPLES[:5]], dtype=object), "is ndarray of object"),
    ([[0.1, 0.2], [0.1]], "must be an array, tensor or list of samples, got list ("),
    ({"array": SAMPLES, "sampling_rate": 16_000}, "is a dict; pass its samples, such as example['audio']['array']"),
    ((torch.from_numpy(SAMPLES), 16_000), "is a tuple, as load() returns it; pass its samples"),
    ("clip.wav", "is str; expected samples (files are scored by evaluate()"),
    (None, "is NoneType of object"),
]


@pytest.mark.parametrize(("waveform", "message"), WRONG)
def test_waveforms_that_are_none_are_refused_in_one_line(waveform: Any, message: str) -> None:
    loudness = Loudness()
    with pytest.raises(UsageError) as error:
        loudness.update([SAMPLES, waveform], 16_000)
    assert str(error.value).startswith("waveform 1 ") or "of waveform 1 " in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert loudness.state_dict()["observations"]["generated"] == []


def test_a_stereo_file_read_by_soundfile_scores_once_it_is_turned(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", STEREO.T, 16_000, subtype="FLOAT")
    read, rate = soundfile.read(tmp_path / "a.wav")
    with pytest.raises(UsageError, match="3,200 channels"):
        Loudness().update([read], rate)
    turned, mono = Loudness(), Loudness()
    turned.update([read.T], rate)
    mono.update([0.75 * SAMPLES], rate)
    scores = [
        metric.state_dict()["observations"]["generated"][0]["scores"]["loudness.rms"] for metric in (turned, mono)
    ]
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)


@pytest.mark.parametrize(
    "rate", ["16000", None, math.nan, math.inf, 0, -16_000, 16_000.5, True, 999, 10**400, [16_000]]
)
def test_rates_that_are_none_are_refused(rate: Any) -> None:
    with pytest.raises(UsageError, match=r"sample_rate is .*; expected whole Hz from 1,000 to 768,000, such as 16000"):
        Loudness().update([SAMPLES], rate)


@pytest.mark.parametrize("rate", [16_000, 16_000.0, np.int64(16_000), np.float32(16_000)])
def test_rates_of_any_kind_of_number(rate: Any) -> None:
    assert to_rate(rate) == 16_000
    assert type(to_rate(rate)) is int


def test_one_waveform_instead_of_a_list_says_so() -> None:
    with pytest.raises(UsageError, match=r"waveform 0 has shape \(\); .* as a list of them: \[waveform, \.\.\.\]"):
        Loudness().update(SAMPLES, 16_000)
