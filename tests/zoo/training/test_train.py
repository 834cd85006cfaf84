"""Training: exact after a stop, the same in parts and on several processes, and clear about what goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from model_zoo.cdslm.checkpoint import load as load_model
from model_zoo.cdslm.flops import parameter_count
from model_zoo.training.checkpoints import Checkpoints
from model_zoo.training.export import export
from model_zoo.training.ranks import Ranks
from model_zoo.training.train import Run, train
from model_zoo.training.validation import validate
from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.lock import exclusive
from tests.zoo.training_runs import configured, log, same, saved, written

ALONE = Ranks(0, 1, torch.device("cpu"))


class Killed(Exception):
    """Stands for a power cut: nothing of the program runs after it."""


def cut_at(step: int, patch: pytest.MonkeyPatch) -> None:
    """Make the run end abruptly when it begins a step."""
    before = Run.step

    def dying(self: Run, batch: Any) -> None:
        if batch.step == step:
            self.checkpoints.wait()
            raise Killed
        before(self, batch)

    patch.setattr(Run, "step", dying)


def test_five_steps_a_cut_and_five_more_are_ten_to_the_bit(
    shards: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(shards)
    with monkeypatch.context() as patch:
        cut_at(7, patch)
        with pytest.raises(Killed):
            train(config, tmp_path / "run", "cpu")
    assert Checkpoints(tmp_path / "run" / "checkpoints", ALONE, 2).steps() == [5]
    train(config, tmp_path / "run", "cpu")
    assert same(saved(whole, 10, config), saved(tmp_path / "run", 10, config))
    assert log(whole) == log(tmp_path / "run")
    ours, theirs = (load_file(each / "model.safetensors") for each in (whole, tmp_path / "run"))
    assert same(ours, theirs)


def test_sigkill_and_sigterm_lose_nothing(shards: Path, tmp_path: Path) -> None:
    config = configured(shards, steps=240, checkpoint_every=40, log_every=10, validate_every=120)
    file = written(config, tmp_path / "config.yaml")
    command = [sys.executable, "-m", "model_zoo", "train", str(file), "-o", str(tmp_path / "run"), "--device", "cpu"]

    def begin() -> subprocess.Popen[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def heard(process: subprocess.Popen[str], step: int) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step") and int(line.split()[1].split("/")[0]) >= step:
                return
        pytest.fail(f"the training ended before step {step}")

    killed = begin()
    heard(killed, 60)
    killed.kill()
    killed.communicate()
    stopped = begin()
    heard(stopped, 110)
    stopped.terminate()
    out, err = stopped.communicate()
    assert stopped.returncode == 143
    assert "the same command continues" in err
    assert not (tmp_path / "run" / "result.json").exists()
    steps = Checkpoints(tmp_path / "run" / "checkpoints", ALONE, 2).steps()
    assert steps[-1] >= 110  # where it was, not where the next checkpoint would have been
    last = begin()
    out, err = last.communicate()
    assert last.returncode == 0, err
    assert "after 240 steps" in out
    train(config, tmp_path / "never stopped", "cpu")
    ours, theirs = (load_file(tmp_path / each / "model.safetensors") for each in ("run", "never stopped"))
    assert same(ours, theirs)
    assert log(tmp_path / "run") == log(tmp_path / "never stopped")


def test_a_finished_run_is_not_done_again(whole: Path, shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (whole / "model.safetensors").read_bytes()
    cut_at(0, monkeypatch)
    result = train(configured(shards), whole, "cpu")
    assert result is not None
    assert result == json.loads((whole / "result.json").read_text())
    assert (whole / "model.safetensors").read_bytes() == before


def test_parts_of_a_batch_and_checkpointing_change_rounding_only(shards: Path, whole: Path, tmp_path: Path) -> None:
    reference = log(whole)
    for number, changes in enumerate(({"micro_batch": 1}, {"micro_batch": 3}, {"activation_checkpointing": True})):
        folder = tmp_path / str(number)
        train(configured(shards, **changes), folder, "cpu")
        for mine, theirs in zip(log(folder), reference, strict=True):
            assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
            assert mine["v_mse"] == pytest.approx(theirs["v_mse"], rel=1e-5)


@pytest.fixture(scope="module")
def two(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run on two processes, under torchrun, FSDP2 and gloo."""
    folder = tmp_path_factory.mktemp("two")
    file = written(configured(shards), folder / "config.yaml")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "model_zoo", "train", str(file), "-o", str(folder / "run"), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("after 10 steps") == 1  # one process speaks
    return folder / "run"


def test_two_processes_are_one(whole: Path, two: Path) -> None:
    for mine, theirs in zip(log(two), log(whole), strict=True):
        for key in ("loss", "v_mse", *(("gradient_norm",) if mine["kind"] == "train" else ("ema_loss", "ema_v_mse"))):
            assert mine[key] == pytest.approx(theirs[key], rel=1e-5)
        assert mine.get("protocol") == theirs.get("protocol")
    ours, theirs = load_file(two / "model.safetensors"), load_file(whole / "model.safetensors")
    assert ours.keys() == theirs.keys()
    # Adam divides by the size of gradients: where that is rounding alone, so is the direction of a step.
    moved = torch.cat([(ours[name] - theirs[name]).flatten() for name in ours])
    assert float(moved.abs().max()) < 1e-3  # the learning rate
    assert float(moved.square().mean().sqrt()) < 1e-5


