"""What measures training: its rows, its ways beside the trainer as it is, and what a step is made of."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from model_zoo.cdslm.flops import Tokens, training_flops
from model_zoo.cdslm.model import MMDiT
from tests.conftest import ROOT
from tests.zoo.training_runs import TINY, configured

sys.path.insert(0, str(ROOT / "benchmarks" / "zoo"))
import training

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = [f"model.{key}={value}" for key, value in TINY["model"].items() if key != "layers"]


def test_ways_take_their_values_and_one_micro_batch(shards: Path) -> None:
    sizes = ("batch=8", "micro_batch=4")
    assert training.configured(2, shards, sizes).kernel is None
    way = training.configured(2, shards, sizes, "attention=flash,compile=false")
    assert (way.kernel, way.config.compile, way.config.batch, way.config.micro_batch) == ("flash", False, 4, 4)
    way = training.configured(2, shards, sizes, "micro_batch=2")
    assert (way.kernel, way.config.compile, way.config.batch, way.config.micro_batch) == (None, True, 2, 2)
    with pytest.raises(click.UsageError, match="attention must be one of cudnn, flash, efficient, math, got 'x'"):
        training.configured(2, shards, sizes, "attention=x")


def test_speed_writes_a_row_for_each_and_says_what_could_not_be(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MMDiT, "compile_blocks", lambda self: self)  # compiling takes minutes
    file = tmp_path / "speed.json"
    options = ["--layers", "2", "--shards", str(shards), "--rounds", "2", "--seconds", "0.01", "--output", str(file)]
    ways = ["precision=float32", "attention=math", "attention=cudnn", "micro_batch=1"]
    asked = [part for way in ways for part in ("--way", way)]
    done = CliRunner().invoke(training.main, ["speed", *options, *asked, *SMALL, "batch=4", "micro_batch=2"])
    assert done.exit_code == 0, done.output
    rows = {row["name"]: row for row in json.loads(file.read_text())["rows"]}
    assert list(rows) == ["as trained", *ways]
    row = rows["as trained"]
    model = configured(shards, model={"layers": 2}).model
    tokens = (16 + 32) // 4
    assert row["tokens_per_sample"] == tokens
    assert row["samples_per_second"] == pytest.approx(2 / row["seconds_per_step"])
    assert row["tokens_per_second"] == pytest.approx(tokens * row["samples_per_second"])
    assert row["times_real_time"] == pytest.approx(0.6 * row["samples_per_second"])
    true = training_flops(model, Tokens.from_config(model))
    assert row["flops_per_second"] == pytest.approx(true * row["samples_per_second"])
    assert row["mfu"] is None
    assert row["mfu_accepted"] == 0.12
    assert "times_as_trained" not in row
    # A ratio of rounds lies between those of their extremes, in samples: batches differ.
    for name, batch in (("precision=float32", 2), ("micro_batch=1", 1)):
        way = rows[name]
        assert way["batch"] == batch
        slow, fast = batch / way["slowest"] / (2 / row["fastest"]), batch / way["fastest"] / (2 / row["slowest"])
        assert slow <= way["times_as_trained"] <= fast
    assert rows["attention=math"]["attention"] == {"math": 2}
    assert "No viable backend" in rows["attention=cudnn"]["failed"]

    done = CliRunner().invoke(training.main, ["speed", *options, "--minutes", "0", *SMALL])
    assert json.loads(file.read_text())["rows"][0]["left_out"] == "no time was left"
    assert "no time was left" in done.output


def test_a_row_is_told_beside_its_target() -> None:
    row = {"layers": 8, "name": "as trained", "samples_per_second": 140.0, "times_real_time": 5600.0,
           "mfu": 0.406, "mfu_accepted": 0.4, "peak_gib": 40.0, "host_share": 0.1, "feed_share": 0.01}  # fmt: skip
    assert "MFU  40.6% (accepted: 40%)  40.0 GiB" in training.line(row)


def test_profile_writes_what_a_step_is_made_of(shards: Path, tmp_path: Path) -> None:
    options = ["--layers", "2", "--shards", str(shards), "--steps", "2", "--output", str(tmp_path / "profile.txt")]
    done = CliRunner().invoke(training.main, ["profile", *options, *SMALL, "batch=2", "compile=false"])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "profile.txt").read_text()
    assert "2 layers, a batch of 2, attention {'flash': 2}" in text
    assert "of it the host waited for the feed" in text
    assert "aten::mm" in text
