"""The file of a trained model: one safetensors file with all that sampling needs, and nothing that could run.

Tensors: ``model.<name>``, ``ema.<name>`` where weights were averaged, ``normalizer.mean`` and ``normalizer.scale``, all
float32. The metadata has one key, ``cdslm``, since safetensors keeps no order of several: JSON with ``format``,
``model`` (ModelConfig), ``diffusion`` (DiffusionConfig), ``features`` (FeatureSpec) and their ``features_digest``,
``facts`` of training, and ``software``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model_zoo.cdslm.config import DiffusionConfig, ModelConfig, from_dict, to_dict
from model_zoo.cdslm.model import MMDiT
from model_zoo.features import FeatureSpec, Normalizer
from slm_eval._version import __version__
from slm_eval.base.errors import SlmEvalError
from slm_eval.base.strict_json import parse
from slm_eval.base.tensors import write_tensors

FORMAT = "slm-eval-cdslm-1"
_WEIGHTS = {False: "model.", True: "ema."}  # by whether they are averaged
_NORMALIZER = "normalizer."


@dataclass(frozen=True, eq=False)
class Loaded:
    """A trained model, ready for ``sampler.sample``."""

    model: MMDiT  # in evaluation mode, float32
    model_config: ModelConfig
    diffusion_config: DiffusionConfig
    features: FeatureSpec
    normalizer: Normalizer
    digest: str  # of the file, 16 hexadecimal digits
    facts: dict[str, Any]  # what training wrote down: step, seed, ...


def save(
    path: Path,
    config: ModelConfig,
    weights: Mapping[str, Tensor],
    diffusion: DiffusionConfig,
    features: FeatureSpec,
    normalizer: Normalizer,
    facts: Mapping[str, Any],
    ema: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the file whole, or not at all: what was there before is there until then.

    Args:
        weights: ``MMDiT.state_dict()``; the names are those of a model that was never wrapped.
        facts: JSON values.
        ema: averaged weights by the same names.

    Raises:
        SlmEvalError: weights of another network, or the file cannot be written.
    """
    tensors = {_NORMALIZER + name: tensor for name, tensor in normalizer.to_tensors().items()}
    shapes = _shapes(config, features)
    for averaged, given in ((False, weights), (True, ema)):
        if given is not None:
            _require_shapes(
                {name: tuple(tensor.shape) for name, tensor in given.items()}, shapes, "the state to be saved"
            )
            tensors |= {_WEIGHTS[averaged] + name: tensor for name, tensor in given.items()}
    about = {
        "format": FORMAT,
        "model": to_dict(config),
        "diffusion": to_dict(diffusion),
        "features": features.to_dict(),
        "features_digest": features.digest,
        "facts": dict(facts),
        "software": f"slm-eval {__version__}",
    }
    # Cloned: safetensors refuses tensors that share memory, as the averages of a young run may.
    plain = {name: tensor.detach().to("cpu", torch.float32, copy=True).contiguous() for name, tensor in tensors.items()}
    write_tensors(path, plain, {"cdslm": json.dumps(about, allow_nan=False)})


def load(
    path: Path, device: torch.device | str = "cpu", ema: bool = True, expect_features: FeatureSpec | None = None
) -> Loaded:
    """Read what ``save`` wrote.

    Args:
        ema: the averaged weights rather than the last ones.
        expect_features: those of what the model will exchange mels with, where they are known already.

    Raises:
        SlmEvalError: the file is missing, damaged, of another format, made for other features, or without averages.
    """
    from safetensors import SafetensorError, safe_open

    from slm_eval.weights.ledger import file_digest

    if not path.is_file():
        raise SlmEvalError(f"the checkpoint {path} is missing; give the path of an existing file")
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            about = _about(path, file.metadata())
            config, diffusion = from_dict(ModelConfig, about["model"]), from_dict(DiffusionConfig, about["diffusion"])
            features = _features(path, about)
            if expect_features is not None:
                expect_features.require_same(features, f"the checkpoint {path}")
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            prefix = _WEIGHTS[ema]
            if ema and not any(name.startswith(prefix) for name in shapes):
                raise SlmEvalError(f"{path} has no averaged weights; sample from the last ones (ema=False)")
            _require_shapes(_under(prefix, shapes), _shapes(config, features), str(path))
            weights = {name: file.get_tensor(prefix + name).float() for name in _under(prefix, shapes)}
            statistics = {name: file.get_tensor(_NORMALIZER + name) for name in _under(_NORMALIZER, shapes)}
    except (SafetensorError, OSError) as error:
        raise SlmEvalError(
            f"{path} must be a checkpoint, got a damaged or another file ({error}); take another one"
        ) from error
    for name, tensor in weights.items():
        if not bool(torch.isfinite(tensor).all()):
            raise SlmEvalError(f"{path}: {name} has values that are NaN or infinite; take an earlier checkpoint")
    with torch.device("meta"):
        model = MMDiT(config, features.n_mels)
    model.load_state_dict(weights, assign=True)
    normalizer = Normalizer.from_tensors(statistics)
    return Loaded(model.eval(), config, diffusion, features, normalizer, file_digest(path)[:16], about["facts"])


def _about(path: Path, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    try:
        about = parse((metadata or {}).get("cdslm", "{}"))
    except ValueError as error:
        raise SlmEvalError(f"{path} does not say what it is ({error}); take another checkpoint") from error
    written = about.get("format") if isinstance(about, dict) else None
    if written != FORMAT:
        raise SlmEvalError(f"{path} has the format {written!r}, expected {FORMAT!r}; give a model that slm-zoo trained")
    for key in ("model", "diffusion", "features", "facts"):
        if not isinstance(about.get(key), dict):
            raise SlmEvalError(f"{path} does not say its {key}; take another checkpoint")
    return about


def _features(path: Path, about: Mapping[str, Any]) -> FeatureSpec:
    features = FeatureSpec.from_dict(about["features"])
    if features.digest != about.get("features_digest"):
        raise SlmEvalError(
            f"{path} has features {str(about.get('features_digest'))[:40]!r}, which this version computes otherwise "
            f"({features.digest}); use the version that made it, {str(about.get('software'))[:40]!r}"
        )
    return features


def _shapes(config: ModelConfig, features: FeatureSpec) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in MMDiT(config, features.n_mels).state_dict().items()}


def _under(prefix: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}


def _require_shapes(shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], where: str) -> None:
    for what, names in (
        ("lacks", expected.keys() - shapes.keys()),
        ("has unexpected", shapes.keys() - expected.keys()),
    ):
        if names:
            raise SlmEvalError(
                f"{where} {what} {len(names)} tensors, {min(names)} first, by the {len(expected)} of its config; "
                "give the unwrapped state of the network"
            )
    for name, shape in expected.items():
        if shapes[name] != shape:
            raise SlmEvalError(f"{where}: {name} has shape {shapes[name]}, expected {shape} by its config")
