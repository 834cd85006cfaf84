"""Averages, logs and scores of a training."""

from __future__ import annotations

import contextlib
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from model_zoo.speech.wavs import write_audio
from model_zoo.training.ema import Average
from model_zoo.training.logs import JsonLines, Log, TensorBoard, Terminal, WandB, open_log
from model_zoo.training.train import train
from slm_eval.errors import SlmEvalError
from tests.zoo.training_runs import configured, log, waves

# ---- averages ----


def test_averages_are_the_closed_form() -> None:
    """After n steps: sum of (1 - d_k) w_k times the decays after it; d_k = min(decay, (1 + k) / (10 + k))."""
    layer = nn.Linear(3, 2)
    average = Average(layer, 0.5)
    history = [layer.weight.detach().double().numpy().copy()]
    for step in range(12):
        with torch.no_grad():
            layer.weight.add_(torch.randn(2, 3))
        history.append(layer.weight.detach().double().numpy().copy())
        average.update(layer, step)
    decays = [min(0.5, (1 + step) / (10 + step)) for step in range(12)]
    expected = history[0] * np.prod(decays)
    for step in range(12):
        expected = expected + (1 - decays[step]) * history[step + 1] * np.prod(decays[step + 1 :])
    assert decays[0] == 0.1
    assert decays[-1] == 0.5
    np.testing.assert_allclose(average.weights["weight"].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_small_decay_is_not_lost_to_rounding() -> None:
    """1e-4 of a difference is nothing in bfloat16, which is why averages are float32."""
    layer = nn.Linear(1, 1, bias=False).to(torch.bfloat16)
    average = Average(layer, 0.9999)
    assert average.weights["weight"].dtype == torch.float32
    with torch.no_grad():
        layer.weight.copy_(torch.full((1, 1), 2.0))
        average.weights["weight"].fill_(1.0)
    average.update(layer.float(), step=10**9)
    assert float(average.weights["weight"]) == pytest.approx(1.0001, abs=1e-7)


def test_borrowed_weights_come_back_to_the_bit() -> None:
    layer = nn.Linear(4, 4)
    average = Average(layer, 0.9)
    with torch.no_grad():
        layer.weight.mul_(3)
    mine, averaged = layer.weight.detach().clone(), average.weights["weight"].clone()
    address = layer.weight.data_ptr()
    with contextlib.suppress(InterruptedError), average.applied(layer):
        assert torch.equal(layer.weight, averaged)
        assert layer.weight.data_ptr() == address  # what compiled graphs and FSDP hold on to
        raise InterruptedError
    assert torch.equal(layer.weight, mine)
    assert torch.equal(average.weights["weight"], averaged)


def test_no_average_is_none() -> None:
    average = Average(nn.Linear(2, 2), 0.0)
    average.update(nn.Linear(2, 2), 0)
    assert average.weights == {}


# ---- logs ----


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


# ---- scores ----


def test_models_are_scored_beside_their_training(tmp_path: Path) -> None:
    """Sampled by slm-zoo and scored by slm-eval, in processes, at two scales of guidance."""
    rng = np.random.default_rng(0)
    for side in ("contexts", "real"):
        for number in range(2):
            write_audio(tmp_path / side / f"{number}.wav", 0.1 * rng.standard_normal(24_000).astype(np.float32), 24_000)
    waves(tmp_path / "shards")
    asked = {"every": 6, "contexts": str(tmp_path / "contexts"), "real": str(tmp_path / "real"), "clips": 2}
    model = {"context_seconds": 0.4, "target_seconds": 1.2}
    score = {**asked, "steps": 2, "guidance": [2, 4], "metrics": "dnsmos", "device": "cpu"}
    config = configured(tmp_path / "shards", steps=6, batch=2, model=model, score=score)
    train(config, tmp_path / "run", "cpu")
    (line,) = [each for each in log(tmp_path / "run") if each["kind"] == "score"]
    assert "failed" not in line, line
    for guidance in (2, 4):
        folder = tmp_path / "run" / "scores" / "step-6" / f"guidance-{guidance}"
        summary = json.loads((folder / "run" / "summary.json").read_text())
        assert line[f"dnsmos.p808@{guidance}"] == summary["metrics"]["dnsmos.p808"]["value"]
        assert summary["corpora"]["generated"]["n_scored"] == 2
        assert summary["corpora"]["generated"]["provenance"]["sampler"]["guidance"] == guidance
    assert not (tmp_path / "run" / "scores" / "step-6" / "model.safetensors").exists()


def test_scoring_that_fails_is_told_and_training_goes_on(tmp_path: Path) -> None:
    waves(tmp_path / "shards")
    asked = {"every": 4, "contexts": str(tmp_path / "nowhere"), "real": str(tmp_path / "nowhere"), "device": "cpu"}
    result = train(configured(tmp_path / "shards", steps=4, score=asked), tmp_path / "run", "cpu")
    assert result is not None
    (line,) = [each for each in log(tmp_path / "run") if each["kind"] == "score"]
    assert line["failed"].startswith("sample: ")
    assert "nowhere" in line["failed"]
