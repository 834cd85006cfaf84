"""Decoding: every format soundfile reads, and a reason code for everything that cannot be scored."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from slm_eval.speech.audio import AudioError, check, duration, read_audio, resample, silence
from tests.conftest import noise

Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.wav", {"subtype": "PCM_16"}, 2**-15),
        ("a.wav", {"subtype": "PCM_24"}, 2**-23),
        ("a.wav", {"subtype": "FLOAT"}, 0.0),
        ("a.flac", {"subtype": "PCM_24"}, 2**-23),
        ("a.aiff", {"subtype": "PCM_16"}, 2**-15),
        ("a.w64", {"subtype": "PCM_16"}, 2**-15),
    ],
)
def test_lossless_formats(
    tmp_path: Path, write_wav: Write, name: str, options: dict[str, str], tolerance: float
) -> None:
    samples = noise(1.0, 48_000)
    audio = read_audio(write_wav(tmp_path / name, samples, 48_000, **options))
    assert audio.samples.dtype == np.float32
    assert audio.facts.sample_rate == 48_000
    assert audio.samples.shape == samples.shape
    assert np.abs(audio.samples - samples).max() <= tolerance


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.ogg", {"subtype": "VORBIS"}), ("a.mp3", {}), ("a.opus", {"format": "OGG", "subtype": "OPUS"})],
)
def test_lossy_formats(tmp_path: Path, write_wav: Write, name: str, options: dict[str, str]) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000).astype(np.float32)
    audio = read_audio(write_wav(tmp_path / name, tone, 48_000, **options))
    assert audio.facts.seconds == pytest.approx(1.0, abs=0.06)  # mp3 is padded to whole frames
    spectrum = np.abs(np.fft.rfft(audio.samples * np.hanning(len(audio.samples))))
    assert spectrum.argmax() / audio.facts.seconds == pytest.approx(440, abs=1)
    assert audio.samples[10_000:38_000].std() == pytest.approx(0.5 / np.sqrt(2), rel=0.02)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 96_000, 192_000])
def test_rates_are_resampled_to_the_right_length_and_pitch(rate: int) -> None:
    time = np.arange(rate) / rate
    tone = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    out = resample(tone, rate, 16_000)
    assert out.dtype == np.float32
    assert abs(len(out) - 16_000) <= 1
    spectrum = np.abs(np.fft.rfft(out * np.hanning(len(out))))
    assert abs(int(spectrum.argmax()) - 440) <= 1


def test_channels_are_averaged(tmp_path: Path, write_wav: Write) -> None:
    channels = np.stack([noise(0.5, seed=seed) for seed in range(8)], axis=1)
    audio = read_audio(write_wav(tmp_path / "a.wav", channels, subtype="FLOAT"))
    np.testing.assert_allclose(audio.samples, channels.mean(axis=1), atol=1e-7)
    assert audio.facts.channels == 8


def test_beyond_full_scale_is_kept_and_recorded(tmp_path: Path, write_wav: Write) -> None:
    samples = noise(0.5) * 30
    audio = read_audio(write_wav(tmp_path / "a.wav", samples, subtype="FLOAT"))
    np.testing.assert_array_equal(audio.samples, samples)
    assert audio.facts.peak == np.abs(samples).max()
    assert audio.facts.peak > 1


def test_segments(tmp_path: Path, write_wav: Write) -> None:
    samples = noise(2.0)
    path = write_wav(tmp_path / "a.wav", samples, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(path, 0.5, 1.25).samples, samples[8_000:20_000])
    np.testing.assert_array_equal(read_audio(path, 1.5).samples, samples[24_000:])
    assert duration(path, 0.5) == 1.5
    with pytest.raises(AudioError, match=r"the segment ends at 3 s, the file at 2 s"):
        read_audio(path, 0.5, 3.0)


BAD = {
    "empty_file.wav": (b"", "empty", "0 bytes"),
    "text.wav": (b"hello, this is no audio\n" * 50, "decode_error", "cannot decode"),
    "noise.flac": (bytes(range(256)) * 8, "decode_error", "cannot decode"),
}


@pytest.mark.parametrize("name", BAD)
def test_bytes_that_are_no_audio(tmp_path: Path, name: str) -> None:
    content, code, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    _refused(tmp_path / name, code, message)


@pytest.mark.parametrize(
    ("samples", "code"),
    [
        (np.zeros(0, np.float32), "empty"),
        (np.zeros(16_000, np.float32), "silent"),
        (np.full(16_000, 0.25, np.float32), "silent"),
        (np.array([0.1, np.nan, 0.2], np.float32), "not_finite"),
        (np.array([0.1, np.inf, 0.2], np.float32), "not_finite"),
    ],
)
def test_samples_that_mean_nothing(tmp_path: Path, write_wav: Write, samples: np.ndarray, code: str) -> None:
    _refused(write_wav(tmp_path / "a.wav", samples, subtype="FLOAT"), code, "")
    with pytest.raises(AudioError) as error:
        check(samples)
    assert error.value.code == code


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_truncated_files_are_refused(tmp_path: Path, write_wav: Write, name: str) -> None:
    path = write_wav(tmp_path / name, noise(5.0))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    _refused(path, "decode_error", "")


@pytest.mark.parametrize("declared", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_wav_from_a_stream_is_whole_although_its_header_does_not_know(
    tmp_path: Path, write_wav: Write, declared: int
) -> None:
    samples = noise(1.0)
    path = write_wav(tmp_path / "a.wav", samples, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    offset = content.index(b"data") + 4
    struct.pack_into("<I", content, offset, declared)
    path.write_bytes(content)
    assert len(read_audio(path).samples) == len(samples)


def test_links_and_permissions(tmp_path: Path, write_wav: Write) -> None:
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    _refused(tmp_path / "gone.wav", "decode_error", "dangling link")
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    _refused(tmp_path / "loop.wav", "decode_error", "")
    path = write_wav(tmp_path / "secret.wav", noise(0.1))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    _refused(path, "permission", "check its permissions")


def test_duration_of_what_cannot_be_read_is_zero(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"no audio")
    assert duration(tmp_path / "a.wav") == 0.0


def _refused(path: Path, code: str, message: str) -> None:
    with pytest.raises(AudioError) as error:
        read_audio(path)
    assert error.value.code == code
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("rate", [8_000, 44_100])
@pytest.mark.parametrize("level", [1e-4, 1.0, 1e25])
def test_silence_is_the_share_of_pauses_whatever_the_level(rate: int, level: float) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(rate) / rate)
    # 1 s of tone, 0.5 s at -40 dB, 1 s of tone at -20 dB (no pause), 0.06 s of nothing (too short for a pause).
    parts = [tone, 0.01 * tone[: rate // 2], 0.1 * tone, 0 * tone[: round(0.06 * rate)]]
    samples = (level * np.concatenate(parts)).astype(np.float32)
    assert silence(samples, rate) == pytest.approx(0.5 / 2.56, abs=0.01)


def test_silence_of_nothing_but_tone_and_of_less_than_a_frame() -> None:
    assert silence(np.ones(16_000, dtype=np.float32), 16_000) == 0
    assert silence(np.ones(100, dtype=np.float32), 16_000) == 0
