"""Log-mels against librosa, the statistics against numpy, and what a FeatureSpec refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model_zoo.features import FeatureSpec, Normalizer, log_mel, mel_filters, silence
from slm_eval.base.errors import SlmEvalError, UsageError
from tests.conftest import noise

SPEC = FeatureSpec()
RAW = replace(SPEC, mel_floor=None)
OTHERS = [
    RAW,
    replace(RAW, sample_rate=16_000, n_fft=1024, hop=160, window=400, n_mels=40, fmin=0.0, fmax=8000.0),
    replace(RAW, window=2048, hop=512, fmin=20.0, fmax=12_000.0),
    replace(RAW, window=1201, n_fft=2000),
]


def librosa_log_mel(samples: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """ParallelWaveGAN's ``logmelfilterbank`` (bin/preprocess.py), all of its frames."""
    spectrum = np.abs(
        librosa.stft(samples, n_fft=spec.n_fft, hop_length=spec.hop, win_length=spec.window, pad_mode="reflect")
    )
    filters = librosa.filters.mel(
        sr=spec.sample_rate, n_fft=spec.n_fft, n_mels=spec.n_mels, fmin=spec.fmin, fmax=spec.fmax
    )
    return np.log10(np.maximum(spec.magnitude_floor, filters @ spectrum)).T


def speech_and_silence(spec: FeatureSpec) -> np.ndarray:
    samples = noise(3.0, spec.sample_rate, seed=1)
    samples[len(samples) // 3 : len(samples) // 2] = 0.0
    return samples


@pytest.mark.parametrize("spec", OTHERS, ids=["paper", "16 kHz", "wide", "odd"])
def test_filters_equal_librosa(spec: FeatureSpec) -> None:
    theirs = librosa.filters.mel(
        sr=spec.sample_rate, n_fft=spec.n_fft, n_mels=spec.n_mels, fmin=spec.fmin, fmax=spec.fmax, dtype=np.float64
    )
    np.testing.assert_allclose(mel_filters(spec), theirs, atol=1e-12)


@pytest.mark.parametrize("spec", OTHERS, ids=["paper", "16 kHz", "wide", "odd"])
def test_log_mel_equals_librosa(spec: FeatureSpec) -> None:
    samples = speech_and_silence(spec)
    expected = librosa_log_mel(samples, spec)[: len(samples) // spec.hop]
    ours = log_mel(torch.from_numpy(samples), spec).numpy()
    assert expected.min() == pytest.approx(-10.0)
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    floored = log_mel(torch.from_numpy(samples), replace(spec, mel_floor=-5.0)).numpy()
    np.testing.assert_allclose(floored, np.maximum(expected, -5.0), atol=1e-4)
    assert floored.min() == -5.0


def test_ten_seconds_are_800_frames() -> None:
    assert SPEC.frame_rate == 80
    assert log_mel(torch.from_numpy(noise(10.0, 24_000)), SPEC).shape == (800, 80)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=4), st.integers(1025, 9000))
