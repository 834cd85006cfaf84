"""The ladder: one configuration for each number of layers, by one rule.

    python -m model_zoo.planning.ladder          # writes model_zoo/configs/ladder/L1.yaml ... L30.yaml again

128 channels per layer and the data, batch and hyperparameters of the base size, which CompleteP carries to every other.
What is left to say for each size is how long it trains, which is as long as the published law finds best for it, and
how its batch is divided to fit the memory of a GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from model_zoo.cdslm.config import ModelConfig
from model_zoo.cdslm.flops import Tokens, parameter_count
from model_zoo.planning.gpus import GB, activations
from model_zoo.training.config import TrainConfig

LAYERS = range(1, 31)
FOLDER = Path(__file__).parents[1] / "configs" / "ladder"
# [choice] Activation checkpointing from here on, where states leave a GPU of 141 GB less room than activations want.
CHECKPOINTED_FROM = 16
ACTIVATIONS = 32 * GB  # [choice] that one micro batch may take: a GPU of 80 GB has room for it up to 12 layers


class Duration(NamedTuple):
    """How long a run is, in several units."""

    tokens: int  # D: of both streams
    steps: int
    hours: float  # of speech seen, context and target


def best_frames(parameters: float) -> float:
    """Return the D for which so many parameters are compute-optimal under the published law."""
    from slm_eval.scaling.law import FLOPS_PER_TOKEN, PUBLISHED

    compute = FLOPS_PER_TOKEN * (parameters / PUBLISHED.G) ** (1 / PUBLISHED.exponents.N)
    return float(compute / (FLOPS_PER_TOKEN * parameters))


def duration(model: ModelConfig, tokens: float, batch: int) -> Duration:
    """Return the nearest whole number of steps to D = ``tokens``, at least one.

    Args:
        batch: samples a step.
    """
    a_step = batch * Tokens.from_config(model).all
    steps = max(1, round(tokens / a_step))
    return Duration(steps * a_step, steps, steps * batch * (model.context_seconds + model.target_seconds) / 3600)


def warmup(steps: int, usual: int) -> int:
    """Return the steps of the linear rise: as usual, but not more than a tenth of the run."""
    return min(usual, steps // 10)


def rung(layers: int) -> dict[str, Any]:
    """Return what the configuration of a size says beyond the defaults; ``training.config.from_dict`` reads it."""
    usual = TrainConfig()
    model = ModelConfig(layers=layers)
    steps = duration(model, best_frames(parameter_count(model)), usual.batch).steps
    values: dict[str, Any] = {"model": {"layers": layers}, "steps": steps}
    rise = warmup(steps, usual.optimizer.warmup_steps)
    if rise < usual.optimizer.warmup_steps:
        values["optimizer"] = {"warmup_steps": rise}
    at_once = usual.batch
    while at_once > 1 and at_once * activations(model, layers >= CHECKPOINTED_FROM) > ACTIVATIONS:
        at_once //= 2
    if at_once < usual.batch:
        values["micro_batch"] = at_once
    if layers >= CHECKPOINTED_FROM:
        values["activation_checkpointing"] = True
    return values


def text(layers: int) -> str:
    """Return the file of a rung."""
    import yaml

    model, values = ModelConfig(layers=layers), rung(layers)
    count = parameter_count(model)
    long = duration(model, values["steps"] * TrainConfig().batch * Tokens.from_config(model).all, TrainConfig().batch)
    return (
        f"# {count:,} parameters at width {model.d}. Trained for {long.tokens:.3g} frames ({long.hours:,.0f} h),\n"
        f"# which the published law finds best for this size: C = 6ND = {6 * count * long.tokens:.3g} FLOPs.\n"
        f"{yaml.safe_dump(values, sort_keys=False)}"
    )


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for layers in LAYERS:
        (FOLDER / f"L{layers}.yaml").write_text(text(layers), encoding="utf-8")
