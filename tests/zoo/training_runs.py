"""The smallest trainings that have all parts of a large one, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_zoo.data.moments import Moments
from model_zoo.data.shards import Entry, MelShards, write_index, write_shard
from model_zoo.features import FeatureSpec
from model_zoo.training.checkpoints import Checkpoints
from model_zoo.training.config import TrainConfig, from_dict
from model_zoo.training.ranks import Ranks
from model_zoo.training.sharded import read_into

TINY: dict[str, Any] = {
    "model": {"layers": 2, "width": 32, "head_dim": 16, "patch": 4, "context_seconds": 0.2, "target_seconds": 0.4},
    "data": {"validation_clips": 4, "threads": 2},
    "optimizer": {"warmup_steps": 2, "learning_rate": 1e-3},
    "steps": 10,
    "batch": 4,
    "ema": 0.9,
    "precision": "float32",
    "compile": False,
    "log_every": 4,
    "validate_every": 5,
    "checkpoint_every": 5,
}


def waves(folder: Path, recordings: int = 6, seconds: float = 6.0) -> MelShards:
    """Log-mels that can be learnt: slow waves over time and bins, another one in each recording, and a little noise."""
    spec = FeatureSpec()
    frames = round(seconds * spec.frame_rate)
    entries = []
    for number in range(recordings):
        rng = np.random.default_rng(number)
        time, bins = np.arange(frames)[:, None] / spec.frame_rate, np.arange(spec.n_mels) / spec.n_mels
        phase = 2 * np.pi * (rng.uniform(0.5, 2) * time + rng.uniform(0, 2) * bins + rng.uniform())
        mel = (-2 + np.sin(phase) + 0.1 * rng.normal(size=phase.shape)).astype(np.float16)
        split = "validation" if number == 0 else "train"
        name = f"wave-{number}"
        entries.append(Entry(name, name, split, digest=f"of {name}", mel=mel, moments=Moments.from_frames(mel)))
    write_shard(folder, 0, entries, {}, spec.n_mels)
    write_index(folder, spec, {"split": {"seed": 0, "validation": 0.2}}, 1, {})
    return MelShards.open(folder)


def configured(shards: Path, **changes: Any) -> TrainConfig:
    """``TINY`` with other values; tables are merged."""
    values: dict[str, Any] = {**TINY, "data": {**TINY["data"], "shards": str(shards)}}
    for key, value in changes.items():
        values[key] = {**values.get(key, {}), **value} if isinstance(value, dict) else value
    return from_dict(values)


def written(config: TrainConfig, path: Path) -> Path:
    """The configuration as a file."""
    import yaml

    from model_zoo.training.config import to_dict

    path.write_text(yaml.safe_dump(to_dict(config)))
    return path


def saved(run: Path, step: int, config: TrainConfig) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint but the clock's, by their names with dots."""
    from model_zoo.training.train import Run

    fresh = Run(config, run.parent / f"{run.name}-read", Ranks(0, 1, torch.device("cpu")))
    state = fresh.state()
    read_into(Checkpoints(run / "checkpoints", fresh.ranks, 2).path(step), state)
    flat: dict[str, torch.Tensor] = {}

    def walk(values: dict[str, Any], where: str) -> None:
        for key, value in values.items():
            if isinstance(value, dict):
                walk(value, f"{where}{key}/")
            elif key != "seconds":
                flat[where + key] = value.detach().clone()

    walk(state, "")
    return flat


def log(run: Path) -> list[dict[str, Any]]:
    """The lines of log.jsonl without what no two runs share: times and speeds."""
    noise = {"seconds", "samples_per_second", "tokens_per_second"}
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in noise} for line in lines]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether both hold the same tensors, to the bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
