"""Griffin-Lim against torchaudio, and as a vocoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model_zoo.features import FeatureSpec, log_mel, mel_filters, silence
from model_zoo.vocoder.griffin_lim import GriffinLim
from tests.conftest import noise

SPEC = FeatureSpec()


def voice(seconds: float = 1.0, pitch: float = 130.0) -> torch.Tensor:
    """Harmonics of a gliding tone, (samples,) at 24 kHz."""
    time = np.arange(round(seconds * 24_000)) / 24_000
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.2 * np.sin(2 * np.pi * 0.7 * time))) / 24_000
    sound = sum(np.sin(k * phase) / k for k in range(1, 30)) * 0.1 * (1.2 + np.sin(2 * np.pi * 3 * time))
    return torch.from_numpy((sound + 1e-3 * noise(seconds, 24_000)).astype(np.float32))


def test_phases_equal_torchaudios(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same magnitudes and first phases: the same audio as torchaudio's fast Griffin-Lim."""
    torchaudio = pytest.importorskip("torchaudio", reason="torchaudio does not fit this torch", exc_type=ImportError)
    audio = voice(0.5)
    vocoder = GriffinLim(SPEC, iterations=8)
    monkeypatch.setattr(vocoder, "_first_phases", lambda *shape: torch.ones(shape, dtype=torch.complex64))
    window = torch.hann_window(1200)
    magnitudes = torch.stft(audio, 2048, 300, 1200, window, return_complex=True).abs()
    theirs = torchaudio.functional.griffinlim(magnitudes, window, 2048, 300, 1200, 1.0, 8, 0.99, 12_000, False)
    ours = vocoder.audio_of(magnitudes, 12_000)
    # Phases of bins without energy are all rounding: the audio differs there by as much as there is in them.
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-3)
    assert theirs.abs().max() > 0.2


def test_magnitudes_have_the_mels() -> None:
    mels = log_mel(voice(), SPEC)
    magnitudes = GriffinLim(SPEC).magnitudes_of(mels).double()
    assert magnitudes.min() >= 0
    wanted = torch.pow(10.0, mels.double()).T
    error = torch.linalg.norm(torch.from_numpy(mel_filters(SPEC)) @ magnitudes - wanted) / torch.linalg.norm(wanted)
    assert error < 0.01
    pseudo_inverse = torch.from_numpy(np.linalg.pinv(mel_filters(SPEC))) @ wanted
    clipped = torch.from_numpy(mel_filters(SPEC)) @ pseudo_inverse.clamp(min=0)
    assert error < torch.linalg.norm(clipped - wanted) / torch.linalg.norm(wanted)


def test_griffin_lim_says_the_mels_again() -> None:
    audio = voice()
    mels = log_mel(audio, SPEC)
    once, again = GriffinLim(SPEC, iterations=0)(mels[None]), GriffinLim(SPEC)(mels[None])
    assert again.shape == (1, 24_000)
    far, near = (float((log_mel(each[0], SPEC) - mels).abs().mean()) for each in (once, again))
    assert near < 0.1  # where a bin's standard deviation is about 1
    assert near < 0.5 * far
    tail = slice(-2000, None)  # the dropped frame: the end does not fade
    assert again[0, tail].square().mean() == pytest.approx(float(audio[tail].square().mean()), rel=0.3)
    assert torch.equal(again, GriffinLim(SPEC)(mels[None]))


def test_griffin_lim_momentum_brings_the_spectrum_closer() -> None:
    """Spectral convergence, of the spectrum itself: what fast Griffin-Lim is for."""
    audio = voice()

    def distance(momentum: float) -> float:
        vocoder = GriffinLim(SPEC, iterations=32, momentum=momentum)
        wanted = vocoder._stft(audio).abs()
        return float((vocoder._stft(vocoder.audio_of(wanted, 24_000)).abs() - wanted).norm() / wanted.norm())

    assert distance(0.99) < 0.7 * distance(0.0)


def test_griffin_lim_batch_never_changes_a_clip() -> None:
    mels = torch.stack([log_mel(voice(0.3, pitch), SPEC) for pitch in (100.0, 130.0, 170.0)])
    vocoder = GriffinLim(SPEC, iterations=4)
    together = vocoder(mels)
    for row, mel in enumerate(mels):
        assert torch.equal(together[row], vocoder(mel[None])[0])


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5])
def test_griffin_lim_of_few_frames(frames: int) -> None:
    audio = GriffinLim(SPEC, iterations=2)(silence(frames, SPEC)[None])
    assert audio.shape == (1, 300 * frames)
    assert audio.abs().max() < 1e-3  # silence at the floor is quiet


def test_quieter_than_the_floor_is_the_floor() -> None:
    mels = log_mel(voice(0.3), SPEC)
    quiet = mels.clone()
    quiet[5:10] = -9.0
    vocoder = GriffinLim(SPEC, iterations=2)
    assert torch.equal(vocoder(quiet[None]), vocoder(quiet[None].clamp(min=-5.0)))
