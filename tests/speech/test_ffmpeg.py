"""What the program ffmpeg decodes: right, safe, and one line where it is not there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from slm_eval.speech import ffmpeg
from slm_eval.speech.audio import AudioError, duration, read_audio
from slm_eval.speech.corpus import load_corpus
from tests.conftest import noise

needed = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
RATE = 16_000
ENDINGS = [".m4a", ".mp4", ".mov", ".aac", ".wma", ".webm", ".mka", ".ac3", ".wv", ".tta", ".caf", ".oga"]
CODECS = {".caf": ["-c:a", "adpcm_ima_qt"], ".oga": ["-c:a", "flac"]}  # that libsndfile cannot decode
# Whose containers state where the audio ends, so that every cut is found.
STATED = [".m4a", ".mp4", ".mov", ".webm", ".mka", ".wma", ".tta", ".wv", ".oga", ".caf"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a second of a tone in the format of an ending."""
    folder = tmp_path_factory.mktemp("made")
    source = folder / "source.wav"
    soundfile.write(source, 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE), RATE)

    def make(ending: str) -> Path:
        path = folder / f"a{ending}"
        if not path.exists():
            _run("-i", str(source), *CODECS.get(ending, []), str(path))
        return path

    return make


def _run(*arguments: str) -> None:
    subprocess.run(["ffmpeg", "-nostdin", "-y", "-loglevel", "error", *arguments], check=True)


