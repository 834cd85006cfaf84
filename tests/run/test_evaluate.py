"""The main path: whatever happens on the way, the same clips give the same evaluation."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.signature import Signature
from slm_eval.metrics.pjsd import pJSD
from slm_eval.metrics.scores import ScoreMetric
from slm_eval.observing.observer import Observation, Observer, Refusal, Signal
from slm_eval.observing.options import RunOptions
from slm_eval.observing.store import Store
from slm_eval.run.evaluate import evaluate
from slm_eval.run.evaluation import Evaluation
from slm_eval.run.files import write_run
from slm_eval.speech.audio import read_audio
from tests.conftest import noise
from tests.fakes import FailingObserver, KilledObserver, Loudness, SpellingObserver

Write = Callable[..., Path]


@pytest.fixture
def corpora(tmp_path: Path, write_wav: Write) -> tuple[Path, Path]:
    """Two folders with clips of different lengths and rates, good and bad ones."""
    for side, seed in (("gen", 0), ("real", 100)):
        for at in range(8):
            rate = (8_000, 16_000, 44_100)[at % 3]
            write_wav(tmp_path / side / f"{at}.wav", noise(0.3 + 0.37 * at, rate, seed + at), rate)
    write_wav(tmp_path / "gen" / "silent.wav", np.zeros(8_000))
    write_wav(tmp_path / "gen" / "short.wav", noise(0.01))
    (tmp_path / "gen" / "text.wav").write_text("no audio")
    return tmp_path / "gen", tmp_path / "real"


def run(corpora: tuple[Path, Path], **options: Any) -> Evaluation:
    metrics = [Loudness(), Loudness(rate=None), pJSD(n=(1, 2), recognizer=SpellingObserver())]
    return evaluate(*corpora, metrics=metrics, options=RunOptions(device="cpu", **options))


def as_json(evaluation: Evaluation) -> str:
    clips = [clip.to_dict() for side in evaluation.clips.values() for clip in side]
    return json.dumps([evaluation.to_dict(), clips])


def test_every_clip_is_accounted_for(corpora: tuple[Path, Path]) -> None:
    evaluation = run(corpora)
    summary = evaluation.to_dict()
    assert summary["corpora"]["generated"]["n_total"] == 11
    assert summary["corpora"]["generated"]["n_scored"] == 9
    assert summary["corpora"]["generated"]["failures"] == {"decode_error": 1, "silent": 1}
    assert summary["corpora"]["real"] | {"seconds": None} == {
        "path": str(corpora[1]), "n_total": 8, "n_scored": 8, "n_failed": 0, "seconds": None, "failures": {},
        "ignored": {},
    }  # fmt: skip
    lines = {clip.clip.id: clip.to_dict() for clip in evaluation.clips["generated"]}
    assert list(lines) == sorted(lines)
    assert lines["silent.wav"]["status"] == "silent"
    assert lines["silent.wav"]["scores"] == {}
    assert lines["text.wav"]["error"].startswith("cannot decode text.wav")
    # One metric refuses the clip, another one scores it: it counts as scored, and the refusal is on record.
    assert lines["short.wav"]["status"] == "ok"
    assert lines["short.wav"]["phones"] == list("80")
    assert lines["short.wav"]["refused"] == {"loudness": {"code": "too_short", "message": "loudness needs 50 ms"}}
    assert evaluation["loudness.rms"].n == 8


def test_summary_is_the_mean_over_clips(corpora: tuple[Path, Path]) -> None:
    evaluation = run(corpora)
    scores = [clip.to_dict()["scores"].get("loudness.rms") for clip in evaluation.clips["real"]]
    assert evaluation["loudness.rms"].real.value == pytest.approx(np.mean(scores))


@pytest.mark.parametrize(
    "options", [{"workers": 1}, {"workers": 3}, {"batch_seconds": 0.5}, {"batch_seconds": 1e6, "workers": 2}]
)
def test_batches_and_workers_change_nothing(
    corpora: tuple[Path, Path], tmp_path: Path, options: dict[str, Any]
) -> None:
    reference = as_json(run(corpora, workers=0, cache=tmp_path / "one.sqlite"))
    assert as_json(run(corpora, cache=tmp_path / "other.sqlite", **options)) == reference


def test_a_second_run_observes_nothing_and_is_equal(corpora: tuple[Path, Path]) -> None:
    first = as_json(run(corpora))
    metric = Loudness()
    evaluate(*corpora, metrics=[metric])
    assert metric.observer.batches == [1]  # only the clip that it refuses: refusals are not stored
    assert as_json(run(corpora)) == first
    assert as_json(run(corpora, fresh=True)) == first


def test_what_the_cache_knew_does_not_show_in_the_order_of_scores(tmp_path: Path, write_wav: Write) -> None:
    write_wav(tmp_path / "x" / "a.wav", noise(0.5))

    def line(names: list[str], cache: str) -> str:
        evaluation = evaluate(
            tmp_path / "x", tmp_path / "x", metrics=[Named(name) for name in names],
            options=RunOptions(cache=tmp_path / cache),
        )  # fmt: skip
        return json.dumps(evaluation.clips["real"][0].to_dict())

    line(["b"], "knows_b")
    assert line(["a", "b"], "knows_b") == line(["a", "b"], "knows_nothing")


def test_a_changed_file_is_observed_again(corpora: tuple[Path, Path], write_wav: Write) -> None:
    before = run(corpora)["loudness.rms"].value
    write_wav(corpora[0] / "0.wav", noise(0.3, 8_000) * 5, 8_000)
    assert run(corpora)["loudness.rms"].value > before


def test_damaged_and_unwritable_caches_are_said_in_a_line(
    corpora: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache.sqlite"
    whole = as_json(run(corpora, cache=cache))
    with sqlite3.connect(cache) as connection:
        connection.execute("UPDATE observations SET value = replace(value, '1', '3')")
        damaged = connection.execute("SELECT count(*) FROM observations WHERE instr(value, '3')").fetchone()[0]
    assert capsys.readouterr().err == ""
    assert as_json(run(corpora, cache=cache)) == whole
    assert 0 < int(capsys.readouterr().err.split(" damaged observations in the cache ")[0]) <= damaged
    monkeypatch.setattr(Store, "_bring_up_to_date", lambda self: False)
    assert as_json(run(corpora, cache=cache)) == whole
    assert capsys.readouterr().err == f"the cache {cache} can only be read: what is observed now is not kept\n"


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


def test_a_recording_of_many_segments_is_read_once_to_know_it(
    tmp_path: Path, write_wav: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wav(tmp_path / "long.wav", noise(4.0))
    lines = [{"id": f"{at}", "path": "long.wav", "start": at / 10, "end": at / 10 + 0.2} for at in range(30)]
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, lines)))
    digested: list[Path] = []
    monkeypatch.setattr("slm_eval.base.digests._file_digest", lambda path: digested.append(path) or "digest")
    sides = (tmp_path / "x.jsonl", tmp_path / "x.jsonl")
    evaluation = evaluate(*sides, metrics=[Loudness()], options=RunOptions(workers=0))
    assert evaluation["loudness.rms"].to_dict()["n"] == 30
    assert len(digested) <= 4  # once for each thread that came first


def test_moved_files_are_known(corpora: tuple[Path, Path], tmp_path: Path) -> None:
    run(corpora)
    shutil.copytree(corpora[1], tmp_path / "moved")
    metric = Loudness()
    evaluate(tmp_path / "moved", corpora[1], metrics=[metric])
    assert metric.observer.batches == []


def test_the_same_folder_on_both_sides(corpora: tuple[Path, Path]) -> None:
    evaluation = run((corpora[1], corpora[1]))
    assert evaluation["pjsd.1"].value == 0.0
    assert any("same" in warning for warning in evaluation["pjsd.1"].warnings)


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


def test_on_error_raise_and_max_failures(corpora: tuple[Path, Path]) -> None:
    with pytest.raises(SlmEvalError, match=r"(text|silent)\.wav: .*--on-error report"):
        run(corpora, on_error="raise")
    with pytest.raises(SlmEvalError, match="more than 1 clips failed"):
        run(corpora, max_failures=1)
    assert run(corpora, max_failures=2).summaries


def test_nothing_scorable_is_said_for_each_key(tmp_path: Path, corpora: tuple[Path, Path], write_wav: Write) -> None:
    write_wav(tmp_path / "bad" / "a.wav", np.zeros(100))
    evaluation = run((tmp_path / "bad", corpora[1]))
    assert evaluation.summaries == {}
    assert evaluation.not_computed["loudness.rms"].reason == "no generated clip could be scored"
    assert "generated side has no 1-grams" in evaluation.not_computed["pjsd.1"].reason
    with pytest.raises(SlmEvalError, match=r"pjsd\.1 was not computed: the generated side"):
        _ = evaluation["pjsd.1"]
    reverse = run((corpora[1], tmp_path / "bad"))
    assert reverse["loudness.rms"].real is None
    assert reverse["loudness.rms"].warnings == ("no real clip could be scored: there is no baseline",)


def test_ready_made_phones_need_no_audio(tmp_path: Path, corpora: tuple[Path, Path]) -> None:
    lines = [{"id": f"{at}", "phones": list("abcab")[at % 2 :]} for at in range(10)]
    path = tmp_path / "phones.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    evaluation = evaluate(path, path, metrics=[pJSD(n=1, recognizer=SpellingObserver()), Loudness()])
    assert evaluation["pjsd.1"].value == 0.0
    assert "phones:given" in evaluation["pjsd.1"].signature
    assert "ready-made phones" in evaluation.not_computed["loudness.rms"].reason
    path.write_text("".join(json.dumps(line | {"recognizer": "other|rev:1"}) + "\n" for line in lines))
    with pytest.raises(UsageError, match=r"recognised by other\|rev:1"):
        evaluate(corpora[0], path, metrics=[pJSD(n=1, recognizer=SpellingObserver())])


def test_clips_of_one_speaker_are_drawn_together(tmp_path: Path, corpora: tuple[Path, Path]) -> None:
    files = sorted(corpora[1].glob("**/*.wav"))
    manifest = tmp_path / "m.jsonl"

    def evaluated(*speakers: str) -> Evaluation:
        lines = [
            {"id": f"{at}", "path": str(file)} | ({"speaker": speakers[at % len(speakers)]} if speakers else {})
            for at, file in enumerate(files)
        ]
        manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return run((manifest, corpora[1]))

    alone, together, one = evaluated(), evaluated("ann", "bob"), evaluated("ann")
    for key in ("loudness.rms", "pjsd.1"):
        assert together[key].value == alone[key].value
        assert together[key].signature == alone[key].signature
        assert together[key].clusters["generated"] == {"by": "speaker", "n": 2}
        assert alone[key].clusters["real"] == {"by": "clip", "n": len(files)}
        # One speaker groups nothing: the clips are what varies.
        assert one[key] == alone[key]
    assert together["loudness.rms"].ci95 != alone["loudness.rms"].ci95
    lines = [clip.to_dict() for clip in together.clips["generated"]]
    assert [line["speaker"] for line in lines] == [("ann", "bob")[at % 2] for at in range(len(files))]
    assert "speaker" not in together.clips["real"][0].to_dict()


def test_names_with_spaces_dashes_and_unicode(tmp_path: Path, write_wav: Write) -> None:
    names = ["-rf.wav", "a b.wav", "ünï/çødé 漢字.wav", "'quote\".wav", "new\nline.wav", "%s{}.wav"]
    for at, name in enumerate(names):
        write_wav(tmp_path / "x" / name, noise(0.2 + at * 0.01))
    evaluation = run((tmp_path / "x", tmp_path / "x"))
    assert [clip.clip.id for clip in evaluation.clips["generated"]] == sorted(names)
    assert evaluation.to_dict()["corpora"]["generated"]["n_scored"] == len(names)


def test_an_unreadable_file_is_reported(tmp_path: Path, corpora: tuple[Path, Path]) -> None:
    (corpora[1] / "0.wav").chmod(0)
    if os.access(corpora[1] / "0.wav", os.R_OK):
        pytest.skip("this user may read everything")
    assert run(corpora).to_dict()["corpora"]["real"]["failures"] == {"permission": 1}


class Named(ScoreMetric):
    """Any number of metrics with keys of their own."""

    name = "named"

    def __init__(self, key: str) -> None:
        super().__init__(NamedObserver(key))

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.observer.key,)


class NamedObserver(Observer):
    name = "named"
    sample_rate = None

    def __init__(self, key: str) -> None:
        self.key = key

    @property
    def fingerprint(self) -> Signature:
        return Signature(self.name, key=self.key)

    def observe(self, signals: Sequence[Signal]) -> list[Observation | Refusal]:
        return [{"scores": {self.key: len(signal.samples)}} for signal in signals]


class Unreachable(Loudness):
    """A metric whose weights could be fetched, if there were a network."""

    name = "unreachable"

    def __init__(self) -> None:
        super().__init__(rate=8_000)
        self.observer.fetch = self._no_network  # type: ignore[method-assign]

    def _no_network(self) -> None:
        raise SlmEvalError("cannot reach the publisher; check the network")


def test_weights_that_cannot_be_fetched_cost_their_metric_alone(corpora: tuple[Path, Path]) -> None:
    evaluation = evaluate(*corpora, metrics=[pJSD(n=1, recognizer=SpellingObserver()), Unreachable()])
    assert list(evaluation.summaries) == ["pjsd.1"]
    absent = evaluation.not_computed["loudness.rms"]
    assert (absent.unavailable, absent.reason) == (True, "cannot reach the publisher; check the network")
    with pytest.raises(SlmEvalError, match="none of the metrics can be computed: cannot reach the publisher"):
        evaluate(*corpora, metrics=[Unreachable()])


class Elsewhere(SpellingObserver):
    """A recogniser that "auto" prefers, with weights that cannot be fetched."""

    def __init__(self, lang: str | None = None) -> None:
        super().__init__()

    def fetch(self) -> None:
        raise SlmEvalError("no network")


def test_auto_takes_the_next_recognizer_when_weights_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    from slm_eval.observing import registry

    monkeypatch.setitem(registry.RECOGNIZERS, "allosaurus", f"{__name__}:Elsewhere")
    assert registry.make_recognizer("auto").name == "pocketsphinx"
    assert pJSD().missing() is None
    monkeypatch.setattr(registry, "_PREFERENCE", ("allosaurus",))
    with pytest.raises(SlmEvalError, match=r"no phone recogniser can run here \(allosaurus: no network\)"):
        registry.make_recognizer("auto")
    assert registry.why_no_recognizer(None) is None  # it could be fetched: that it cannot shows when it is tried


def test_a_name_that_is_not_utf8_is_accounted_for(tmp_path: Path) -> None:
    """Its clip cannot be decoded, and the reason names the file: a traceback when the run was written."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name in (b"\xff.wav", b"\xfe\xff.flac"):
        with open(os.fsencode(folder) + b"/" + name, "wb") as file:
            file.write(b"RIFF")
    write_run(evaluate(folder, folder, [Loudness()]), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "clips.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines if line["side"] == "real"] == ["\\xfe\\xff.flac", "\\xff.wav"]
    assert all("\\udcff" in line["error"] for line in lines)
