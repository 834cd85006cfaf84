"""What a training says of itself: at its start, and in the records of its log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from model_zoo.cdslm.flops import Tokens, flops_6nd, parameter_count, training_flops, utilization
from model_zoo.data.shards import MelShards
from model_zoo.data.windows import Windows
from model_zoo.features import FeatureSpec
from model_zoo.training.config import TrainConfig
from model_zoo.training.ranks import Ranks
from model_zoo.training.validation import Validation


def introduction(config: TrainConfig, shards: MelShards, windows: Windows, clips: int, ranks: Ranks, start: int) -> str:
    """Return what is trained, and on what, for people; a line or more."""
    model, seconds = config.model, windows.frames / shards.spec.frame_rate
    parts = [
        f"{parameter_count(model, shards.spec.n_mels):,} parameters, {model.layers} layers of {model.d}",
        f"{shards.hours('train'):,.2f} h of speech, {clips} windows to validate",
        f"{config.steps} steps of {config.batch} windows of {seconds:g} s",
        f"{ranks.device} of {ranks.world} process(es)",
    ]
    lines = ["; ".join(parts)]
    if windows.left_out:
        short = f"{len(windows.left_out)} recordings are shorter than a window and left out"
        lines.append(f"{short}; data.short=pad takes them")
    if start:
        lines.append(f"going on from step {start}")
    return "\n".join(lines)


@dataclass(frozen=True)
class Costs:
    """What steps of a run cost."""

    config: TrainConfig
    spec: FeatureSpec

    def spent(self, step: int, seconds: float) -> dict[str, Any]:
        """Return what so many steps cost. D counts the tokens of both streams [choice]; hours count both too."""
        model, tokens, samples = self.config.model, self._tokens, step * self.config.batch
        frames = model.context_frames + model.target_frames
        return {
            "samples": samples,
            "frames_seen": samples * frames,
            "tokens_seen": samples * tokens.all,
            "target_tokens_seen": samples * tokens.generation,
            "hours_seen": samples * frames / self.spec.frame_rate / 3600,
            "flops_6nd": samples * flops_6nd(model, tokens, self.spec.n_mels),
            "flops_hw": samples * training_flops(model, tokens, self.spec.n_mels),
            "seconds": seconds,
        }

    def speed(self, steps: int, seconds: float, ranks: Ranks) -> dict[str, Any]:
        """Return how fast so many steps were, and how much of the GPUs they used."""
        samples = steps * self.config.batch / seconds
        speed: dict[str, Any] = {"samples_per_second": samples, "tokens_per_second": samples * self._tokens.all}
        if ranks.device.type == "cuda":
            true = samples * training_flops(self.config.model, self._tokens, self.spec.n_mels)
            speed["mfu"] = utilization(true, torch.cuda.get_device_name(ranks.device), ranks.world).value
            speed["peak_memory_gib"] = torch.cuda.max_memory_allocated(ranks.device) / 2**30
        return speed

    @property
    def _tokens(self) -> Tokens:
        return Tokens.from_config(self.config.model)


def validation_record(validation: Validation, prefix: str = "") -> dict[str, Any]:
    """Return what the log says of a validation.

    Args:
        prefix: of the names of losses: "ema_" for averaged weights.
    """
    return {
        f"{prefix}loss": validation.loss,
        f"{prefix}v_mse": validation.v_mse,
        f"{prefix}v_mse_by_level": validation.by_level.tolist(),
        "protocol": validation.protocol,
        "clips": len(validation.ids),
    }
