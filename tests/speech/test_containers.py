"""A file that is shorter than it says, or lacks a part, is refused wherever it was cut."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from slm_eval.speech.audio import duration, read_audio
from tests.speech.recordings import made, refused

# Statements of a length, as (format, subtype). Cut anywhere, such a file is shorter than it says.
STATED = [
    ("WAV", "PCM_16"),
    ("WAVEX", "PCM_24"),
    ("RF64", "PCM_16"),
    ("W64", "PCM_16"),
    ("AIFF", "PCM_16"),
    ("AIFF", "ULAW"),
    ("AU", "PCM_16"),
    ("CAF", "PCM_16"),
    ("CAF", "ALAC_16"),
    ("NIST", "PCM_16"),
    ("VOC", "PCM_16"),
    ("SVX", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]


@pytest.mark.parametrize(("form", "subtype"), STATED)
def test_a_cut_anywhere_is_refused(tmp_path: Path, form: str, subtype: str) -> None:
    content = made(form, subtype)
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    assert read_audio(path).facts.seconds == pytest.approx(0.5, abs=0.01)
    # VOC ends with a byte that says so, and ALAC with a table that libsndfile does not need for what is before.
    last = {"VOC": 1, "CAF": 1}.get(form, 0)
    rng = np.random.default_rng(0)
    for missing in [last + 1, last + 2, last + 10, *rng.integers(last + 1, len(content), 20)]:
        path.write_bytes(content[: len(content) - int(missing)])
        refused(path)


def test_a_big_endian_wav_and_one_with_large_chunks_before_the_data(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    for content in (made("WAV", "PCM_16", endian="BIG"), _with_list(made("WAV", "PCM_16"), 5_000)):
        path.write_bytes(content)
        whole = read_audio(path).samples
        path.write_bytes(content + b"\0" * 7)  # what follows the audio does not matter
        np.testing.assert_array_equal(read_audio(path).samples, whole)
        path.write_bytes(content[:-100])
        refused(path, "a.wav is truncated: it holds 15900 of 16000 bytes of audio")


def _with_list(wav: bytes, size: int) -> bytes:
    offset = wav.index(b"data")
    return wav[:offset] + b"LIST" + struct.pack("<I", size) + b"INFO" + bytes(size - 4) + wav[offset:]


UNKNOWN = {  # format: where the length of the audio is stated, and how a stream states that it does not know
    "WAV": (b"data", 4, [b"\xff" * 4, b"\0" * 4, b"\x00\xf0\xff\x7f"]),
    "AIFF": (b"SSND", 4, [b"\0" * 4, b"\xff" * 4]),
    "W64": (b"data\xf3\xac\xd3\x11", 16, [b"\xff" * 8]),
    "AU": (b".snd", 8, [b"\xff" * 4]),
}


@pytest.mark.parametrize(("form", "stated"), [(form, stated) for form in UNKNOWN for stated in UNKNOWN[form][2]])
def test_a_stream_that_states_no_length_is_taken_as_it_is(tmp_path: Path, form: str, stated: bytes) -> None:
    content = made(form, "PCM_16", endian="LITTLE" if form in {"WAV", "W64"} else "BIG")
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    whole = read_audio(path).samples
    mark, offset, _ = UNKNOWN[form]
    begin = content.index(mark) + offset
    content = content[:begin] + stated + content[begin + len(stated) :]
    if form == "WAV":  # of 0 bytes of audio libsndfile believes that they are unknown where RIFF has 8
        content = content[:4] + (stated if any(stated) else b"\x08\0\0\0") + content[8:]
    path.write_bytes(content)
    np.testing.assert_array_equal(read_audio(path).samples[: len(whole)], whole)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_chained_ogg_is_its_links_one_after_the_other(tmp_path: Path, subtype: str) -> None:
    links = [made("OGG", subtype, seconds) for seconds in (0.5, 0.3)]
    path = tmp_path / "a.ogg"
    alone = []
    for link in links:
        path.write_bytes(link)
        alone.append(read_audio(path).samples)
    path.write_bytes(b"".join(links) + b"what follows is not looked at")
    np.testing.assert_array_equal(read_audio(path).samples, np.concatenate(alone))
    assert duration(path) == pytest.approx(0.8, abs=1e-4)
    np.testing.assert_array_equal(read_audio(path, 0.4, 0.6).samples, np.concatenate(alone)[6_400:9_600])


def test_ogg_pages_that_are_damaged_or_missing(tmp_path: Path) -> None:
    content = made("OGG", "VORBIS", seconds=20.0)
    pages = [b"OggS" + page for page in content.split(b"OggS")[1:]]
    assert len(pages) > 5
    path = tmp_path / "a.ogg"
    path.write_bytes(b"".join(pages[:4] + pages[5:]))
    refused(path, "an Ogg page is missing")
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    path.write_bytes(flipped)
    refused(path, "the checksum of the Ogg page at byte")
