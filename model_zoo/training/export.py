"""From a checkpoint of a training, made by any number of processes, to one file that ``slm-zoo sample`` takes."""

from __future__ import annotations

from pathlib import Path

import torch

from model_zoo.cdslm import checkpoint
from model_zoo.cdslm.model import MMDiT
from model_zoo.data.shards import MelShards
from model_zoo.training.checkpoints import Checkpoints, checked, damage
from model_zoo.training.folder import config_of
from model_zoo.training.ranks import Ranks
from model_zoo.training.sharded import read_like
from slm_eval.base.errors import SlmEvalError, UsageError


def export(run: Path, output: Path, step: int | None = None) -> int:
    """Write the model of a step; by default of the latest that is undamaged. Nothing of the run is changed.

    Raises:
        UsageError: there is no checkpoint of this step.
        SlmEvalError: there is no run, or the checkpoint is damaged.
    """
    config = config_of(run)
    shards = MelShards.open(config.data.shards)
    checkpoints = Checkpoints(run / "checkpoints", Ranks(0, 1, torch.device("cpu")), config.keep)
    steps = checkpoints.steps()
    if step is None and steps:
        step = steps[-1]
    if step is None or step not in steps:
        raise UsageError(f"{run} has checkpoints of steps {steps}, not of {step}; train first, or choose one of these")
    problem = damage(checkpoints.path(step))
    if problem is not None:
        raise SlmEvalError(f"{checkpoints.path(step)} is damaged ({problem}); choose one of {steps} by --step")
    with torch.device("meta"):
        shapes = MMDiT(config.model, shards.spec.n_mels).state_dict()
    parts = ["model", "average"] if config.ema else ["model"]
    saved = read_like(checked(checkpoints.path(step)), dict.fromkeys(parts, shapes))
    facts = {"step": step, "seed": config.seed, "run": config.digest(shards.digest)}
    spec, normalizer = shards.spec, shards.normalizer
    diffusion, averaged = config.diffusion, saved.get("average")
    checkpoint.save(output, config.model, saved["model"], diffusion, spec, normalizer, facts, averaged)
    return step
