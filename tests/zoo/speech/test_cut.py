"""Contexts and what was said after them: put together again they are the recording, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from model_zoo.cli.main import main
from model_zoo.data.prepare import PrepareOptions, prepare
from model_zoo.speech.cut import CutOptions, cut, windows
from slm_eval.base.errors import UsageError
from slm_eval.speech.corpus import Clip, Corpus
from tests.conftest import noise

RATE = 24_000
SHORT = CutOptions(context_seconds=0.5, seconds=1.0)
COMMAND = ["--context-seconds", "0.5", "--seconds", "1.0"]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["cut", *map(str, arguments), *COMMAND])


@pytest.fixture
def speech(tmp_path: Path, write_wav: Callable[..., Path]) -> Path:
    """Recordings with room for 3, 2 and no clips."""
    for name, seconds in (("a/x.wav", 4.9), ("b.flac", 3.0), ("c.wav", 1.4)):
        write_wav(tmp_path / "speech" / name, noise(seconds, RATE, seed=len(name)), RATE)
    return tmp_path / "speech"


def heard(path: Path) -> np.ndarray:
    samples, rate = soundfile.read(path, dtype="int16")
    assert rate == RATE
    return samples


def test_contexts_and_what_follows_are_the_recording(speech: Path, tmp_path: Path) -> None:
    outcome = cut(speech, tmp_path / "cut", SHORT)
    # All first places, then all second ones.
    assert outcome.written == ["a/x-0000.wav", "b-0000.wav", "a/x-0001.wav", "b-0001.wav", "a/x-0002.wav"]
    assert not outcome.failed
    for recording, stem, n in (("a/x.wav", "a/x", 3), ("b.flac", "b", 2)):
        names = [f"{stem}-{at:04d}.wav" for at in range(n)]
        parts = [heard(tmp_path / "cut" / side / name) for name in names for side in ("contexts", "real")]
        assert [len(part) for part in parts] == [12_000, 24_000] * n
        assert np.array_equal(np.concatenate(parts), heard(speech / recording)[: 36_000 * n])
    lines = [json.loads(line) for line in (tmp_path / "cut" / "clips.jsonl").read_text().splitlines()]
    assert lines[2] == {"id": "a/x-0001.wav", "recording": "a/x.wav", "start": 1.5}
    assert [line["id"] for line in lines] == outcome.written
    made = json.loads((tmp_path / "cut" / "real" / "provenance.json").read_text())
    assert made["seconds"] == [0.5, 1.0]


def test_few_clips_are_of_many_recordings_and_a_second_run_keeps_them(speech: Path, tmp_path: Path) -> None:
    assert "3 clips cut" in run(speech, "-o", tmp_path / "cut", "--clips", "3").output
    there = sorted(path.relative_to(tmp_path / "cut").as_posix() for path in (tmp_path / "cut").rglob("*.wav"))
    assert there == [f"{side}/{name}" for side in ("contexts", "real") for name in ("a/x-0000.wav", "a/x-0001.wav", "b-0000.wav")]  # fmt: skip # noqa: E501
    # Stopped between the two halves of a clip.
    (tmp_path / "cut" / "real" / "b-0000.wav").unlink()
    again = run(speech, "-o", tmp_path / "cut", "--clips", "3")
    assert "1 clips cut" in again.output
    assert "2 were there already" in again.output
    other = run(speech, "-o", tmp_path / "cut", "--clips", "2")
    assert other.exit_code == 2
    assert "made otherwise (clips)" in other.output


def test_other_rates_segments_and_ids_with_dots(tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    samples = noise(6.0, 16_000)
    write_wav(tmp_path / "long.wav", samples)
    lines = [{"id": f"talk.{at}", "path": "long.wav", "start": at, "end": at + 2.0} for at in (0.5, 3.25)]
    manifest = tmp_path / "talks.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    outcome = cut(manifest, tmp_path / "cut", SHORT)
    assert outcome.written == ["talk.0.5-0000.wav", "talk.3.25-0000.wav"]
    said = heard(tmp_path / "cut" / "real" / "talk.3.25-0000.wav") / 2**15
    # Its spectrum up to 7 kHz is that of the original from 3.75 to 4.75 s: 1 Hz a bin at either rate.
    original = np.fft.rfft(samples[60_000:76_000])[10:7000] / 16_000
    assert np.abs(np.fft.rfft(said)[10:7000] / 24_000 - original).max() < 0.02 * np.abs(original).max()


def test_only_recordings_that_no_model_was_trained_on(tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    for at in range(12):
        write_wav(tmp_path / "speech" / f"{at:02d}.wav", noise(1.6, RATE, seed=at), RATE)
    prepared = prepare([tmp_path / "speech"], tmp_path / "shards", PrepareOptions(validation=0.3, workers=0))
    held_out = {each.id for each in prepared.shards.of("validation")}
    assert 0 < len(held_out) < 12
    done = run(tmp_path / "speech", "-o", tmp_path / "cut", "--held-out", tmp_path / "shards")
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in (tmp_path / "cut" / "clips.jsonl").read_text().splitlines()]
    assert {line["recording"] for line in lines} == held_out
    write_wav(tmp_path / "other" / "x.wav", noise(1.6))
    other = run(tmp_path / "other", "-o", tmp_path / "cut2", "--held-out", tmp_path / "shards")
    assert other.exit_code == 2
    assert "give the speech that was prepared" in other.output
    trained = next(each.id for each in prepared.shards.of("train"))
    alone = Corpus("alone", (Clip(trained, tmp_path / "speech" / trained),))
    with pytest.raises(UsageError, match="no recording of the validation split"):
        cut(alone, tmp_path / "cut3", CutOptions(0.5, 1.0, held_out=tmp_path / "shards"))


def test_what_cannot_be_cut_is_told_and_does_not_stop_the_rest(
    speech: Path, tmp_path: Path, write_wav: Callable[..., Path]
) -> None:
    quiet = np.concatenate([noise(0.5, RATE), np.zeros(RATE, np.float32), noise(1.6, RATE)])
    write_wav(speech / "quiet.wav", quiet, RATE)
    done = run(speech, "-o", tmp_path / "cut")
    assert done.exit_code == 1
    assert "quiet-0000.wav: silent" in done.output
    assert "6 clips cut" in done.output
    assert not list((tmp_path / "cut").rglob("quiet-0000.wav"))
    assert "quiet-0001.wav" in (tmp_path / "cut" / "clips.jsonl").read_text()
    short = CliRunner().invoke(main, ["cut", str(speech), "-o", str(tmp_path / "x")])
    assert short.exit_code == 2
    assert "holds 40 s; the longest that can be read has 4.9 s" in short.output
    with pytest.raises(UsageError, match="more than 0 s"):
        CutOptions(seconds=-1)


@given(
    lengths=st.lists(st.floats(0.1, 50), min_size=1, max_size=6),
    context=st.floats(0.2, 5),
    seconds=st.floats(0.2, 5),
    clips=st.none() | st.integers(1, 20),
)
def test_windows_lie_in_recordings_and_do_not_overlap(
    lengths: list[float], context: float, seconds: float, clips: int | None
) -> None:
    made = tuple(Clip(f"{at}.wav", Path(f"{at}.wav"), 1.0, 1.0 + length) for at, length in enumerate(lengths))
    options = CutOptions(context, seconds, clips)
    long = context + seconds
    if max(lengths) < long * (1 - 1e-9):
        with pytest.raises(UsageError, match="the longest"):
            windows(Corpus("made", made), options)
        return
    places = windows(Corpus("made", made), options)
    wanted = sum(int(length / long + 1e-9) for length in lengths)
    assert len(places) == min(wanted, clips or wanted)
    assert len({place.name for place in places}) == len(places)
    counts = [sum(place.recording is clip for place in places) for clip in made]
    for clip, count in zip(made, counts, strict=True):
        assert clip.end is not None
        starts = [place.start for place in places if place.recording is clip]
        assert starts == pytest.approx([1.0 + at * long for at in range(count)])
        assert all(start + long <= clip.end + 1e-6 for start in starts)
        # None has two more than another that still had room.
        assert all(count >= other - 1 or count == int((clip.end - 1) / long + 1e-9) for other in counts)
