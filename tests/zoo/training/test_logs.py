"""Logs: every step once, for people, programs and services."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from model_zoo.training.logs import JsonLines, Log, TensorBoard, Terminal, WandB, open_log
from slm_eval.base.errors import SlmEvalError
from tests.zoo.training_runs import configured


def test_a_log_of_anything_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = [b'{"step": 1, "x": "a\xe2\x80\xa8b"}', b"[" * 100_000, b"\xff", b"[]", b'{"step": "a"}', b'{"step": 2']
    path.write_bytes(b"\n".join(lines))
    sink = JsonLines(path, 1)
    sink.write({"step": 2})
    sink.close()
    assert path.read_text() == '{"step": 1, "x": "a\u2028b"}\n{"step": 2}\n'


def test_a_run_that_goes_on_tells_no_step_twice(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = [{"kind": "train", "step": step} for step in (10, 20, 30)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "tr')  # killed while it wrote
    with Log([JsonLines(path, start=20)]) as told:
        told.write("train", 25, {"loss": 0.5})
    steps = [json.loads(line)["step"] for line in path.read_text().splitlines()]
    assert steps == [10, 20, 25]


def test_the_terminal_says_what_matters() -> None:
    lines: list[str] = []
    sink = Terminal(2000, lines.append)
    values = {"loss": 0.123456, "gradient_norm": 0.5, "learning_rate": 1e-3, "tokens_per_second": 12345.6, "mfu": None}
    sink.write({"kind": "train", "step": 100, **values, "hours_seen": 1.5})
    sink.write({"kind": "score", "step": 100, "pjsd.1@2": 0.25})
    assert lines == [
        "step 100/2000  loss 0.12346  gradient 0.5  lr 1.00e-03  tokens/s 12,346  heard 1.50 h",
        "step 100/2000  score  pjsd.1@2 0.2500",
    ]


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    with open_log(tmp_path / "none", configured(tmp_path), 0, first=False) as told:
        told.write("train", 1, {})
    assert not (tmp_path / "none").exists()


def test_tensorboard_gets_scalars(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Log([TensorBoard(tmp_path, start=7)]) as to:
        to.write("validation", 8, {"loss": 0.25, "v_mse_by_level": [0.5, None, 1.5], "protocol": "abc"})
    events = EventAccumulator(str(tmp_path)).Reload()
    found = {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    expected = {"loss": 0.25, "v_mse_by_level/0": 0.5, "v_mse_by_level/2": 1.5}
    assert found == {f"validation/{tag}": [(8, value)] for tag, value in expected.items()}


def test_wandb_gets_scalars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package sends things away: it is stood in for, and what it is told is tested."""
    told: list[Any] = []
    run = types.SimpleNamespace(log=lambda values, step: told.append((values, step)), finish=lambda: told.append("end"))

    def init(**given: Any) -> Any:
        told.append(given)
        return run

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    with Log([WandB("project", tmp_path / "L4", {"steps": 1})]) as to:
        to.write("train", 3, {"loss": 0.5, "levels": [0.1, None], "protocol": "abc"})
    assert told[0]["project"] == "project"
    assert told[0]["id"] == "L4"
    assert told[1:] == [({"train/loss": 0.5, "train/levels/0": 0.1}, 3), "end"]


def test_a_missing_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(SlmEvalError, match="needs the package wandb; pip install wandb"):
        WandB("project", tmp_path, {})
    with pytest.raises(SlmEvalError, match="needs the package tensorboard; pip install tensorboard"):
        TensorBoard(tmp_path, 0)
