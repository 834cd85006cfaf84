"""A training that is timed is the trainer: kernels and compilation change nothing but its speed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from model_zoo.cdslm.model import MMDiT
from tests.conftest import ROOT
from tests.zoo.training_runs import configured

sys.path.insert(0, str(ROOT / "benchmarks" / "zoo"))
from training_trial import Trial, Way

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")


@pytest.fixture
def _traced_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are traced by torch.compile, but no C++ is made of them: that takes a minute."""
    compiled = MMDiT.compile_blocks
    monkeypatch.setattr(MMDiT, "compile_blocks", lambda self: compiled(self, backend="eager"))


@pytest.mark.usefixtures("_traced_only")
def test_ways_that_only_change_the_speed_give_the_same_weights(shards: Path, tmp_path: Path) -> None:
    ways = [Way(configured(shards, compile=False)), Way(configured(shards, compile=True), "math")]
    weights = []
    for number, way in enumerate(ways):
        trial = Trial(way, tmp_path / str(number), CPU)
        trial.steps(3)
        weights.append([parameter.detach().clone() for parameter in trial.run.model.parameters()])
        trial.close()
    for eager, compiled in zip(*weights, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-3, atol=1e-5)


def test_the_kernel_that_ran_is_the_one_asked_for(shards: Path, tmp_path: Path) -> None:
    config = configured(shards)
    for name in ("flash", "math"):
        trial = Trial(Way(config, name), tmp_path / name, CPU)
        assert trial.attention == {name: config.model.layers}
        trial.close()
    with pytest.raises(RuntimeError, match="No viable backend"):
        Trial(Way(config, "cudnn"), tmp_path / "cudnn", CPU)
