"""Hostile and odd files: what is there is decoded, what is not is a reason, and nothing waits or fills the memory."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from slm_eval.base.digests import content_digest
from slm_eval.speech.audio import MAX_SECONDS, AudioError, duration, read_audio
from slm_eval.speech.decoding import RATES
from tests.conftest import ROOT, noise
from tests.speech.recordings import RATE, made, refused

# Whatever libsndfile writes, but RAW, which has no header, and SD2, whose header is in another file.
WRITABLE = [
    (form, subtype, channels)
    for form in sorted(soundfile.available_formats())
    if form not in {"RAW", "SD2"}
    for subtype in sorted(soundfile.available_subtypes(form))
    for channels in (1, 2)
]
ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


@pytest.mark.parametrize(("form", "subtype", "channels"), WRITABLE)
def test_whatever_libsndfile_writes_is_read_as_it_reads_it(
    tmp_path: Path, form: str, subtype: str, channels: int
) -> None:
    path = tmp_path / "a.bin"
    try:
        path.write_bytes(made(form, subtype, channels=channels))
    except (soundfile.LibsndfileError, ValueError):
        pytest.skip("libsndfile does not write this with so many channels")
    with soundfile.SoundFile(path) as file:
        whole = np.empty((file.frames, file.channels), np.float32)
        read = soundfile._snd.sf_readf_float(file._file, soundfile._ffi.from_buffer("float[]", whole), file.frames)
    np.testing.assert_array_equal(read_audio(path).samples, whole[:read].mean(axis=1))


def _flac_of(frames: int) -> bytes:
    content = bytearray(made("FLAC", "PCM_16"))
    packed = int.from_bytes(content[18:26], "big") & ~((1 << 36) - 1) | frames
    content[18:26] = packed.to_bytes(8, "big")
    return bytes(content)


def _mp3_of(frames: int) -> bytes:
    content = bytearray(made("MP3"))
    offset = content.index(b"Xing")
    content[offset + 8 : offset + 12] = frames.to_bytes(4, "big")
    return bytes(content)


def _rf64_of(size: int) -> bytes:
    content = bytearray(made("RF64", "PCM_16"))
    offset = content.index(b"ds64") + 16
    content[offset : offset + 8] = size.to_bytes(8, "little")
    offset = content.index(b"data") + 4
    content[offset : offset + 4] = b"\xff" * 4
    return bytes(content)


LIES = {
    "a.flac": (_flac_of((1 << 36) - 1), "states 68,719,476,735 frames, more than"),
    "a.mp3": (_mp3_of(0x7FFFFFF0), "frames, more than"),
    "a.wav": (_rf64_of(1 << 45), "it holds 16000 of 35184372088832 bytes"),
    "b.flac": (_flac_of(30_000_000), "8000 of 30000000 frames can be read"),  # so much silence might be in it
}


@pytest.mark.parametrize("name", LIES)
def test_a_header_that_promises_too_much_costs_no_memory(tmp_path: Path, name: str) -> None:
    import resource

    path = tmp_path / name
    path.write_bytes(LIES[name][0])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(path, LIES[name][1])
    assert duration(path) < 2_000  # 0, or as much as there might be
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_a_flac_that_states_no_length_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes(_flac_of(0))
    assert len(read_audio(path).samples) == 8_000
    assert len(read_audio(path, 0.25).samples) == 4_000
    with pytest.raises(AudioError, match=r"the segment ends at 0\.75 s, the file at 0\.5 s"):
        read_audio(path, 0.25, 0.75)


@pytest.mark.parametrize("rate", [1, 999, 768_001, 2_000_000_000])
def test_rates_that_nobody_records_at(tmp_path: Path, write_wav: Callable[..., Path], rate: int) -> None:
    path = write_wav(tmp_path / "a.wav", noise(0.5))
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, 24, rate)
    path.write_bytes(content)
    refused(path, f"a.wav is sampled at {rate:,} Hz; expected 1,000 to 768,000 Hz")
    assert duration(path) == 0
    struct.pack_into("<I", content, 24, RATES[1] if rate > RATES[1] else RATES[0])
    path.write_bytes(content)
    assert len(read_audio(path).samples) == 8_000


def test_days_of_silence_in_a_small_file(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    with soundfile.SoundFile(path, "w", RATE, 1, subtype="PCM_16") as file:
        file.write(noise(0.1))
        for _ in range(MAX_SECONDS // 600):
            file.write(np.zeros(600 * RATE, np.int16))
    assert path.stat().st_size < 1_000_000
    refused(path, "a.flac has more than 120 minutes at 16,000 Hz", code="too_long")
    assert read_audio(path, 0, 1).facts.seconds == 1


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "zero.wav").symlink_to("/dev/zero")
    (tmp_path / "folder.wav").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.wav"))
        kinds = {"pipe": "named pipe", "zero": "device", "folder": "folder", "socket": "socket"}
        for name, kind in kinds.items():
            refused(tmp_path / f"{name}.wav", f"it is a {kind}; expected a regular file")
            assert duration(tmp_path / f"{name}.wav") == 0


def test_a_run_over_what_is_no_file_ends(tmp_path: Path) -> None:
    from slm_eval.run.evaluate import evaluate
    from tests.fakes import Loudness

    folder = tmp_path / "gen"
    folder.mkdir()
    (folder / "a.wav").write_bytes(made("WAV"))
    os.mkfifo(folder / "pipe.wav")
    (folder / "zero.wav").symlink_to("/dev/zero")
    clips = evaluate(folder, folder, metrics=[Loudness()]).clips["generated"]
    assert [clip.to_dict()["status"] for clip in clips] == ["ok", "decode_error", "decode_error"]


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="/proc is there on Linux alone")
def test_what_the_system_writes_is_not_read(tmp_path: Path) -> None:
    # A regular file of 0 bytes, by what it states; /proc/kmsg, its like, gives bytes or waits for ever.
    (tmp_path / "a.wav").symlink_to("/proc/self/status")
    refused(tmp_path / "a.wav", "a.wav is an empty file (0 bytes)", code="empty")
    assert content_digest(tmp_path / "a.wav") == hashlib.sha256(b"").hexdigest()


def test_a_file_too_large_to_read_is_not_read(tmp_path: Path) -> None:
    from slm_eval.run.evaluate import evaluate
    from tests.fakes import Loudness

    (tmp_path / "whole.wav").write_bytes(made("WAV"))
    with open(tmp_path / "sparse.wav", "wb") as file:
        file.truncate(40 << 30)  # no block of a disk; digesting it takes minutes
    begun = time.process_time()
    sparse, whole = evaluate(tmp_path, tmp_path, metrics=[Loudness()]).clips["generated"]
    assert (sparse.to_dict()["status"], whole.to_dict()["status"]) == ("too_long", "ok")
    assert "sparse.wav has 40 GiB; at most 16 are read" in str(sparse.sound.error)
    assert time.process_time() - begun < 10


def test_an_mp3_of_many_blocks_is_decoded_without_a_break(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # mpg123 needs what earlier frames left over: after a seek, also to where it is, other samples come out.
    path = tmp_path / "a.mp3"
    path.write_bytes(made("MP3", seconds=3.0))
    whole = read_audio(path).samples
    monkeypatch.setattr("slm_eval.speech.decoding._BLOCK", 1_000)
    np.testing.assert_array_equal(read_audio(path).samples, whole)
    np.testing.assert_array_equal(read_audio(path, 1.0, 2.5).samples, whole[RATE : round(2.5 * RATE)])


def test_channels_are_counted_into_what_is_decoded_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(made("WAV", "FLOAT", channels=3))
    whole = read_audio(path).samples
    monkeypatch.setattr("slm_eval.speech.decoding._BLOCK", 100)
    np.testing.assert_array_equal(read_audio(path).samples, whole)


def test_what_mpg123_says_does_not_reach_the_terminal(tmp_path: Path) -> None:
    # A tag behind the audio: "Warning: Xing stream size off by more than 1%"; then standard error works as before.
    path = tmp_path / "a.mp3"
    path.write_bytes(made("MP3") + bytes(5_000))
    code = "import os, sys; from pathlib import Path; from slm_eval.speech.audio import read_audio"
    call = f"read_audio(Path({str(path)!r})); os.write(2, b'raw '); print('text', file=sys.stderr)"
    process = subprocess.run([sys.executable, "-c", f"{code}; {call}"], stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stderr == "raw text\n"


def test_too_little_memory_is_the_reason_of_a_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(made("WAV"))

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("slm_eval.speech.decoding.SndfileRecording._read", fail)
    refused(path, "there is not enough memory to decode a.wav")


def test_what_the_decoder_of_alac_prints_does_not_get_into_the_output(tmp_path: Path) -> None:
    # A byte of the table of packets: "alac_pakt_read_decode 855 : Ooops!" on standard output, beside `--json`.
    content = bytearray(made("CAF", "ALAC_16"))
    offset = content.index(b"pakt") + 12 + 24
    content[offset : offset + 4] = b"\xff" * 4
    path = tmp_path / "a.caf"
    path.write_bytes(content)
    code = "from pathlib import Path; from slm_eval.speech.audio import AudioError, duration, read_audio"
    call = (
        f"path = Path({str(path)!r}); duration(path)\ntry:\n  read_audio(path)\nexcept AudioError: pass\nprint('text')"
    )
    process = subprocess.run([sys.executable, "-c", f"{code}; {call}"], capture_output=True, text=True, cwd=ROOT)
    assert (process.stdout, process.stderr) == ("text\n", "")
    raw = "import soundfile, sys\ntry:\n  soundfile.SoundFile(sys.argv[1]).read()\nexcept RuntimeError: pass"
    plain = subprocess.run([sys.executable, "-c", raw, str(path)], capture_output=True, text=True)
    assert "alac_pakt" in plain.stdout  # else the test could not fail
