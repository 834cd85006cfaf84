"""Checkpoints: kept, skipped where damaged, never taken from anybody as code."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model_zoo.training.checkpoints import Checkpoints, damage
from model_zoo.training.ranks import Ranks
from model_zoo.training.train import train
from slm_eval.base.errors import SlmEvalError
from tests.zoo.training_runs import configured, log, same, saved, written

ALONE = Ranks(0, 1, torch.device("cpu"))


def test_a_damaged_checkpoint_is_skipped_with_a_line(
    shards: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(shards)
    train(config, tmp_path / "run", "cpu")
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints", ALONE, 2)
    (data,) = checkpoints.path(10).glob("*.safetensors")
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1  # one bit
    data.write_bytes(content)
    capsys.readouterr()
    train(config, tmp_path / "run", "cpu")
    told = capsys.readouterr().err
    assert f"the checkpoint of step 10 is damaged: {data.name} is not as it was written; going back to step 5" in told
    assert same(saved(whole, 10, config), saved(tmp_path / "run", 10, config))
    assert (tmp_path / "run" / "checkpoints" / "damaged-step-10").is_dir()


def test_all_checkpoints_damaged_is_an_error(shards: Path, tmp_path: Path) -> None:
    config = configured(shards)
    train(config, tmp_path, "cpu")
    for step in (5, 10):
        (tmp_path / "checkpoints" / f"step-{step}" / "rank-0-of-1.safetensors").unlink()
    with pytest.raises(SlmEvalError, match=r"step 10 is damaged: rank-0.* is missing.*step 5 .*take another output"):
        train(config, tmp_path, "cpu")


def test_the_last_and_the_best_checkpoints_stay(shards: Path, tmp_path: Path) -> None:
    # A rate so high that the loss only rises after the first validation.
    rising = {"learning_rate": 0.3, "clip": 0.0, "decay": "none", "warmup_steps": 0}
    config = configured(shards, steps=6, validate_every=1, checkpoint_every=1, keep=2, optimizer=rising, ema=0)
    train(config, tmp_path, "cpu")
    losses = {line["step"]: line["loss"] for line in log(tmp_path) if line["kind"] == "validation"}
    best = min(losses, key=lambda step: losses[step])
    assert best not in (5, 6)
    assert Checkpoints(tmp_path / "checkpoints", ALONE, 2).steps() == [best, 5, 6]


def test_a_full_disk_keeps_the_checkpoint_before(shards: Path, tmp_path: Path) -> None:
    """Files may not grow beyond 200 kB in that process: what a full disk does to a writer."""
    train(configured(shards, steps=10, checkpoint_every=5, keep=1), tmp_path / "size", "cpu")
    (data,) = (tmp_path / "size" / "checkpoints" / "step-10").glob("*.safetensors")
    code = (
        "import resource, signal, sys; from model_zoo.cli.main import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({data.stat().st_size // 2}, resource.RLIM_INFINITY))\n"
        "main()"
    )
    file = written(configured(shards), tmp_path / "config.yaml")
    command = [sys.executable, "-c", code, "train", str(file), "-o", str(tmp_path / "run"), "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert "the checkpoint of step 5 cannot be written" in line
    assert "there is none before it" in line
    assert Checkpoints(tmp_path / "run" / "checkpoints", ALONE, 2).steps() == []


def test_a_checkpoint_without_its_digests_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "rank-0-of-1.safetensors").write_bytes(b"1")
    assert damage(tmp_path) is not None
    (tmp_path / "digests.json").write_text("{}")
    assert damage(tmp_path) == "rank-0-of-1.safetensors is not as it was written"


def test_a_file_of_holes_in_a_checkpoint_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rank-0-of-1.safetensors"
    file.write_bytes(b"12345")
    digest = hashlib.sha256(b"12345").hexdigest()
    (tmp_path / "digests.json").write_text(json.dumps({file.name: f"5:{digest}"}))
    assert damage(tmp_path) is None
    os.truncate(file, 8 * 2**40)
    monkeypatch.setattr("model_zoo.training.checkpoints.file_digest", lambda path: pytest.fail(f"{path} was read"))
    assert damage(tmp_path) == f"{file.name} is not as it was written"
