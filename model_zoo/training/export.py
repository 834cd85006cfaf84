"""From a checkpoint of a training, made by any number of processes, to one file that ``slm-zoo sample`` takes."""

from __future__ import annotations

from pathlib import Path

import torch

from model_zoo.cdslm import checkpoint
from model_zoo.cdslm.model import MMDiT
from model_zoo.data.shards import MelShards
from model_zoo.training.checkpoints import Checkpoints, damage, load, quiet
from model_zoo.training.folder import config_of
from model_zoo.training.ranks import Ranks
from slm_eval.errors import SlmEvalError, UsageError


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
    weights = {name: torch.empty(value.shape) for name, value in shapes.items()}
    averaged = {name: torch.empty(value.shape) for name, value in shapes.items()} if config.ema else {}
    with quiet():
        load(checkpoints.path(step), {"model": weights, "average": averaged} if averaged else {"model": weights})
    facts = {"step": step, "seed": config.seed, "run": config.digest(shards.digest)}
    spec, normalizer = shards.spec, shards.normalizer
    checkpoint.save(output, config.model, weights, config.diffusion, spec, normalizer, facts, averaged or None)
    return step
