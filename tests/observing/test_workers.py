"""Clips come back from processes as they do from this one, whatever of them fails or is replaced meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slm_eval.base.digests import content_digest
from slm_eval.base.errors import SlmEvalError
from slm_eval.base.pool import Died
from slm_eval.metrics.pjsd import pJSD
from slm_eval.observing.options import RunOptions
from slm_eval.observing.workers import Decoded, Job, decode_all, died_twice
from slm_eval.run.evaluate import evaluate
from slm_eval.speech.audio import AudioError, read_audio
from tests.conftest import noise
from tests.fakes import FailingObserver, KilledObserver, Loudness, SpellingObserver
from tests.small_runs import Write


def test_processes_change_nothing(tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    paths = [write_wav(tmp_path / f"{n}.wav", noise(0.1 * n, seed=n)) for n in (1, 2, 3)]
    (tmp_path / "no.wav").write_bytes(b"RIFF and no more")
    jobs = [
        Job(content_digest(path), path, None, None, 1.0, frozenset([16_000]), ())
        for path in (*paths, tmp_path / "no.wav")
    ]
    outcomes = [{job.path: outcome for job, outcome in decode_all(jobs, [], workers, 1.5)} for workers in (0, 2)]
    assert outcomes[0].keys() == outcomes[1].keys() == {job.path for job in jobs}
    for path in paths:
        here, there = (outcome[path] for outcome in outcomes)
        assert isinstance(here, Decoded)
        assert isinstance(there, Decoded)
        assert here.facts == there.facts
        assert np.array_equal(here.signals[16_000].samples, there.signals[16_000].samples)
    errors = [outcome[tmp_path / "no.wav"] for outcome in outcomes]
    assert all(isinstance(outcome, AudioError) for outcome in errors)
    assert str(errors[0]) == str(errors[1])


def test_without_clips_no_observer_is_made_ready() -> None:
    class Unready:
        def ready(self, device: str) -> None:
            raise AssertionError

    assert list(decode_all([], [Unready()], 0, 1.5)) == []  # type: ignore[list-item]


def test_where_memory_may_be_short_fewer_workers_are_advised() -> None:
    line = "the decoder process died twice on x.wav, the second time "
    assert died_twice(Path("a/x.wav"), Died("with status 3")).message == f"{line}with status 3"
    advice = "; if memory is short, fewer --workers need less of it"
    assert died_twice(Path("a/x.wav"), Died("by SIGKILL")).message == f"{line}by SIGKILL{advice}"


@pytest.fixture
def loud_and_soft(tmp_path: Path, write_wav: Write) -> tuple[Path, bytes, bytes]:
    """A clip, what is in it, and what another run of the same generator would put there: as long, 5 times louder."""
    soft = write_wav(tmp_path / "x" / "a.wav", noise(0.5), subtype="FLOAT")
    loud = write_wav(tmp_path / "loud.wav", noise(0.5) * 5, subtype="FLOAT")
    return soft, soft.read_bytes(), loud.read_bytes()


def scored(clip: Path) -> dict[str, Any]:
    """The line of a clip in a folder of its own."""
    evaluation = evaluate(clip.parent, clip.parent, metrics=[Loudness()], options=RunOptions(workers=0))
    return evaluation.clips["generated"][0].to_dict()


def between(monkeypatch: pytest.MonkeyPatch, happens: Callable[[int], None], *, after: bool) -> None:
    """Let something happen before or after each decoding, which is counted from 1."""
    turns = itertools.count(1)

    def read(*arguments: Any) -> Any:
        turn = next(turns)
        if not after:
            happens(turn)
        audio = read_audio(*arguments)
        if after:
            happens(turn)
        return audio

    monkeypatch.setattr("slm_eval.observing.workers.read_audio", read)


@pytest.mark.parametrize("in_place", [True, False])
def test_a_clip_that_is_replaced_before_it_is_decoded_is_scored_as_what_it_is(
    loud_and_soft: tuple[Path, bytes, bytes], monkeypatch: pytest.MonkeyPatch, in_place: bool
) -> None:
    clip, soft, loud = loud_and_soft

    def replace(turn: int) -> None:
        if turn > 1:
            return
        if not in_place:
            clip.unlink()
        clip.write_bytes(loud)

    with monkeypatch.context() as patch:
        between(patch, replace, after=False)
        replaced = scored(clip)
    clip.write_bytes(soft)
    assert scored(clip)["scores"]["loudness.rms"] * 5 == pytest.approx(replaced["scores"]["loudness.rms"])
    clip.write_bytes(loud)
    assert scored(clip) == replaced


def test_a_clip_that_is_written_again_while_it_is_decoded_is_decoded_again(
    loud_and_soft: tuple[Path, bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generator that is started again writes the same bytes: the digests before and after are equal."""
    clip, soft, loud = loud_and_soft
    turns = itertools.count(1)

    def read(*arguments: Any) -> Any:
        if next(turns) > 1:
            return read_audio(*arguments)
        clip.write_bytes(loud)  # as if it were half of what is being written
        audio = read_audio(*arguments)
        clip.write_bytes(soft)
        return audio

    with monkeypatch.context() as patch:
        patch.setattr("slm_eval.observing.workers.read_audio", read)
        disturbed = scored(clip)
    monkeypatch.setenv("SLM_EVAL_CACHE", str(clip.parent.parent / "another"))
    assert disturbed == scored(clip)


