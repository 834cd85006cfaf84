"""The scripts in examples/ run, and show what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from slm_eval import pJSD
from tests.conftest import EXAMPLES

pytest.importorskip("torchmetrics", reason="the training loop shows pJSD beside torchmetrics: pip install torchmetrics")
SCRIPT = EXAMPLES.parent / "training_loop.py"
SMALLEST = ["--steps", "6", "--every", "6", "--clips", "5", "--files", "10"]


def run(output: Path, *launcher: str) -> tuple[str, dict[tuple[int, str], float]]:
    """What is printed, and what is logged."""
    done = subprocess.run(
        [sys.executable, *launcher, str(SCRIPT), "--output", str(output), *SMALLEST],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    logged = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return done.stdout, {(line["step"], line["name"]): line["value"] for line in logged}


def state(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(path, weights_only=True)["best"][1]
    return loaded


def test_training_loop_alone_and_by_two_processes(tmp_path: Path) -> None:
    printed, logged = run(tmp_path / "one")
    assert set(logged) == {(step, name) for step in (0, 6) for name in ("perplexity", "pjsd.1", "pjsd.2")}
    assert logged[6, "perplexity"] < logged[0, "perplexity"]
    best = min(logged[step, "pjsd.2"] for step in (0, 6))
    assert f"best pjsd.2 {best:.3f}, 95 % interval " in printed

    _, by_two = run(tmp_path / "two", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    for name in ("pjsd.1", "pjsd.2"):  # before any step the models are the same, and so is what all ranks hear
        assert by_two[0, name] == logged[0, name]
    assert by_two[0, "perplexity"] == pytest.approx(logged[0, "perplexity"], rel=1e-3)

    # A checkpoint keeps what was heard: the parts of two ranks are merged, and nothing is recognised again.
    merged, part = (pJSD(n=2, recognizer="pocketsphinx", real=[["AA", "B"]] * 9) for _ in range(2))
    merged.load_state_dict(state(tmp_path / "two" / "checkpoint.0.pt"))
    part.load_state_dict(state(tmp_path / "two" / "checkpoint.1.pt"))
    merged.merge(part)
    assert len(merged.state_dict()["observations"]["generated"]) == 5