def test_a_checkpoint_of_two_opens_in_one(shards: Path, two: Path, tmp_path: Path) -> None:
    config = configured(shards)
    assert export(two, tmp_path / "exported.safetensors", step=10) == 10
    assert same(load_file(tmp_path / "exported.safetensors"), load_file(two / "model.safetensors"))
    full = log(two)
    for each in ("result.json", "model.safetensors"):
        (two / each).unlink()
    (two / "checkpoints" / "step-10").rename(tmp_path / "step-10")
    result = train(config, two, "cpu")
    assert result is not None
    for mine, theirs in zip(log(two), full, strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5)


def test_unequal_shares_are_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a batch of 4 cannot be shared equally by 3 processes; .* such as 2"):
        Run(configured(shards), tmp_path, Ranks(0, 3, torch.device("cpu")))


def test_the_smallest_model_learns(shards: Path, tmp_path: Path) -> None:
    """A network that answers 0, as this one begins, has an error of 1; a few seconds later it is well below."""
    options = {"learning_rate": 3e-3}
    config = configured(shards, steps=300, batch=8, validate_every=100, checkpoint_every=300, optimizer=options)
    run = Run(config, tmp_path / "begun", ALONE)
    untrained = validate(run.model, run.clips, run.loss).v_mse
    assert untrained == pytest.approx(1, abs=0.1)
    train(config, tmp_path / "run", "cpu")
    values = [line["v_mse"] for line in log(tmp_path / "run") if line["kind"] == "validation"]
    assert values[-1] < 0.75 * untrained
    assert values[-1] < values[0] < untrained


def test_the_exported_model_gives_the_validation_that_was_logged(shards: Path, whole: Path) -> None:
    config = configured(shards)
    told = [line for line in log(whole) if line["kind"] == "validation"][-1]
    run = Run(config, whole, ALONE)
    for ema, prefix in ((False, ""), (True, "ema_")):
        loaded = load_model(whole / "model.safetensors", ema=ema)
        found = validate(loaded.model, run.clips, run.loss)
        assert found.loss == pytest.approx(told[f"{prefix}loss"], rel=1e-6)
        assert found.protocol == told["protocol"]
    assert loaded.facts["step"] == 10


def test_what_is_trained_is_said(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = configured(shards, steps=3)
    train(config, tmp_path, "cpu")
    first, *_ = capsys.readouterr().err.splitlines()
    assert first == (
        f"{parameter_count(config.model):,} parameters, 2 layers of 32; 0.01 h of speech, 4 windows to validate; "
        "3 steps of 4 windows of 0.6 s; cpu of 1 process(es)"
    )


def test_costs_are_counted(shards: Path, whole: Path) -> None:
    result = json.loads((whole / "result.json").read_text())
    # 10 steps of 4 windows of 16 + 32 frames, 4 frames a token, 80 frames a second
    assert (result["samples"], result["frames_seen"], result["tokens_seen"]) == (40, 1920, 480)
    assert result["hours_seen"] == pytest.approx(1920 / 80 / 3600)
    assert result["flops_6nd"] == 6 * result["parameters"] * 480
    assert result["parameters"] == sum(
        value.numel() for name, value in load_file(whole / "model.safetensors").items() if name.startswith("model.")
    )


def test_shards_of_other_features_are_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(SlmEvalError, match=r"holds log-mels of features 32c101c4b0de2e75, expected .*mel_floor -5.0"):
        train(configured(shards, data={"mel_floor": -4}), tmp_path, "cpu")
    with pytest.raises(UsageError, match=r"there is nothing to train on: give data\.shards=DIR"):
        train(configured(Path(), data={"shards": ""}), tmp_path, "cpu")
    with pytest.raises(SlmEvalError, match="holds no shards; make some: slm-zoo prepare"):
        train(configured(tmp_path), tmp_path / "run", "cpu")
    with pytest.raises(UsageError, match=r"window"):
        train(configured(shards, model={"context_seconds": 4, "target_seconds": 8}), tmp_path / "long", "cpu")


def test_two_trainings_do_not_share_a_folder(shards: Path, tmp_path: Path) -> None:
    with exclusive(tmp_path / ".lock", lambda: None), pytest.raises(UsageError, match="another training is at work in"):
        train(configured(shards), tmp_path, "cpu")


def test_nan_names_the_step_the_windows_and_the_last_good_checkpoint(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Run.step

    def poisoned(self: Run, batch: Any) -> None:
        if batch.step == 6:
            batch.target[1, 3, 7] = float("nan")
        before(self, batch)

    monkeypatch.setattr(Run, "step", poisoned)
    config = configured(shards)
    with pytest.raises(SlmEvalError, match="not finite at step 6, in a batch of 4 windows") as caught:
        train(config, tmp_path, "cpu")
    assert str(tmp_path / "checkpoints" / "step-5") in str(caught.value)
    names = json.loads((tmp_path / "not-finite.json").read_text())["windows"]
    run = Run(config, tmp_path, ALONE)
    assert names == run.windows.names(6, 0, 4)
    assert Checkpoints(tmp_path / "checkpoints", ALONE, 2).steps() == [5]


def test_no_memory_says_what_to_lower(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU is here: its error and its size are stood in for."""

    def full(self: Run, batch: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate ...\nlong\ntext")

    monkeypatch.setattr(Run, "step", full)
    size = types.SimpleNamespace(total_memory=2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: size)
    for changes, said in (
        ({"batch": 64}, "does not hold 64 samples at once; try micro_batch=32;"),
        ({"batch": 64, "micro_batch": 16}, "does not hold 16 samples at once; try micro_batch=8;"),
        ({"batch": 1}, "does not hold 1 samples at once; try activation_checkpointing=true or more GPUs;"),
    ):
        with pytest.raises(SlmEvalError, match=r"the GPU's memory \(1 GiB\)") as caught:
            train(configured(shards, **changes), tmp_path / str(changes), "cpu")
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
