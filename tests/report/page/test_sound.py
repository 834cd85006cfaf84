"""What is embedded decodes to what was there: the MP3 by libsndfile, the PNG by its specification."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from slm_eval.report.page.sound import mp3, palette, png, record, spectrogram
from slm_eval.speech.audio import AudioError
from slm_eval.speech.corpus import Clip


def tone(hertz: float, seconds: float, rate: int) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def test_mp3_holds_the_sound() -> None:
    samples = tone(440, 1.0, 16_000)
    decoded, rate = soundfile.read(io.BytesIO(mp3(samples, 16_000)))
    assert rate == 16_000
    spectrum = np.abs(np.fft.rfft(decoded[:16_000]))
    assert np.argmax(spectrum) == pytest.approx(440, abs=2)
    assert np.sqrt(np.mean(decoded[2_000:14_000] ** 2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.02)


@pytest.mark.parametrize(("rate", "kept"), [(8_000, 8_000), (10_000, 11_025), (16_000, 16_000), (48_000, 24_000)])
def test_rates_become_those_of_mp3(tmp_path: Path, rate: int, kept: int) -> None:
    file = tmp_path / "tone.wav"
    soundfile.write(file, tone(440, 1.0, rate), rate)
    recording = record(Clip("tone", file), 1.0)
    assert soundfile.info(io.BytesIO(base64.b64decode(recording.audio.partition(",")[2]))).samplerate == kept
    assert recording.seconds == pytest.approx(1.0, abs=1e-3)
    assert recording.top_hz == min(8_000, kept / 2)


def test_long_clips_are_cut_and_say_so(tmp_path: Path) -> None:
    file = tmp_path / "long.wav"
    soundfile.write(file, tone(440, 21.0, 8_000), 8_000)
    recording = record(Clip("long", file), 21.0)
    assert (recording.seconds, recording.cut) == (20.0, True)
    part = record(Clip("part", file, start=1.0, end=3.0), 2.0)
    assert (part.seconds, part.cut) == (2.0, False)


def test_what_cannot_be_played(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="No such file"):
        record(Clip("gone", tmp_path / "gone.wav"), None)


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000])
def test_a_tone_is_a_line_at_its_frequency(rate: int) -> None:
    shades = spectrogram(tone(2_000, 1.0, rate), rate)
    top = min(8_000, rate / 2)
    row = int(np.argmax(shades.mean(axis=1)))
    assert top * (1 - (row + 0.5) / shades.shape[0]) == pytest.approx(2_000, abs=1.5 * top / shades.shape[0])
    assert shades.max() == 47
    assert shades.min() == 0
    assert shades.shape[1] <= 640


def test_png_as_specified() -> None:
    shades = np.arange(35, dtype=np.uint8).reshape(5, 7)
    content = png(shades)
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, offset = {}, 8
    while offset < len(content):
        (length,) = struct.unpack_from(">I", content, offset)
        kind, data = content[offset + 4 : offset + 8], content[offset + 8 : offset + 8 + length]
        assert struct.unpack_from(">I", content, offset + 8 + length) == (zlib.crc32(kind + data),)
        chunks[kind] = data
        offset += 12 + length
    assert struct.unpack(">IIBBBBB", chunks[b"IHDR"]) == (7, 5, 8, 3, 0, 0, 0)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(5, 8)
    assert (rows[:, 0] == 0).all()
    assert (rows[:, 1:] == shades).all()


def test_palette_gets_lighter_throughout() -> None:
    colours = np.frombuffer(palette(), np.uint8).reshape(-1, 3) / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all()
    assert luminance[0] < 0.01
    assert luminance[-1] > 0.8
