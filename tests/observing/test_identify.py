"""Clips are known by what their files hold: read once, wherever they lie, whatever they are called."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from slm_eval.observing.options import RunOptions
from slm_eval.run.evaluate import evaluate
from slm_eval.run.files import write_run
from tests.conftest import noise
from tests.fakes import Loudness
from tests.small_runs import Write, run


def test_a_recording_of_many_segments_is_read_once_to_know_it(
    tmp_path: Path, write_wav: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wav(tmp_path / "long.wav", noise(4.0))
    lines = [
        {"id": f"{index}", "path": "long.wav", "start": index / 10, "end": index / 10 + 0.2} for index in range(30)
    ]
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


def test_names_with_spaces_dashes_and_unicode(tmp_path: Path, write_wav: Write) -> None:
    names = ["-rf.wav", "a b.wav", "ünï/çødé 漢字.wav", "'quote\".wav", "new\nline.wav", "%s{}.wav"]
    for index, name in enumerate(names):
        write_wav(tmp_path / "x" / name, noise(0.2 + index * 0.01))
    evaluation = run((tmp_path / "x", tmp_path / "x"))
    assert [clip.clip.id for clip in evaluation.clips["generated"]] == sorted(names)
    assert evaluation.to_dict()["corpora"]["generated"]["n_scored"] == len(names)


def test_an_unreadable_file_is_reported(tmp_path: Path, corpora: tuple[Path, Path]) -> None:
    (corpora[1] / "0.wav").chmod(0)
    if os.access(corpora[1] / "0.wav", os.R_OK):
        pytest.skip("this user may read everything")
    assert run(corpora).to_dict()["corpora"]["real"]["failures"] == {"permission": 1}


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
