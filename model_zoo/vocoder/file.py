"""The file of a vocoder: one safetensors file with the generator's folded weights, its statistics, and what they are.

Tensors: those of ``Generator.state_dict()``, and ``mean`` and ``scale`` of the mels that it was trained on. The
metadata has one key, ``vocoder``, since safetensors keeps no order of several: JSON with ``format``, ``features``
(FeatureSpec), ``generator`` (GeneratorConfig), ``source`` (digests of what it was made from) and ``licence``. The same
recipe gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model_zoo.features import FeatureSpec, Normalizer
from model_zoo.vocoder.hifigan import Generator, GeneratorConfig, HiFiGAN
from slm_eval.base.errors import SlmEvalError
from slm_eval.base.strict_json import parse
from slm_eval.base.tensors import load_tensors, write_tensors

FORMAT = "slm-eval-vocoder-1"
LICENCE = "the weights keep the licence of the recipe and the data that they were trained with"


def save_hifigan(
    path: Path, generator: Generator, statistics: Normalizer, spec: FeatureSpec, source: Mapping[str, str]
) -> None:
    """Write the file whole, or not at all.

    Args:
        source: what it was made from, for the record: names to digests.

    Raises:
        SlmEvalError: it cannot be written.
    """
    tensors = {name: tensor.contiguous() for name, tensor in generator.state_dict().items()}
    about = {
        "format": FORMAT,
        "features": spec.to_dict(),
        "generator": asdict(generator.config),
        "source": dict(source),
        "licence": LICENCE,
    }
    write_tensors(path, {**tensors, **statistics.to_tensors()}, {"vocoder": json.dumps(about)})


def load_hifigan(path: Path, device: str = "cpu", bfloat16: bool = False) -> HiFiGAN:
    """Read what ``save_hifigan`` wrote.

    Raises:
        SlmEvalError: the file is damaged, or no converted vocoder.
    """
    from slm_eval.weights.ledger import file_digest

    if path.suffix != ".safetensors":
        raise SlmEvalError(
            f"{path} must be a converted vocoder, got a name that does not end in .safetensors; make one of it with "
            "slm-zoo convert-vocoder"
        )
    tensors = load_tensors(path)
    spec, config = _metadata(path)
    statistics = Normalizer.from_tensors({name: tensors.pop(name) for name in ("mean", "scale") if name in tensors})
    with torch.device("meta"):
        generator = Generator(config)
    require_tensors(tensors, {name: tuple(tensor.shape) for name, tensor in generator.state_dict().items()}, str(path))
    generator.load_state_dict(tensors, assign=True)
    return HiFiGAN(generator, statistics, spec, file_digest(path)[:16], device, bfloat16)


def require_tensors(tensors: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Check that exactly the tensors of ``shapes`` are there, with finite values.

    Raises:
        SlmEvalError: naming the first that is missing, unexpected or of another shape, and how many.
    """
    hint = "give the checkpoint of a generator with these parameters"
    for what, names in (("lacks", shapes.keys() - tensors.keys()), ("has unexpected", tensors.keys() - shapes.keys())):
        if names:
            raise SlmEvalError(
                f"{where} {what} {len(names)} of {len(shapes)} tensors, {min(map(str, names))} first; {hint}"
            )
    for name, shape in shapes.items():
        tensor = tensors[name]
        if not isinstance(tensor, Tensor) or tuple(tensor.shape) != shape:
            shape_read = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise SlmEvalError(f"{where}: {name} is {shape_read}, expected shape {shape}; {hint}")
        if not bool(torch.isfinite(tensor).all()):
            raise SlmEvalError(f"{where}: {name} has values that are NaN or infinite; use another checkpoint")


def _metadata(path: Path) -> tuple[FeatureSpec, GeneratorConfig]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get("vocoder", "{}")
    try:
        about = parse(text)
        if about.get("format") != FORMAT:
            raise SlmEvalError(
                f"{path} must be a converted vocoder of format {FORMAT}, got {about.get('format')!r:.80}; "
                "make one with slm-zoo convert-vocoder"
            )
        features, generator = dict(about["features"]), dict(about["generator"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SlmEvalError(f"{path} does not say what it is ({error}); convert the vocoder again") from error
    return FeatureSpec.from_dict(features), GeneratorConfig.from_dict(generator)
