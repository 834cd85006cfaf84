"""A ParallelWaveGAN checkpoint, its config and its statistics become one safetensors file that this project loads.

What a folder of a recipe holds (``utils/utils.py``, ``load_model``): ``checkpoint-*.pkl`` with the generator under
``["model"]["generator"]``, each convolution as ``bias``, ``weight_g`` and ``weight_v`` of weight norm; ``config.yml``;
and ``stats.h5`` or ``stats.npy``, without which the generator says noise. Nothing of it is run: the checkpoint is read
as tensors, the YAML as plain values, the array without pickled objects.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_zoo.features import FeatureSpec, Normalizer
from model_zoo.plain_yaml import read_yaml
from model_zoo.vocoder.arrays import read_array
from model_zoo.vocoder.file import require_tensors, save_hifigan
from model_zoo.vocoder.hifigan import Generator, GeneratorConfig
from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.tensors import load_tensors
from slm_eval.weights.archive import unpack
from slm_eval.weights.ledger import file_digest

_MAX_BINS = 4096  # of a mel; ours have 80
_MAX_ARCHIVE_BYTES = 4_000_000_000  # a recipe's folder has below 1 GB: generator, discriminator and optimizers
# What the generator of a recipe may ask for beside ``GeneratorConfig``, and the only value that is built here.
_FIXED = {
    "out_channels": 1,
    "use_additional_convs": True,
    "bias": True,
    "nonlinear_activation": "LeakyReLU",
    "use_causal_conv": False,
    "use_weight_norm": True,
}


@dataclass(frozen=True)
class Parts:
    """The files of a recipe that a vocoder is made of."""

    checkpoint: Path
    config: Path
    statistics: Path


def convert(source: Path, output: Path, mel_floor: float | None = FeatureSpec.mel_floor) -> FeatureSpec:
    """Write the vocoder of a ParallelWaveGAN folder, or of a tar archive of one, as one safetensors file.

    Args:
        source: holds checkpoint-*.pkl, config.yml and stats.h5 or stats.npy, at any depth.
        output: ends in .safetensors.
        mel_floor: of the models that it will speak for; the recipe itself knows none.

    Returns:
        The features of the mels that it takes.

    Raises:
        UsageError: no such source, or another ending of ``output``.
        SlmEvalError: a part is missing or damaged, or it is no HiFi-GAN for our features.
    """
    if output.suffix != ".safetensors":
        raise UsageError(f"a vocoder is written as a .safetensors file, got {output.name}")
    with _folder(source) as folder:
        parts = find_parts(folder, source)
        recipe = read_config(parts.config)
        spec = features_of(recipe, parts.config)
        FeatureSpec(mel_floor=None).require_same(spec, f"the vocoder of {parts.config.name} in {source}")
        generator = read_generator(parts.checkpoint, generator_config(recipe, parts.config))
        statistics = read_statistics(parts.statistics)
        digests = {path.name: file_digest(path) for path in (parts.checkpoint, parts.config, parts.statistics)}
    spec = replace(spec, mel_floor=mel_floor)
    save_hifigan(output, generator, statistics, spec, digests)
    return spec


@contextmanager
def _folder(source: Path) -> Iterator[Path]:
    """Open the source as a folder; an archive is unpacked for as long as it is needed."""
    if source.is_dir():
        yield source
        return
    if not source.is_file():
        raise UsageError(f"{source} does not exist; expected a ParallelWaveGAN folder or a tar archive of one")
    with tempfile.TemporaryDirectory() as name:
        unpacked = Path(name, "unpacked")
        unpack(source, unpacked, _MAX_ARCHIVE_BYTES)
        yield unpacked


def find_parts(folder: Path, source: Path) -> Parts:
    """Find the one checkpoint, config and statistics below a folder.

    Raises:
        SlmEvalError: there is none of one of them, or several.
    """

    def one(what: str, *patterns: str) -> Path:
        paths = sorted(path for pattern in patterns for path in folder.rglob(pattern) if path.is_file())
        if len(paths) != 1:
            there = f"{len(paths)} ({', '.join(path.name for path in paths[:3])})" if paths else "none"
            raise SlmEvalError(f"{source} should hold one {what} ({' or '.join(patterns)}), there is {there}")
        return paths[0]

    return Parts(
        one("checkpoint", "checkpoint-*.pkl"),
        one("configuration", "config.yml", "config.yaml"),
        one("file of statistics, which checkpoints do not hold", "stats.h5", "stats.npy"),
    )


def read_config(path: Path) -> dict[str, Any]:
    """Read the YAML of a recipe, as plain values.

    Raises:
        SlmEvalError: it cannot be read, or holds more than plain values.
    """
    try:
        config = read_yaml(path)
    except UsageError as error:
        raise SlmEvalError(f"{error}; get it again") from error
    if not isinstance(config, dict) or not isinstance(config.get("generator_params"), dict):
        raise SlmEvalError(f"{path.name} has no generator_params; expected the config.yml of a ParallelWaveGAN recipe")
    return config


def features_of(recipe: Mapping[str, Any], path: Path) -> FeatureSpec:
    """Return the features of a recipe; ours are all that is fixed in them.

    Raises:
        SlmEvalError: a key is missing, or it has another window or logarithm than any FeatureSpec.
    """
    for key, ours in (("window", "hann"), ("log_base", 10.0)):
        if recipe.get(key, ours) != ours:
            raise SlmEvalError(f"{path.name}: {key} is {recipe[key]}, our features have {ours}; use another vocoder")
    names = {"sampling_rate": "sample_rate", "fft_size": "n_fft", "hop_size": "hop", "num_mels": "n_mels"}
    names |= {"win_length": "window", "fmin": "fmin", "fmax": "fmax"}
    absent = sorted(names.keys() - recipe.keys())
    if absent:
        raise SlmEvalError(
            f"{path.name} lacks {', '.join(absent)}; expected the config.yml of a ParallelWaveGAN recipe"
        )
    values = {field: recipe[key] for key, field in names.items()}
    # The recipe's own words for: as long as the transform, from 0, and up to half the sample rate.
    defaults = {"window": values["n_fft"], "fmin": 0, "fmax": values["sample_rate"] / 2}
    values |= {key: default for key, default in defaults.items() if values[key] is None}
    return FeatureSpec.from_dict({**values, "mel_floor": None})


def generator_config(recipe: Mapping[str, Any], path: Path) -> GeneratorConfig:
    """Return the generator of a recipe.

    Raises:
        SlmEvalError: it is not HiFi-GAN's, or of a kind that is not built here.
    """
    kind = recipe.get("generator_type", "ParallelWaveGANGenerator")
    if kind != "HiFiGANGenerator":
        raise SlmEvalError(f"{path.name}: the generator is {kind}, expected HiFiGANGenerator; use a HiFi-GAN recipe's")
    # Old recipes spell it so (ParallelWaveGAN #295).
    given = {str(key).replace("kernal", "kernel"): value for key, value in recipe["generator_params"].items()}
    for key, built in _FIXED.items():
        if given.pop(key, built) != built:
            raise SlmEvalError(f"{path.name}: {key} of the generator is not {built}, which is all that is built here")
    slope = given.pop("nonlinear_activation_params", {"negative_slope": 0.1})
    if not isinstance(slope, dict) or "negative_slope" not in slope:
        raise SlmEvalError(f"{path.name}: nonlinear_activation_params must hold negative_slope, got {slope!r}")
    return GeneratorConfig.from_dict({**given, "slope": slope["negative_slope"]})


def read_generator(path: Path, config: GeneratorConfig) -> Generator:
    """Read the generator of a checkpoint, weight norm folded.

    Raises:
        SlmEvalError: it is damaged, holds code, or does not hold exactly the tensors of such a generator.
    """
    content = load_tensors(path)
    model = content.get("model")
    tensors = model.get("generator") if isinstance(model, dict) else None
    if not isinstance(tensors, dict):
        raise SlmEvalError(f'{path.name} has no ["model"]["generator"]; expected a checkpoint of ParallelWaveGAN')
    with torch.device("meta"):
        generator = Generator(config)
    names = official_names(config)
    require_tensors(tensors, _official_shapes(generator, names), path.name)
    folded: dict[str, Tensor] = {}
    for ours, official in names.items():
        folded[f"{ours}.weight"] = _fold(tensors[f"{official}.weight_g"], tensors[f"{official}.weight_v"]).unsqueeze(-2)
        folded[f"{ours}.bias"] = tensors[f"{official}.bias"].float()
    require_tensors(folded, {name: tuple(tensor.shape) for name, tensor in generator.state_dict().items()}, path.name)
    generator.load_state_dict(folded, assign=True)
    return generator


def official_names(config: GeneratorConfig) -> dict[str, str]:
    """Map our module to ParallelWaveGAN's, for every convolution."""
    names = {"input_conv": "input_conv", "output_conv": "output_conv.1"}
    n_blocks = len(config.resblock_kernel_sizes)
    for i in range(len(config.upsample_scales)):
        names[f"stages.{i}.upsample"] = f"upsamples.{i}.1"
        for j, dilations in enumerate(config.resblock_dilations):
            for m in range(len(dilations)):
                for which, official in (("dilated", "convs1"), ("plain", "convs2")):
                    names[f"stages.{i}.blocks.{j}.{which}.{m}"] = f"blocks.{n_blocks * i + j}.{official}.{m}.1"
    return names


