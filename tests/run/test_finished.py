"""A run read back is the evaluation that was written, and what was tampered with is refused with its place."""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slm_eval import evaluate, pJSD
from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.run.evaluation import Evaluation
from slm_eval.run.files import write_run
from slm_eval.run.finished import FinishedRun, read_clips, read_run
from slm_eval.run.identity import about
from tests.conftest import noise
from tests.fakes import Loudness, SpellingObserver


@pytest.fixture
def run(tmp_path: Path, write_wav: Callable[..., Path]) -> tuple[Path, Evaluation]:
    for side in ("generated", "real"):
        for index in range(3):
            write_wav(tmp_path / side / f"{index}.wav", noise(0.3 + 0.01 * index, seed=index + 10 * (side == "real")))
    write_wav(tmp_path / "generated" / "silent.wav", np.zeros(8000, np.float32))
    metrics = [Loudness(), pJSD(n=(1, 2), recognizer=SpellingObserver())]
    evaluation = evaluate(tmp_path / "generated", tmp_path / "real", metrics)
    write_run(evaluation, tmp_path / "run")
    return tmp_path / "run", evaluation


def test_read_back_equals_what_was_written(run: tuple[Path, Evaluation]) -> None:
    folder, evaluation = run
    read, made = read_run(folder), FinishedRun.from_evaluation(evaluation, "run")
    assert about(read.summary) == {"clips_sha256": hashlib.sha256((folder / "clips.jsonl").read_bytes()).hexdigest()}
    del read.summary["environment"]["run"]
    assert (read.name, read.summary, read.clips) == (
        made.name, json.loads(json.dumps(made.summary)), json.loads(json.dumps(made.clips)),
    )  # fmt: skip
    assert list(read.divergences) == [1, 2]
    assert read.score_keys == ["loudness.rms"]
    assert list(read.scores("loudness.rms")) == ["0.wav", "1.wav", "2.wav"]
    assert read.phones("real")["1.wav"] == list("2480")
    assert read.signature("pjsd.2").fields["n"] == "2"


SCORE = '"loudness.rms": 0.'


