"""Shards, models and ids that somebody else made: nothing outside their folder is read or written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_zoo.data.shards import MelShards
from model_zoo.speech.wavs import wav_files
from model_zoo.training.logs import JsonLines
from slm_eval.errors import SlmEvalError, UsageError
from tests.zoo.training_runs import waves


def edit(path: Path, change: Callable[[Any], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def table(change: Callable[[Any], object]) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "shards" / "00000.json", change)


def index(change: Callable[[Any], object]) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "index.json", change)


def pipe(folder: Path) -> None:
    """A shard that is waited for, of as many bytes as a pipe has."""
    os.mkfifo(folder / "pipe")
    index(lambda i: i["shards"][0].update(file="pipe", frames=0))(folder)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (pipe, "not that of the index"),
        (index(lambda i: i["shards"][0].update(file="../elsewhere.mel")), "not that of the index"),
        (index(lambda i: i.update(features=[])), "lacks features"),
        (index(lambda i: i.update(normalizer={"mean": ["a"], "scale": [1]})), "lacks features"),
        (index(lambda i: i.update(shards=5)), "lacks features"),
        (table(lambda t: t["recordings"][0].update(offset=-480)), "no recording in it"),
        (table(lambda t: t["recordings"][0].update(frames=10**9)), "no recording in it"),
        (table(lambda t: t["recordings"][0].update(split="both")), "no recording in it"),
        (table(lambda t: t["recordings"][0].update(more=1)), "no recording in it"),
        (table(lambda t: t["recordings"].append([])), "no recording in it"),
        (lambda folder: (folder / "index.json").write_text("[" * 200_000), "nested more than 64 deep"),
        (index(lambda i: i["features"].update(n_mels=10**12)), "sizes of a feature are whole numbers"),
        (index(lambda i: i["features"].update(n_mels="80")), "values of FeatureSpec are numbers"),
    ],
)
def test_shards_that_say_what_cannot_be_are_one_line(
    spoil: Callable[[Path], object], said: str, tmp_path: Path
) -> None:
    waves(tmp_path)
    MelShards.open(tmp_path)
    spoil(tmp_path)
    with pytest.raises(SlmEvalError, match=said) as caught:
        MelShards.open(tmp_path)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("clip_id", [".", "..", "../x", "/etc/x", "a/../../x", "\0", "x" * 300, "a/" + "y" * 250])
def test_an_id_makes_no_file_elsewhere(clip_id: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="rename it") as caught:
        wav_files(["fine.wav", clip_id], tmp_path)
    assert len(str(caught.value)) < 300


def test_a_log_of_anything_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = [b'{"step": 1, "x": "a\xe2\x80\xa8b"}', b"[" * 100_000, b"\xff", b"[]", b'{"step": "a"}', b'{"step": 2']
    path.write_bytes(b"\n".join(lines))
    sink = JsonLines(path, 1)
    sink.write({"step": 2})
    sink.close()
    assert path.read_text() == '{"step": 1, "x": "a\u2028b"}\n{"step": 2}\n'