def test_batch_never_changes_a_clip(order: list[int], samples: int) -> None:
    clips = torch.from_numpy(np.stack([noise(samples / 24_000, 24_000, seed) for seed in range(7)]))
    together = log_mel(clips[order].reshape(1, len(order), samples), SPEC)
    assert together.shape == (1, len(order), samples // 300, 80)
    for row, clip in enumerate(order):
        assert torch.equal(together[0, row], log_mel(clips[clip], SPEC))


def test_long_audio_equals_its_parts() -> None:
    """Frames are transformed in blocks; a frame away from the edges knows nothing of the rest."""
    samples = torch.from_numpy(noise(30.0, 24_000))
    whole = log_mel(samples, SPEC)
    part = log_mel(samples[300 * 300 : 1500 * 300], SPEC)
    torch.testing.assert_close(whole[304:1496], part[4:-4], rtol=0, atol=1e-6)


def test_can_be_trained_on() -> None:
    weight = torch.ones(80, requires_grad=True)
    (log_mel(torch.from_numpy(noise(0.5, 24_000)), SPEC) @ weight).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize("spec", [SPEC, RAW])
def test_silence_is_a_waveform_of_zeros(spec: FeatureSpec) -> None:
    assert torch.equal(silence(40, spec), log_mel(torch.zeros(40 * 300), spec))
    assert spec.silent_value == (-10.0 if spec.mel_floor is None else -5.0)


@pytest.mark.parametrize(
    ("waveform", "rate", "message"),
    [
        (torch.zeros(24_000), 16_000, "the audio has 16000 Hz, the features need 24000 Hz"),
        (torch.zeros(2, 1024), 24_000, "the audio has 1024 samples, log-mels need 1025"),
        (torch.tensor([math.nan] * 3000), None, "NaN or infinite"),
        (torch.tensor([0.0, math.inf] * 3000), None, "NaN or infinite"),
    ],
)
def test_audio_without_features(waveform: torch.Tensor, rate: int | None, message: str) -> None:
    with pytest.raises(SlmEvalError, match=message):
        log_mel(waveform, SPEC, rate)


def test_digest_names_the_definition() -> None:
    assert SPEC.digest == "32c101c4b0de2e75"  # travels in files: changing it makes all of them strangers
    assert replace(SPEC, fmin=80).digest == SPEC.digest
    changed = {name: replace(SPEC, **{name: value}).digest for name, value in {**DIFFERENT, "mel_floor": None}.items()}
    assert len({SPEC.digest, *changed.values()}) == len(changed) + 1


DIFFERENT = {
    "sample_rate": 22_050,
    "n_fft": 1200,
    "hop": 256,
    "window": 1024,
    "n_mels": 100,
    "fmin": 0.0,
    "fmax": 12_000.0,
    "magnitude_floor": 1e-5,
}


def test_spec_travels_as_json_values() -> None:
    other = replace(SPEC, hop=256, mel_floor=None)
    assert FeatureSpec.from_dict(other.to_dict()) == other
    with pytest.raises(UsageError, match="unknown key of FeatureSpec 'hop_size'; did you mean 'hop'"):
        FeatureSpec.from_dict({**SPEC.to_dict(), "hop_size": 300})
    with pytest.raises(UsageError, match="values of FeatureSpec are numbers"):
        FeatureSpec.from_dict({**SPEC.to_dict(), "hop": "300"})


def test_other_features_are_refused_by_name() -> None:
    SPEC.require_same(FeatureSpec(), "the checkpoint")
    with pytest.raises(SlmEvalError) as caught:
        SPEC.require_same(replace(SPEC, fmax=12_000.0, mel_floor=None), "the vocoder v.safetensors")
    assert str(caught.value) == (
        "the vocoder v.safetensors was made for other features: "
        "fmax 12000.0 instead of 7600.0, mel_floor None instead of -5.0; use one made for the same features"
    )


@pytest.mark.parametrize("change", [{"window": 4096}, {"hop": 0}, {"fmax": 13_000.0}, {"magnitude_floor": 0.0}])
def test_impossible_features(change: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        replace(SPEC, **change)


def test_mean_and_scale_equal_numpys() -> None:
    rng = np.random.default_rng(0)
    # A mean that is large beside the spread is where sums of squares in float32 would fail.
    frames = (rng.standard_normal((5000, 80)) * np.linspace(0.001, 2, 80) - 300).astype(np.float32)
    parts = [torch.from_numpy(part) for part in np.split(frames, [1, 1, 800, 4999])]
    normalizer = Normalizer.fit([*parts[:3], parts[3].reshape(1, -1, 80), parts[4]])
    np.testing.assert_array_equal(normalizer.mean, frames.astype(np.float64).mean(0).astype(np.float32))
    np.testing.assert_allclose(normalizer.scale, frames.astype(np.float64).std(0), rtol=1e-6)


def test_normalize_and_back() -> None:
    mels = log_mel(torch.from_numpy(noise(4.0, 24_000)), SPEC)
    normalizer = Normalizer.fit([mels])
    normalized = normalizer.normalize(mels)
    torch.testing.assert_close(normalized.mean(0), torch.zeros(80), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalized.std(0, correction=0), torch.ones(80), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalizer.denormalize(normalized), mels, atol=1e-5, rtol=0)
    again = Normalizer.from_tensors(normalizer.to_tensors())
    assert torch.equal(again.normalize(mels), normalized)


def test_statistics_that_cannot_be() -> None:
    with pytest.raises(SlmEvalError, match="there are no frames"):
        Normalizer.fit([])
    with pytest.raises(SlmEvalError, match=r"bins \[0, 1, 2, 3, 4\] never change over 9 frames"):
        Normalizer.fit([silence(9, SPEC)])
    with pytest.raises(SlmEvalError, match="the normalizer lacks 'scale'"):
        Normalizer.from_tensors({"mean": torch.zeros(80)})
    with pytest.raises(SlmEvalError, match="the scale is above 0"):
        Normalizer(torch.zeros(80), torch.zeros(80))
    with pytest.raises(SlmEvalError, match=r"shapes \(80,\) and \(79,\)"):
        Normalizer(torch.zeros(80), torch.ones(79))