def _official_shapes(generator: Generator, names: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    state = generator.state_dict()
    for ours, official in names.items():
        first, second, _, kernel = state[f"{ours}.weight"].shape
        shapes[f"{official}.weight_v"] = (first, second, kernel)
        # torch's weight_norm has one norm per slice of dimension 0, which in transposed convolutions are the inputs.
        shapes[f"{official}.weight_g"] = (first, 1, 1)
        shapes[f"{official}.bias"] = tuple(state[f"{ours}.bias"].shape)
    return shapes


def _fold(norm: Tensor, direction: Tensor) -> Tensor:
    direction = direction.double()
    return (norm.double() * direction / direction.norm(dim=(1, 2), keepdim=True)).float()


def read_statistics(path: Path) -> Normalizer:
    """Read mean and scale of the mels that a recipe trained on: ``stats.h5`` (datasets) or ``stats.npy`` (two rows).

    Raises:
        SlmEvalError: it is damaged, or holds something else.
    """
    try:
        mean, scale = _h5_rows(path) if path.suffix == ".h5" else read_array(path)
        rows = [torch.from_numpy(np.array(row, dtype=np.float32).reshape(-1)) for row in (mean, scale)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SlmEvalError(f"{path.name} holds no mean and scale ({error}); get it again") from error
    return Normalizer(*rows)


def _h5_rows(path: Path) -> tuple[np.ndarray, np.ndarray]:
    import h5py

    with h5py.File(path, "r") as file:
        return _h5_row(file, "mean"), _h5_row(file, "scale")


def _h5_row(file: Any, name: str) -> np.ndarray:
    """Read a small dataset of numbers that lies in this file itself: HDF5 can also lead into any other file.

    Raises:
        ValueError: it is something else.
    """
    import h5py

    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is a link")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{name} must be a dataset, got a {type(dataset).__name__}")
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{name} must be a dataset of this file, got one whose values are in others")
    if dataset.dtype.kind != "f" or dataset.size is None or not 0 < dataset.size <= _MAX_BINS:
        raise ValueError(f"{name} holds {dataset.size} of {dataset.dtype}, expected 1 to {_MAX_BINS} floats")
    row: np.ndarray = dataset[()]
    return row
