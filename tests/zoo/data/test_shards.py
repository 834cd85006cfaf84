"""Shards that are damaged, of other features, or made by somebody else: one line each."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_zoo.data.shards import MelShards
from model_zoo.features import FeatureSpec
from slm_eval.base.errors import SlmEvalError
from tests.zoo.data.prepared import SPEC, make
from tests.zoo.training_runs import waves


def edit(path: Path, change: Callable[[Any], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda out: os.truncate(out / "shards/00000.mel", 1000), r"00000\.mel is damaged: it holds 1000 bytes"),
        (lambda out: (out / "shards/00000.mel").unlink(), r"cannot open .*00000\.mel: No such file"),
        (lambda out: (out / "shards/00000.json").unlink(), r"cannot read .*00000\.json"),
        (lambda out: os.truncate(out / "shards/00000.json", 50), r"00000\.json is damaged"),
        (lambda out: (out / "shards/00000.json").write_text("{}"), r"must be the table of a shard"),
        (lambda out: edit(out / "shards/00000.json", lambda t: t.update(frames=1)), "not that of the index"),
        (lambda out: os.truncate(out / "index.json", 50), r"index\.json is damaged"),
        (lambda out: (out / "index.json").write_text("[]"), "must hold a JSON object, got list"),
        (lambda out: edit(out / "index.json", lambda i: i.update(version=2)), "is of version 2, this slm-zoo reads"),
        (
            lambda out: edit(out / "index.json", lambda i: i.pop("normalizer")),
            "lacks features, shards,",
        ),
        (lambda out: edit(out / "index.json", lambda i: i["features"].update(hop=200)), "these values make"),
        (lambda out: (out / "index.json").unlink(), "not finished; run its slm-zoo prepare again"),
        (lambda out: shutil.rmtree(out), "holds no shards; make some: slm-zoo prepare"),
    ],
)
def test_damage_is_told_at_opening(
    speech: Path, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    out = tmp_path / "out"
    make(speech, out)
    damage(out)
    with pytest.raises(SlmEvalError, match=message):
        MelShards.open(out)


def test_shards_of_other_features_name_both_digests(speech: Path, tmp_path: Path) -> None:
    make(speech, tmp_path / "out")
    assert MelShards.open(tmp_path / "out", expected=SPEC).spec == SPEC
    other = FeatureSpec(mel_floor=-4.0)
    with pytest.raises(
        SlmEvalError, match=f"{SPEC.digest}, expected are {other.digest} .mel_floor -5.0 instead of -4.0"
    ):
        MelShards.open(tmp_path / "out", expected=other)


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