def test_a_clip_that_never_stays_the_same_is_no_score(
    loud_and_soft: tuple[Path, bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, soft, loud = loud_and_soft
    with monkeypatch.context() as patch:
        between(patch, lambda turn: clip.write_bytes((soft, loud)[turn % 2]), after=True)
        line = scored(clip)
    assert (line["status"], line["scores"]) == ("decode_error", {})
    assert line["error"] == "a.wav is being written to; run again when it is finished"


def test_a_replaced_clip_leaves_others_of_its_content_alone(
    loud_and_soft: tuple[Path, bytes, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, soft, loud = loud_and_soft
    (clip.parent / "b.wav").write_bytes(soft)
    with monkeypatch.context() as patch:
        between(patch, lambda turn: turn == 1 and clip.write_bytes(loud), after=False)
        evaluation = evaluate(clip.parent, clip.parent, metrics=[Loudness()], options=RunOptions(workers=0))
    a, b = (line.to_dict()["scores"]["loudness.rms"] for line in evaluation.clips["generated"])
    assert a == pytest.approx(5 * b)


def test_a_decoder_that_crashes_costs_one_clip(tmp_path: Path, write_wav: Write) -> None:
    for name, seconds in (("a", 0.5), ("b", 1.0), ("c", 1.5), ("d", 0.7)):
        write_wav(tmp_path / "x" / f"{name}.wav", noise(seconds))
    metric = pJSD(n=1, recognizer=SpellingObserver(dies=True))
    evaluation = evaluate(tmp_path / "x", tmp_path / "x", metrics=[metric], options=RunOptions(workers=2))
    status = {clip.clip.id: clip.to_dict()["status"] for clip in evaluation.clips["real"]}
    assert status == {"a.wav": "ok", "b.wav": "decode_error", "c.wav": "ok", "d.wav": "ok"}
    error = evaluation.clips["real"][1].to_dict()["error"]
    assert error == "the decoder process died twice on b.wav, the second time with status 3"


@pytest.mark.parametrize("times", [1, 2])
def test_a_killed_worker_costs_a_clip_only_the_second_time(tmp_path: Path, write_wav: Write, times: int) -> None:
    for name, seconds in (("a", 0.5), ("b", 1.0), ("c", 1.5)):
        write_wav(tmp_path / "x" / f"{name}.wav", noise(seconds))
    (tmp_path / "notes").mkdir()

    def phones(observer: SpellingObserver) -> dict[str, list[str] | None]:
        sides = (tmp_path / "x", tmp_path / "x")
        evaluation = evaluate(*sides, metrics=[pJSD(n=1, recognizer=observer)], options=RunOptions(workers=1))
        lines = [clip.to_dict() for clip in evaluation.clips["real"]]
        errors.extend(line["error"] for line in lines if line["error"])
        return {line["id"]: line["phones"] for line in lines}

    errors: list[str] = []
    heard = phones(KilledObserver(tmp_path / "notes", times))
    assert len(list((tmp_path / "notes").iterdir())) == times
    if times == 2:
        assert heard.pop("b.wav") is None
        line = "the decoder process died twice on b.wav, the second time by SIGKILL"
        assert errors == [f"{line}; if memory is short, fewer --workers need less of it"]
    assert heard.items() <= phones(SpellingObserver()).items()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bug_in_an_observer_is_no_property_of_a_clip(tmp_path: Path, write_wav: Write, workers: int) -> None:
    path = write_wav(tmp_path / "x" / "a.wav", noise(0.5)).parent
    metric = pJSD(n=1, recognizer=FailingObserver())
    expected = (SlmEvalError, ZeroDivisionError) if workers == 0 else SlmEvalError
    with pytest.raises(expected, match="a bug"):
        evaluate(path, path, metrics=[metric], options=RunOptions(workers=workers))
