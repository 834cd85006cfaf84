"""Every tensor of the Audiobox Aesthetics model and its shape: WavLM base, four layer weightings, four heads.

Sizes are those of a checkpoint, so that a small one can be tested; the structure is that of the package's
``AesMultiOutput`` 0.0.4. Importing this loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

AXES = ("CE", "CU", "PC", "PQ")
KERNELS = (10, 3, 3, 3, 3, 2, 2)  # of the convolutions of WavLM


@dataclass(frozen=True)
class Sizes:
    """What a checkpoint's shapes follow from; the defaults are those of WavLM base, 94 M parameters."""

    conv: int = 512  # channels of the convolutions
    width: int = 768
    hidden: int = 3072  # of the feed-forward layers
    heads: int = 12
    buckets: int = 320  # of relative positions
    position_inputs: int = 48  # channels that one group of the position convolution reads
    position_kernel: int = 128


def expected_shapes(sizes: Sizes, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return every tensor of the model and its shape.

    Args:
        sizes: of the network.
        config: ``nth_layer`` and the ``proj_`` keys of ``AesMultiOutput``.
    """
    wavlm, encoder = "wavlm_model", "wavlm_model.encoder"
    shapes: dict[str, tuple[int, ...]] = {
        f"{wavlm}.mask_emb": (sizes.width,),
        **_norm(f"{wavlm}.layer_norm", sizes.conv),
        **_norm(f"{wavlm}.feature_extractor.conv_layers.0.2", sizes.conv),
        **_linear(f"{wavlm}.post_extract_proj", sizes.conv, sizes.width),
        f"{encoder}.pos_conv.0.weight_v": (sizes.width, sizes.position_inputs, sizes.position_kernel),
        f"{encoder}.pos_conv.0.weight_g": (1, 1, sizes.position_kernel),
        f"{encoder}.pos_conv.0.bias": (sizes.width,),
        **_norm(f"{encoder}.layer_norm", sizes.width),
        f"{encoder}.layers.0.self_attn.relative_attention_bias.weight": (sizes.buckets, sizes.heads),
    }
    for index, kernel in enumerate(KERNELS):
        name = f"{wavlm}.feature_extractor.conv_layers.{index}.0.weight"
        shapes[name] = (sizes.conv, sizes.conv if index else 1, kernel)
    for index in range(config["nth_layer"] - 1):
        shapes |= _layer(f"{encoder}.layers.{index}", sizes)
    for axis in AXES:
        shapes[f"layer_weights.{axis}"] = (config["nth_layer"],)
        shapes |= _head(f"proj_layer.{axis}", sizes.width, config)
    return shapes


def sizes_of(tensors: Mapping[str, Any]) -> Sizes:
    """Read from a few tensors; the others must fit them.

    Raises:
        ValueError: one of them is missing or has too few axes; the message says which.
    """

    def size(name: str, axis: int) -> int:
        name = f"wavlm_model.{name}"
        if name not in tensors:
            raise ValueError(f"the tensor {name} is missing")
        shape = tuple(getattr(tensors[name], "shape", ()))
        if len(shape) <= axis or shape[axis] < 1:
            raise ValueError(f"{name} has the shape {shape}, expected {axis + 1} axes or more")
        return int(shape[axis])

    attention = "encoder.layers.0.self_attn"
    return Sizes(
        conv=size("layer_norm.weight", 0),
        width=size("encoder.layer_norm.weight", 0),
        hidden=size("encoder.layers.0.fc1.weight", 0),
        heads=size(f"{attention}.grep_a", 1),
        buckets=size(f"{attention}.relative_attention_bias.weight", 0),
        position_inputs=size("encoder.pos_conv.0.weight_v", 1),
        position_kernel=size("encoder.pos_conv.0.weight_v", 2),
    )


def _linear(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}


def _layer(name: str, sizes: Sizes) -> dict[str, tuple[int, ...]]:
    width, hidden = sizes.width, sizes.hidden
    shapes: dict[str, tuple[int, ...]] = {f"{name}.self_attn.grep_a": (1, sizes.heads, 1, 1)}
    for each in ("q_proj", "k_proj", "v_proj", "out_proj"):
        shapes |= _linear(f"{name}.self_attn.{each}", width, width)
    shapes |= _linear(f"{name}.self_attn.grep_linear", width // sizes.heads, 8)
    shapes |= _linear(f"{name}.fc1", width, hidden) | _linear(f"{name}.fc2", hidden, width)
    return shapes | _norm(f"{name}.self_attn_layer_norm", width) | _norm(f"{name}.final_layer_norm", width)


def _head(name: str, width: int, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return linear layers; all but the last followed by an optional norm, a GELU and, while training, dropout."""
    shapes: dict[str, tuple[int, ...]] = {}
    index = 0
    for _ in range(config["proj_num_layer"] - 1):
        shapes |= _linear(f"{name}.{index}", width, width)
        if config["proj_ln"]:
            shapes |= _norm(f"{name}.{index + 1}", width)
        index += 2 + bool(config["proj_ln"]) + bool(config["proj_dropout"])
    return shapes | _linear(f"{name}.{index}", width, 1)
