"""What a model costs: parameters, floating-point operations and how much of a GPU they use. Needs no torch.

The formulas equal the network to the last parameter, and torch's ``FlopCounterMode`` to the last operation: two per
multiplication in matrix products and attention, none for anything else. n_c and n_g are tokens of context and
generation, S both, L layers, d the width, k frames per token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from model_zoo.cdslm.config import ModelConfig
from slm_eval.base.errors import UsageError

LADDER = (1, 2, 3, 4, 6, 8, 10, 11, 12, 14, 16, 20, 24, 27, 30)  # layers, at 128 channels per layer

# Dense bf16 operations a second, from NVIDIA's data sheets, which print the double "with sparsity". By the whole name
# that torch gives the device: parts of a GPU (MIG) have other peaks, and other names.
_PEAKS = {
    r"NVIDIA A100-(SXM4|PCIE)-[48]0GB|NVIDIA A100 80GB PCIe": 312e12,
    r"NVIDIA H100 80GB HBM3": 989e12,
    r"NVIDIA H100 PCIe": 756e12,
    r"NVIDIA H200": 989e12,
    r"NVIDIA L40S": 362e12,
}


class Utilization(NamedTuple):
    """Model FLOPs utilisation."""

    value: float | None  # share of the dense bf16 peak
    unknown: str | None  # why there is no value


@dataclass(frozen=True)
class Tokens:
    """What one sample is made of."""

    context: int  # n_c
    generation: int  # n_g

    @classmethod
    def from_config(cls, config: ModelConfig, context_frames: int | None = None, frames: int | None = None) -> Tokens:
        """Return the tokens of one sample of a model.

        Args:
            context_frames, frames: by default those of the config.

        Raises:
            UsageError: patches do not divide the generation, or one of both has no token.
        """
        context = config.context_frames if context_frames is None else context_frames
        generation = config.target_frames if frames is None else frames
        if generation % config.patch:
            raise UsageError(f"patches of {config.patch} frames do not divide {generation} frames; take another patch")
        if min(context, generation) < config.patch:
            raise UsageError(f"context and generation have at least one token, got {context} and {generation} frames")
        return cls(context // config.patch, generation // config.patch)

    @property
    def all(self) -> int:
        """Return S, the tokens of both streams."""
        return self.context + self.generation


def parameter_count(config: ModelConfig, mels: int = 80) -> int:
    """Count N = 36 L d² + 30 L d + 4 L h - 6 d² + (240 k + 256) d + 80 k, h = head_dim, of the default last block."""
    n_layers, d, token = config.layers, config.d, mels * config.patch
    stream = 18 * d**2 + 15 * d + (2 * config.head_dim if config.qk_norm else 0)
    way_back = 9 * d**2 + 6 * d  # out, fc1 and fc2 of one stream
    absent = {"ours": way_back, "sd3": way_back + 4 * d**2 + 4 * d, "full": 0}[config.last_context_block]
    ends = 3 * token * d + token + 3 * d**2 + 256 * d + 6 * d
    return 2 * n_layers * stream - absent + ends


def attention_flops(config: ModelConfig, tokens: Tokens) -> int:
    """Count scores and weighted sums of one forward pass of one sample. The last context asks nothing."""
    return 4 * tokens.all * config.d * (tokens.all * config.layers - tokens.context)


def forward_flops(config: ModelConfig, tokens: Tokens, mels: int = 80) -> int:
    """Count one forward pass of one sample.

    24 d² L S - 18 d² n_c + 4 S² d L - 4 n_c S d + 24 d² L + 2 (256 d + 3 d²) + 160 k d (S + n_g).
    """
    streams = 24 * config.d**2 * config.layers * tokens.all - 18 * config.d**2 * tokens.context
    context, generation = _ends(config, tokens, mels)
    return streams + attention_flops(config, tokens) + _conditioning(config) + context + generation


def training_flops(config: ModelConfig, tokens: Tokens, mels: int = 80) -> int:
    """Count forward and backward of one sample: the backward pass has two products for each of the forward."""
    return 3 * forward_flops(config, tokens, mels)


def flops_6nd(config: ModelConfig, tokens: Tokens, mels: int = 80) -> int:
    """Return 6 N D of one sample, the paper's compute: D counts the tokens of both streams [choice].

    It is no count of operations: a token meets the weights of its own stream alone, and attention is left out.
    """
    return 6 * parameter_count(config, mels) * tokens.all


def sampling_flops(config: ModelConfig, tokens: Tokens, conditional: int, unconditional: int, mels: int = 80) -> int:
    """Count one clip, with AdaLN at each step and the embedding of each context computed once, as ``MMDiT.prepare``
    does.

    Args:
        conditional, unconditional: evaluations, as ``sampler.evaluations`` gives them. The noise levels of one batch
            are shared by all clips, so that this is exact at a batch of one.
    """
    context, _ = _ends(config, tokens, mels)
    once = conditional * _conditioning(config) + context * (2 if unconditional else 1)
    one_step = forward_flops(config, tokens, mels) - _conditioning(config) - context
    return once + one_step * (conditional + unconditional)


def costs(config: ModelConfig, tokens: Tokens, steps: int = 100) -> dict[str, Any]:
    """Return what ``slm-zoo flops`` prints, as JSON values; operations of one sample.

    Args:
        steps: of sampling, each evaluated with and without the context.
    """
    true, paper = training_flops(config, tokens), flops_6nd(config, tokens)
    return {
        "layers": config.layers,
        "width": config.d,
        "patch": config.patch,
        "tokens": {"context": tokens.context, "generation": tokens.generation},
        "parameters": parameter_count(config),
        "flops_hw": true,
        "flops_6nd": paper,
        "hw_over_6nd": true / paper,
        "attention_share": attention_flops(config, tokens) / forward_flops(config, tokens),
        "sampling": {"evaluations": 2 * steps, "flops": sampling_flops(config, tokens, steps, steps)},
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Lay the costs of several models out as a text, operations in TFLOP."""
    lines = ["  L     d  k      parameters  train TFLOP      6ND   true/6ND  attention  sample TFLOP"]
    for row in rows:
        lines.append(
            f"{row['layers']:3d} {row['width']:5d} {row['patch']:2d} {row['parameters']:15,d} "
            f"{row['flops_hw'] / 1e12:12.4g} {row['flops_6nd'] / 1e12:8.4g} {row['hw_over_6nd']:10.2f} "
            f"{row['attention_share']:10.0%} {row['sampling']['flops'] / 1e12:13.4g}"
        )
    return "\n".join(lines)


def peak_flops(device_name: str) -> float | None:
    """Return dense bf16 operations a second of a GPU by torch's name of it; None where no data sheet is known here."""
    return next((peak for name, peak in _PEAKS.items() if re.fullmatch(name, device_name)), None)


def utilization(flops_per_second: float, device_name: str, devices: int = 1) -> Utilization:
    """Return the MFU: true operations of the model a second, over the dense bf16 peak of all devices."""
    peak = peak_flops(device_name)
    if peak is None:
        return Utilization(None, f"the dense bf16 peak of {device_name!r} is not known")
    return Utilization(flops_per_second / (peak * devices), None)


def _conditioning(config: ModelConfig) -> int:
    """Count what depends on the noise level alone: its embedding, and AdaLN of all layers and of the end."""
    saved = 8 * config.d**2 if config.last_context_block == "sd3" else 0
    return 24 * config.d**2 * config.layers - saved + 2 * (256 * config.d + 3 * config.d**2)


def _ends(config: ModelConfig, tokens: Tokens, mels: int) -> tuple[int, int]:
    """Count embedding the context, and embedding the generation and projecting it back."""
    one = 2 * mels * config.patch * config.d
    return one * tokens.context, 2 * one * tokens.generation
