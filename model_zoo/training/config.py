"""Everything that a training run is made of, in one frozen table: YAML, and ``key=value`` on the command line.

    config = load_config("model_zoo/configs/ladder/L4.yaml", ["steps=2000", "optimizer.learning_rate=3e-4"])

A key that does not exist is refused, with the near ones. Marked [paper] where arXiv 2604.24416 decides, [choice] where
it is silent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from model_zoo.cdslm.config import DiffusionConfig, ModelConfig
from model_zoo.plain_yaml import parse_yaml, read_yaml
from model_zoo.values import build
from slm_eval.base.errors import UsageError


@dataclass(frozen=True)
class DataConfig:
    """What is read. ``shards`` is a folder of ``slm-zoo prepare``."""

    shards: str = ""
    mel_floor: float | None = -5.0  # [choice] that of the shards, null: none; shards of other features are refused
    short: Literal["join", "pad", "skip"] = "join"  # recordings shorter than a window
    validation_clips: int = 64  # of the fixed protocol
    threads: int | None = None  # that read windows and draw noise ahead; None: the share of the cores, at most 16

    def __post_init__(self) -> None:
        if self.validation_clips < 1 or (self.threads is not None and self.threads < 1):
            raise UsageError(f"validation_clips and threads must be at least 1, got {self}")


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW at the base size; CompleteP carries it to every other (``cdslm.mup``)."""

    learning_rate: float = 1e-3  # [paper], at 4 layers
    weight_decay: float = 0.03  # [paper], at 4 layers
    epsilon: float = 1e-12  # [choice] losses near 1e-2 give gradients that torch's 1e-8 would damp
    beta1: float = 0.9  # [choice]
    beta2: float = 0.95  # [choice]
    clip: float = 1.0  # [choice] largest norm of all gradients together; 0: never clipped
    warmup_steps: int = 500  # [choice] of a linear rise
    decay: Literal["linear", "cosine", "none"] = "linear"  # [choice] to 0 at the run's own last step

    def __post_init__(self) -> None:
        if min(self.learning_rate, self.epsilon) <= 0 or min(self.weight_decay, self.clip, self.warmup_steps) < 0:
            raise UsageError(f"learning_rate and epsilon must be above 0, the rest not negative, got {self}")
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise UsageError(f"beta1 and beta2 must be from 0 to below 1, got {self.beta1} and {self.beta2}")

    def factor(self, step: int, steps: int) -> float:
        """Share of the learning rate at a step (0 ... steps - 1) of a run of ``steps``."""
        import math

        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        left = (steps - step) / max(1, steps - self.warmup_steps)
        return {"linear": left, "cosine": 0.5 - 0.5 * math.cos(math.pi * left), "none": 1.0}[self.decay]


@dataclass(frozen=True)
class ScoreConfig:
    """Sampling, vocoding and scoring with slm-eval beside the training, every so many steps."""

    every: int = 0  # steps; 0: never
    contexts: str = ""  # clips to continue, as ``slm-zoo sample`` takes them
    real: str = ""  # what is compared with, as ``slm-eval run --real`` takes it
    clips: int = 32  # of the contexts
    guidance: tuple[float, ...] = (2.0,)
    steps: int = 50  # of the sampler
    vocoder: str = "griffin-lim"
    metrics: str = "pjsd,dnsmos"
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.every and not (self.contexts and self.real):
            raise UsageError("every needs contexts and real: speech to continue, and to compare with")
        if self.every < 0 or min(self.clips, self.steps) < 1 or not self.guidance:
            raise UsageError(f"every must not be negative, clips and steps at least 1, one guidance given, got {self}")


@dataclass(frozen=True)
class TrainConfig:
    """One run. What decides its result is in ``identity``; the rest says how it is carried out.

    Raises:
        UsageError: a value that no run can be made of.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)
    steps: int = 20_000  # [paper] about, for tuning at the base size
    batch: int = 256  # [choice] samples of context and target, of all ranks together; the same over a ladder
    micro_batch: int | None = None  # samples at once on a rank; None: all of its share
    seed: int = 0
    ema: float = 0.9999  # [choice] of the averaged weights; 0: none
    precision: Literal["bfloat16", "float32"] = "bfloat16"  # of the products; weights are float32 always
    communication: Literal["float32", "bfloat16"] = "float32"  # of weights between ranks; float32 validates exactly
    compile: bool = True  # the blocks
    activation_checkpointing: bool = False  # less memory, a third more operations; worth it from about 16 layers on
    deterministic: bool = False  # the same bits on CUDA again, slower; a CPU always gives the same
    log_every: int = 50
    validate_every: int = 1000
    checkpoint_every: int = 1000
    keep: int = 2  # last checkpoints, beside the best
    tensorboard: bool = False
    wandb: str = ""  # name of the project; nothing is sent without one

    def __post_init__(self) -> None:
        counts = (self.steps, self.batch, self.log_every, self.validate_every, self.checkpoint_every, self.keep)
        if min(counts) < 1 or (self.micro_batch is not None and self.micro_batch < 1):
            raise UsageError("steps, batch, micro_batch, log_every, validate_every, checkpoint_every, keep: at least 1")
        if not 0 <= self.ema < 1:
            raise UsageError(f"ema must be from 0 to below 1, got {self.ema}")
        if self.optimizer.warmup_steps > self.steps:
            raise UsageError(
                f"optimizer.warmup_steps is {self.optimizer.warmup_steps}, but the run has {self.steps} steps; lower it"
            )

    def identity(self, shards: str) -> dict[str, Any]:
        """Return what decides the weights that come out, but for rounding: a run may only continue one of the same.

        Args:
            shards: digest of the prepared data, which may have moved.
        """
        chosen = ("model", "diffusion", "optimizer", "steps", "batch", "seed", "ema", "precision")
        values = to_dict(self)
        return {name: values[name] for name in chosen} | {"data": {"shards": shards, "short": self.data.short}}

    def digest(self, shards: str) -> str:
        """Return 16 hexadecimal digits of ``identity``."""
        text = json.dumps(self.identity(shards), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """Return values of JSON and YAML."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return values


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read YAML; ``key=value`` with dots wins over it.

    Raises:
        UsageError: no such file, no YAML, an unknown key, or a value of another kind.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"there is no configuration {path}; those of the package are in model_zoo/configs")
    values = read_yaml(path) or {}
    if not isinstance(values, dict):
        raise UsageError(f"{path} must hold keys and values, got {type(values).__name__}")
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise UsageError(f"expected key=value, such as optimizer.learning_rate=3e-4, got {override!r}")
        try:
            _set(values, key.strip().split("."), parse_yaml(text))
        except ValueError as error:
            raise UsageError(f"{override!r} has no value that YAML can read") from error
    return from_dict(values)


def from_dict(values: Mapping[str, Any]) -> TrainConfig:
    """Return the configuration of what ``to_dict`` wrote, or of any part of it; the rest is as by default.

    Raises:
        UsageError: an unknown key, or a value of another kind or out of range.
    """
    return build(TrainConfig, values)


def _set(values: dict[str, Any], key: list[str], value: Any) -> None:
    for name in key[:-1]:
        inner = values.setdefault(name, {})
        if not isinstance(inner, dict):
            raise UsageError(f"{'.'.join(key)}: {name} has no keys of its own")
        values = inner
    values[key[-1]] = value
