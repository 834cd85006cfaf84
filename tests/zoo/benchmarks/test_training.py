"""What measures training measures the trainer: ways to carry out a step differ in nothing but what their names say."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from model_zoo.cdslm.flops import training_flops
from model_zoo.cdslm.model import MMDiT
from model_zoo.training.ranks import Ranks
from model_zoo.training.train import Run
from tests.conftest import ROOT
from tests.zoo.training_runs import TINY, configured

sys.path.insert(0, str(ROOT / "benchmarks"))
from training import _alone, _turns, main, told
from training_variants import Trial, Variant, attention_kernels, ladder

CPU = torch.device("cpu")
SMALL = [f"model.{key}={value}" for key, value in TINY["model"].items() if key != "layers"]


@pytest.fixture
def _traced_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are traced by torch.compile, but no C++ is made of them: that takes a minute."""
    compiled = MMDiT.compile_blocks
    monkeypatch.setattr(MMDiT, "compile_blocks", lambda self: compiled(self, backend="eager"))


def test_the_ladder_changes_one_thing_at_a_time_and_ends_with_the_trainer() -> None:
    steps = ladder()
    for before, after in itertools.pairwise(steps):
        fields = ("attention", "fused", "collected", "ahead")
        options = {key for key in after.config if before.config[key] != after.config[key]}
        assert len(options) + sum(getattr(before, name) != getattr(after, name) for name in fields) == 1, after.name
    last = steps[-1]
    assert (last.attention, last.fused, last.collected, last.ahead) == (None, True, False, True)
    assert last.config == {"precision": "bfloat16", "compile": True}


@pytest.mark.usefixtures("_traced_only")
def test_ways_that_only_change_the_speed_give_the_same_weights(shards: Path, tmp_path: Path) -> None:
    config = configured(shards, precision="float32", compile=False)
    found = []
    for number, variant in enumerate(
        [Variant("as it is"), Variant("slow", {"compile": True}, ("math",), fused=False, collected=True, ahead=False)]
    ):
        trial = Trial(variant, config, tmp_path / str(number), CPU)
        trial.steps(3)
        found.append([each.detach().clone() for each in trial.run.model.parameters()])
        trial.close()
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_the_kernel_that_ran_is_the_one_asked_for(shards: Path, tmp_path: Path) -> None:
    config = configured(shards)
    by_name = {each.attention: each for each in attention_kernels()}
    for name in ("flash", "math"):
        trial = Trial(by_name[name,], config, tmp_path / name, CPU)
        assert trial.attention == {name: config.model.layers}
        trial.close()
    with pytest.raises(RuntimeError, match="No viable backend"):
        Trial(by_name["cudnn",], config, tmp_path / "cudnn", CPU)


def test_parts_take_batches_that_can_be_compared(shards: Path) -> None:
    config = configured(shards, batch=8, micro_batch=4)
    for part, size in (("ladder", 2), ("attention", 4)):
        assert all(each.config["batch"] == each.config["micro_batch"] == size for each in _turns(part, config)[0])
    sizes = [each.config["micro_batch"] for (each,) in _turns("memory", config)]
    assert sizes == [4, 1, 2, 4, 8]
    assert _turns("trained", config) == [[Variant("as trained")]]
    assert _alone(Variant("x", {"batch": 2}), 4).config == {"batch": 2, "micro_batch": 4}


def test_speed_writes_a_row_for_each_and_says_what_could_not_be(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MMDiT, "compile_blocks", lambda self: self)  # compiling takes minutes
    file = tmp_path / "speed.json"
    options = ["--layers", "2", "--shards", str(shards), "--rounds", "2", "--seconds", "0.01", "--output", str(file)]
    parts = ["--part", "ladder", "--part", "attention"]
    done = CliRunner().invoke(main, ["speed", *options, *parts, *SMALL, "batch=4", "micro_batch=2"])
    assert done.exit_code == 0, done.output
    rows = {row["name"]: row for row in json.loads(file.read_text())["rows"]}
    assert [name for name in rows if not name.startswith("attention")] == [each.name for each in ladder()]
    row = rows["feed ahead"]
    model = configured(shards, model={"layers": 2}).model
    tokens = (16 + 32) // 4
    assert row["tokens_per_sample"] == tokens
    assert row["samples_per_second"] == pytest.approx(1 / row["seconds_per_step"])
    assert row["tokens_per_second"] == pytest.approx(tokens * row["samples_per_second"])
    assert row["times_real_time"] == pytest.approx(0.6 * row["samples_per_second"])
    true = training_flops(model, Run(configured(shards), tmp_path / "run", Ranks(0, 1, CPU)).tokens)
    assert row["flops_per_second"] == pytest.approx(true * row["samples_per_second"])
    assert row["mfu"] is None
    assert row["mfu_accepted"] == 0.12
    assert row["times_first"] > 0
    assert "times_first" not in rows["eager float32"]
    assert "No viable backend" in rows["attention: cudnn"]["failed"]

    done = CliRunner().invoke(main, ["speed", *options, "--part", "trained", "--minutes", "0", *SMALL])
    assert json.loads(file.read_text())["rows"][0]["left_out"] == "no time was left"
    assert "no time was left" in done.output


def test_a_row_is_told_beside_its_target() -> None:
    row = {"layers": 8, "part": "trained", "name": "as trained", "samples_per_second": 140.0, "times_real_time": 5600.0,
           "mfu": 0.406, "mfu_accepted": 0.4, "peak_gib": 40.0, "host_share": 0.1, "feed_share": 0.01}  # fmt: skip
    assert "MFU  40.6% (accepted: 40%)  40.0 GiB" in told(row)


def test_profile_writes_what_a_step_is_made_of(shards: Path, tmp_path: Path) -> None:
    options = ["--layers", "2", "--shards", str(shards), "--steps", "2", "--output", str(tmp_path / "profile.txt")]
    done = CliRunner().invoke(main, ["profile", *options, *SMALL, "batch=2", "compile=false"])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "profile.txt").read_text()
    assert "2 layers, a batch of 2 in parts of 2, attention {'flash': 2}" in text
    assert "of it the host waited for the feed" in text
    assert "aten::mm" in text
