"""The main path: every clip is accounted for, and what cannot be computed says why."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.metrics.pjsd import pJSD
from slm_eval.run.evaluate import evaluate
from slm_eval.run.evaluation import Evaluation
from tests.fakes import Loudness, SpellingObserver
from tests.small_runs import Write, run, write_corpora


@pytest.fixture
def corpora(tmp_path: Path, write_wav: Write) -> tuple[Path, Path]:
    return write_corpora(tmp_path, write_wav)


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


def test_the_same_folder_on_both_sides(corpora: tuple[Path, Path]) -> None:
    evaluation = run((corpora[1], corpora[1]))
    assert evaluation["pjsd.1"].value == 0.0
    assert any("same" in warning for warning in evaluation["pjsd.1"].warnings)


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
    lines = [{"id": f"{index}", "phones": list("abcab")[index % 2 :]} for index in range(10)]
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
            {"id": f"{index}", "path": str(file)} | ({"speaker": speakers[index % len(speakers)]} if speakers else {})
            for index, file in enumerate(files)
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
    assert [line["speaker"] for line in lines] == [("ann", "bob")[index % 2] for index in range(len(files))]
    assert "speaker" not in together.clips["real"][0].to_dict()


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
