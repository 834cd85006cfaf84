"""Scores beside a training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from model_zoo.speech.wavs import write_audio
from model_zoo.training.train import train
from tests.zoo.training_runs import configured, log, waves


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
