"""A stand-in for the Audiobox Aesthetics checkpoint: its form and architecture, random weights. Scores mean nothing.

    python tests/observing/quality/audiobox_standin.py checkpoint.pt

Weights are drawn such that every part of the network matters: wide position biases and gates, sharp attention, uneven
layer weights, norms that are not the identity, and heads under which clips differ by tenths.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import torch

from slm_eval.observing.quality.audiobox.checkpoint import DEFAULTS
from slm_eval.observing.quality.audiobox.shapes import Sizes, expected_shapes

BASE = Sizes()
TINY = Sizes(conv=16, width=32, hidden=48, heads=4, buckets=320, position_inputs=8, position_kernel=128)
TINY_CONFIG = {**DEFAULTS, "nth_layer": 4, "proj_num_layer": 3, "proj_ln": True}
SCALE = {"CE": (4.5, 1.4), "CU": (6.0, 1.3), "PC": (3.5, 1.5), "PQ": (6.4, 1.2)}


def make_checkpoint(
    path: Path, sizes: Sizes = BASE, config: dict[str, Any] | None = None, seed: int = 0
) -> dict[str, Any]:
    """Write ``checkpoint.pt`` as published: state_dict with the prefix "model.", model_cfg, target_transform."""
    config = {**DEFAULTS, "precision": "32", **(config or {})}
    generator = torch.Generator().manual_seed(seed)
    tensors = {f"model.{name}": draw(name, shape, generator) for name, shape in expected_shapes(sizes, config).items()}
    transform = {axis: {"mean": mean, "std": std} for axis, (mean, std) in SCALE.items()}
    checkpoint = {"state_dict": tensors, "model_cfg": config, "target_transform": transform}
    torch.save(checkpoint, path)
    return checkpoint


def draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """One tensor, normal around what its place asks for."""
    normal = torch.randn(shape, generator=generator)
    if "relative_attention_bias" in name or "layer_weights" in name:
        return normal
    if "grep_linear.weight" in name:
        return 0.2 * normal
    if "grep_a" in name or "weight_g" in name or (len(shape) == 1 and name.endswith("weight")):
        return 1 + 0.2 * normal
    if len(shape) == 1:
        return 0.1 * normal
    fan_in = math.prod(shape[1:])
    gain = 1.4 if "conv_layers" in name else 2.0 if "q_proj" in name or "k_proj" in name else 1.0
    if shape[0] == 1 and name.endswith(".0.weight"):
        gain = 8.0  # a head of one layer sees a vector of unit length
    return normal * gain / math.sqrt(fan_in)


if __name__ == "__main__":
    make_checkpoint(Path(sys.argv[1]))