@needed
@pytest.mark.parametrize("ending", ENDINGS)
def test_samples_are_those_that_ffmpeg_writes_itself(tmp_path: Path, made: Callable[[str], Path], ending: str) -> None:
    path = made(ending)
    audio = read_audio(path)
    _run("-i", str(path), "-c:a", "pcm_f32le", str(tmp_path / "as.wav"))
    expected, rate = soundfile.read(tmp_path / "as.wav", dtype="float32", always_2d=True)
    np.testing.assert_array_equal(audio.samples, expected.mean(axis=1))
    assert audio.facts.sample_rate == rate
    assert audio.facts.decoder.startswith("ffmpeg ")
    assert audio.facts.seconds == pytest.approx(1, abs=0.1)  # the encoder's padding
    spectrum = np.abs(np.fft.rfft(audio.samples * np.hanning(len(audio.samples))))
    assert spectrum.argmax() / audio.facts.seconds == pytest.approx(440, abs=1.5)
    assert duration(path) == pytest.approx(audio.facts.seconds, abs=0.15)
    np.testing.assert_array_equal(read_audio(path, 0.25, 0.75).samples, audio.samples[rate // 4 : rate * 3 // 4])


@needed
@pytest.mark.parametrize("ending", STATED)
def test_a_cut_file_is_refused(tmp_path: Path, made: Callable[[str], Path], ending: str) -> None:
    content = made(ending).read_bytes()
    for share in (0.3, 0.9, 0.99):
        (tmp_path / f"a{ending}").write_bytes(content[: int(share * len(content))])
        with pytest.raises(AudioError) as error:
            read_audio(tmp_path / f"a{ending}")
        assert error.value.code == "decode_error"
        assert "\n" not in error.value.message


@needed
def test_names_mean_nothing_to_it(tmp_path: Path, made: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = read_audio(made(".m4a")).samples
    for name in ("-version.m4a", "concat:a.m4a", "http:", "a\nb.m4a", "a%03d.m4a", "é'\".m4a", "misnamed.wav"):
        shutil.copy(made(".m4a"), tmp_path / name)
        np.testing.assert_array_equal(read_audio(Path(name)).samples, expected)


_SNDFILE = ["WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "AIFF", "SVX", "AU", "CAF", "NIST", "VOC"]


@pytest.mark.parametrize(("kind", "endian"), [*((kind, "FILE") for kind in _SNDFILE), ("WAV", "BIG"), ("AU", "LITTLE")])
def test_names_of_what_libsndfile_knows_mean_nothing(tmp_path: Path, kind: str, endian: str) -> None:
    # Files of equal bytes are decoded once: which decoder it is must not depend on which of their names comes first.
    soundfile.write(tmp_path / "a.x", noise(0.5), RATE, format=kind, endian=endian)
    expected, _ = soundfile.read(tmp_path / "a.x", dtype="float32")
    for name in ("a.m4a", "a.aac", "a.webm"):
        shutil.copy(tmp_path / "a.x", tmp_path / name)
        audio = read_audio(tmp_path / name)
        np.testing.assert_array_equal(audio.samples, expected)
        assert audio.facts.decoder.startswith("libsndfile ")


@needed
@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile secret.wav\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.wav\n#EXT-X-ENDLIST\n",
    ],
)
def test_a_playlist_reads_no_other_file(tmp_path: Path, text: str) -> None:
    soundfile.write(tmp_path / "secret.wav", noise(1.0), RATE)
    (tmp_path / "list.m4a").write_text(text)
    with pytest.raises(AudioError, match=r"ffmpeg cannot decode list\.m4a"):
        read_audio(tmp_path / "list.m4a")


@needed
def test_a_film_without_sound(tmp_path: Path) -> None:
    _run("-f", "lavfi", "-i", "color=black:s=16x16:d=0.2", "-c:v", "mpeg4", str(tmp_path / "a.mp4"))
    with pytest.raises(AudioError, match=r"ffmpeg cannot decode a\.mp4"):
        read_audio(tmp_path / "a.mp4")


def test_without_it_each_file_is_a_line_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slm_eval.run.evaluate import evaluate
    from tests.fakes import Loudness

    folder = tmp_path / "gen"
    folder.mkdir()
    soundfile.write(folder / "a.wav", noise(1.0), RATE)
    (folder / "b.m4a").write_bytes(b"\0\0\0\x08ftyp")
    # A program of that name in the current folder is not run, whatever PATH says.
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\ntouch run\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", ".:")
    (_, line) = (clip.to_dict() for clip in evaluate(folder, folder, metrics=[Loudness()]).clips["generated"])
    assert (line["id"], line["status"]) == ("b.m4a", "decode_error")
    assert line["error"].startswith("decoding b.m4a takes the program ffmpeg, which is not here; install it")
    assert not (tmp_path / "run").exists()


def test_one_that_stalls_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bin" / "ffmpeg"
    path.parent.mkdir()
    path.write_text('#!/bin/sh\n[ "$1" = -version ] || exec sleep 1000\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(ffmpeg, "_STALLED_SECONDS", 0.3)
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x08ftyp")
    with pytest.raises(AudioError, match=r"ffmpeg stalled on a\.m4a"):
        read_audio(tmp_path / "a.m4a")


def test_what_is_not_audio_is_counted_by_the_ends_of_names(tmp_path: Path) -> None:
    from slm_eval.cli.main import main

    for name in ("a.txt", "b.TXT", "c.json", "d", "e.\x1b[31m", ".hidden", "f.4711"):
        (tmp_path / name).write_text("no audio")
    soundfile.write(tmp_path / "a.wav", noise(1.0), RATE)
    assert load_corpus(tmp_path).ignored == {".json": 1, ".txt": 2, "hidden": 1, "other": 3}
    arguments = ["run", "--generated", tmp_path, "--real", tmp_path, "--metrics", "pjsd", "--ngrams", "1", "-o"]
    arguments += [tmp_path / ".out", "--recognizer", "pocketsphinx", "--workers", "0"]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert "1 of 1 clips scored, 0.0 min; ignored: 3 other, 2 .txt, 1 .json, 1 hidden" in result.output
    summary = json.loads((tmp_path / ".out" / "summary.json").read_text())
    assert summary["corpora"]["real"]["ignored"] == {".json": 1, ".txt": 2, "hidden": 1, "other": 3}
    assert "ignored: 3 other" in (tmp_path / ".out" / "report.html").read_text()
