"""A step of the trainer never waits for the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model_zoo.training.ranks import Ranks
from model_zoo.training.train import Run
from tests.zoo.training_runs import configured

CPU = torch.device("cpu")


class Waited(Exception):
    """A step asked the device for a number."""


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_a_step_never_waits_for_the_device(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micro_batch: int | None
) -> None:
    config = configured(shards, micro_batch=micro_batch, precision="bfloat16")
    run = Run(config, tmp_path / "run", Ranks(0, 1, CPU))
    with run.feed(0) as feed:
        run.step(next(feed))

        def waits(*_: Any, **__: Any) -> Any:
            raise Waited

        batch = next(feed)
        with monkeypatch.context() as patch:
            for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__", "nonzero"):
                patch.setattr(Tensor, name, waits)
            run.step(batch)
            with pytest.raises(Waited):  # the check itself: reading what was measured does wait
                run.meter.read()
    assert run.measured(2)["loss"] > 0