@pytest.mark.parametrize(
    ("file", "edit", "message"),
    [
        ("summary.json", lambda text: text[: len(text) // 2], r"summary\.json was cut or edited \(.* line .*\)"),
        ("summary.json", lambda text: text.replace('"schema": 1', '"schema": 7'), "must have schema 1, got 7"),
        ("summary.json", lambda text: text.replace('"corpora"', '"korpora"'), "lacks a part"),
        ("summary.json", lambda text: text.replace("|n:1|", "|n=1|"), r"'pjsd\.1' has no value with a signature"),
        (
            "clips.jsonl",
            lambda text: text.replace(SCORE, '"loudness.rms": NaN, "x": 0.', 1),
            "line 1 was cut or edited .NaN is not a finite number",
        ),
        (
            "clips.jsonl",
            lambda text: text.replace(SCORE, '"loudness.rms": 1e999, "x": 0.', 1),
            "1e999 is not a finite number",
        ),
        ("clips.jsonl", lambda text: text.split("\n", 1)[1], r"tells of 4 generated clips, clips\.jsonl holds 3"),
        ("clips.jsonl", lambda text: text.split("\n")[0] + "\n" + text, r"'0\.wav' is there more than once"),
        (
            "clips.jsonl",
            lambda text: text.replace('"side": "real"', '"side": "surreal"'),
            "line 5: side is not what a run writes",
        ),
        ("clips.jsonl", lambda text: "[]\n", r"line 1: a clip must be an object with id, .* and phones, got \[\]"),
        # As where a run was killed after it wrote its clips over those of an earlier one: the same clips, other scores.
        (
            "clips.jsonl",
            lambda text: text.replace(SCORE, '"loudness.rms": 0.9'),
            "is not the one that summary.json was",
        ),
    ],
)
def test_a_changed_file_is_refused(
    run: tuple[Path, Evaluation], file: str, edit: Callable[[str], str], message: str
) -> None:
    path = run[0] / file
    text = path.read_text()
    assert edit(text) != text
    path.write_text(edit(text))
    with pytest.raises(SlmEvalError, match=message):
        read_run(run[0])


def test_what_is_no_run(run: tuple[Path, Evaluation], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must be a finished run"):
        read_run(tmp_path / "generated")
    (run[0] / "clips.jsonl").unlink()
    with pytest.raises(SlmEvalError, match=r"cannot read .*clips\.jsonl: No such file"):
        read_run(run[0])
    (tmp_path / "real" / "shard.json").write_text("{}")
    with pytest.raises(UsageError, match="slm-eval merge"):
        read_run(tmp_path / "real")


def test_a_run_from_before_digests_were_noted_is_read(run: tuple[Path, Evaluation]) -> None:
    path = run[0] / "summary.json"
    summary = json.loads(path.read_text())
    del summary["environment"]["run"]
    path.write_text(json.dumps(summary))
    assert read_run(run[0]).score_keys == ["loudness.rms"]


def test_clips_share_the_strings_of_their_phones_and_names(run: tuple[Path, Evaluation]) -> None:
    """A string of its own for each of 2e7 phones takes 1 GB, for each name of a field or score of 3e5 clips 0.3 GB."""
    path = run[0] / "clips.jsonl"
    path.write_text(path.read_text().replace('"2"', '"AH0"'))
    real = read_clips(path)["real"]
    phones = [phone for clip in real for phone in clip["phones"] if phone == "AH0"]
    assert len(phones) > 1
    assert len({id(phone) for phone in phones}) == 1
    for names in ([name for clip in real for name in clip], [key for clip in real for key in clip["scores"]]):
        assert len({id(name) for name in names}) == len(set(names)) < len(names)


def test_real_speech_that_two_runs_share_is_read_once(tmp_path: Path) -> None:
    lines = [
        {"id": name, "side": side, "status": "ok", "scores": {}, "phones": ["a", "b"]}
        for name, side in (("x", "generated"), ("y", "real"), ("z", "real"))
    ]
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    first.write_text("".join(json.dumps(line) + "\n" for line in lines))
    second.write_text("".join(json.dumps(line) + "\n" for line in [*lines[:2], lines[2] | {"phones": ["c"]}]))
    known: dict[bytes, dict[str, Any]] = {}
    one, two = (read_clips(path, known) for path in (first, second))
    assert one == read_clips(first)
    assert two == read_clips(second)
    assert two["real"][0] is one["real"][0]
    assert two["generated"][0] is not one["generated"][0]
    assert gc.isenabled()
    second.write_text(json.dumps(lines[1]) + "\n" + json.dumps(lines[1]) + "\n")
    with pytest.raises(SlmEvalError, match="'y' is there more than once"):
        read_clips(second, known)


def test_a_run_from_before_summaries_said_what_they_are_is_read_alike(
    tmp_path: Path, run: tuple[Path, Evaluation]
) -> None:
    (tmp_path / "generated" / "copy.wav").write_bytes((tmp_path / "real" / "0.wav").read_bytes())
    metrics = [Loudness(), pJSD(n=(1, 2), recognizer=SpellingObserver(), log_base="2")]
    write_run(evaluate(tmp_path / "generated", tmp_path / "real", metrics), tmp_path / "new")
    path = tmp_path / "new" / "summary.json"
    now = read_run(tmp_path / "new")
    assert now.metrics["pjsd.1"]["warning_codes"].keys() == {"shared_audio"}
    summary = json.loads(path.read_text())
    for metric in summary["metrics"].values():
        for field in ("kind", "digits", "axis", "warning_codes", "made_by"):
            del metric[field]
    path.write_text(json.dumps(summary))
    before = read_run(tmp_path / "new")
    expected = {key: {**metric, "made_by": None} for key, metric in now.metrics.items()}
    assert json.loads(json.dumps(before.metrics)) == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "corpus"),
        ("kind", "new"),
        ("digits", -1),
        ("digits", 400),
        ("axis", [1, 0]),
        ("warning_codes", {"a": 1}),
    ],
)
def test_what_a_summary_says_of_itself_is_checked(run: tuple[Path, Evaluation], field: str, value: object) -> None:
    """A divergence that calls itself another number has a key that is not its own."""
    path = run[0] / "summary.json"
    summary = json.loads(path.read_text())
    summary["metrics"]["pjsd.1"][field] = value
    path.write_text(json.dumps(summary))
    with pytest.raises(SlmEvalError, match=r"pjsd\.1"):
        read_run(run[0])
