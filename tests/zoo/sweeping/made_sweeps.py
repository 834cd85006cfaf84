"""The smallest sweeps, and trainings that are pretended."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import torch

import model_zoo
from model_zoo.cdslm.checkpoint import save
from model_zoo.cdslm.config import ModelConfig
from model_zoo.cdslm.flops import Tokens, flops_6nd, parameter_count, training_flops
from model_zoo.cdslm.model import MMDiT
from model_zoo.features import FeatureSpec, Normalizer
from model_zoo.training.config import load_config

CONFIGS = Path(model_zoo.__file__).parent / "configs"
MODEL = ModelConfig(
    layers=1, width=16, head_dim=8, patch=4, context_seconds=0.5, target_seconds=1.0, base_layers=1, base_width=16
)


BASE = {
    "model": {key: value for key, value in vars(MODEL).items() if value != getattr(ModelConfig(), key)},
    "data": {"validation_clips": 2, "threads": 1},
    "optimizer": {"warmup_steps": 2},
    "batch": 2,
    "precision": "float32",
    "compile": False,
}
SCORE = {"guidance": [2, 4.5], "steps": 2, "metrics": "dnsmos", "workers": 0}


def pretend(config: Path, output: Path, log: Path) -> None:
    """What a training leaves, without any."""
    told = load_config(config)
    tokens, samples = Tokens.from_config(told.model), told.steps * told.batch
    generator = torch.Generator().manual_seed(told.seed)
    state = MMDiT(told.model).state_dict()
    weights = {name: 0.1 * torch.randn(each.shape, generator=generator) for name, each in state.items()}
    normalizer = Normalizer(torch.full((80,), -1.5), torch.full((80,), 0.5))
    save(output / "model.safetensors", told.model, weights, told.diffusion, FeatureSpec(), normalizer, {}, weights)
    result = {
        "steps": told.steps, "seed": told.seed, "parameters": parameter_count(told.model),
        "loss": 1 / told.steps + 0.001 * told.seed, "tokens_seen": samples * tokens.all,
        "hours_seen": samples * 1.5 / 3600, "flops_6nd": samples * flops_6nd(told.model, tokens),
        "flops_hw": samples * training_flops(told.model, tokens), "seconds": 2.0,
    }  # fmt: skip
    (output / "checkpoints").mkdir()
    (output / "result.json").write_text(json.dumps(result))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
