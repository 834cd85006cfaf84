"""Recordings heard block by block are those that are read at once, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_zoo.data.listening import hear, log_mels
from model_zoo.features import log_mel
from slm_eval.speech.audio import AudioError, read_audio
from tests.conftest import noise
from tests.zoo.data.prepared import SPEC, features


@settings(max_examples=25, deadline=None)
@given(
    samples=st.integers(1025, 60 * 24_000),
    cuts=st.lists(st.integers(1, 20 * 24_000), max_size=6),
    piece=st.sampled_from([256, 512, 1024]),
)
def test_pieces_are_the_whole_to_the_bit(samples: int, cuts: list[int], piece: int) -> None:
    wave = noise(samples / 24_000, 24_000, seed=samples)
    blocks = iter(np.split(wave, sorted(cut for cut in cuts if cut < len(wave))))
    pieces = torch.cat(list(log_mels(blocks, SPEC, piece)))
    torch.testing.assert_close(pieces, log_mel(torch.from_numpy(wave), SPEC), rtol=0, atol=0)


def test_too_short_for_a_frame_of_features() -> None:
    assert list(log_mels(iter([np.ones(1024, np.float32)]), SPEC)) == []


@pytest.mark.parametrize(
    ("rate", "channels", "suffix"), [(44_100, 2, "wav"), (16_000, 1, "flac"), (8_000, 1, "ogg"), (24_000, 1, "mp3")]
)
def test_hearing_equals_reading_at_once(tmp_path: Path, rate: int, channels: int, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    seconds = 2 * (1 << 20) / rate  # more than one block of decoding
    wave = np.stack([noise(seconds, rate, seed=at) for at in range(channels)], axis=1)
    with soundfile.SoundFile(path, "w", rate, channels) as file:
        for block in np.split(wave, range(rate, len(wave), rate)):  # libsndfile's Vorbis cannot take much at once
            file.write(block)
    heard = hear(path, None, None, SPEC)
    np.testing.assert_array_equal(heard.mel, features(path))
    assert heard.seconds == pytest.approx(read_audio(path).facts.seconds, abs=1e-9)
    np.testing.assert_array_equal(hear(path, 1.25, 2.5, SPEC).mel, features(path, 1.25, 2.5))


def test_the_digest_is_of_the_audio_not_of_the_file(tmp_path: Path) -> None:
    wave = (noise(0.5, 24_000) * 32_768).astype(np.int16)
    for name in ("a.wav", "b.flac"):
        soundfile.write(tmp_path / name, wave, 24_000)
    soundfile.write(tmp_path / "c.wav", wave[1:], 24_000)
    first, second, third = (hear(tmp_path / name, None, None, SPEC).digest for name in ("a.wav", "b.flac", "c.wav"))
    assert first == second != third


def test_hearing_tells_why_not(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"cannot decode missing\.wav: No such file"):
        hear(tmp_path / "missing.wav", None, None, SPEC)
    soundfile.write(tmp_path / "a.wav", noise(1.0, 24_000), 24_000)
    with pytest.raises(AudioError, match="the segment ends at 2 s, the file at 1 s"):
        hear(tmp_path / "a.wav", 0.5, 2.0, SPEC)
