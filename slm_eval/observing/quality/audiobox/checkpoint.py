"""Where an Audiobox Aesthetics checkpoint lies, which one it is, and reading it: tensors only, each one checked.

Two forms are published: ``model.safetensors`` beside ``config.json`` (Hugging Face), and ``checkpoint.pt`` with the
configuration inside. Importing this loads no torch: a cached run asks for the digest alone.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slm_eval.base.errors import SlmEvalError
from slm_eval.base.strict_json import read_object
from slm_eval.base.tensors import load_tensors
from slm_eval.observing.quality.audiobox.shapes import AXES, expected_shapes, sizes_of
from slm_eval.weights import hub
from slm_eval.weights.locate import at_hand, digest_at, missing, offline_by
from slm_eval.weights.locate import digest as digest_of_set
from slm_eval.weights.locate import locate as locate_set

if TYPE_CHECKING:
    from torch import Tensor

NAME = "audiobox"
_LAYOUTS = (("model.safetensors", "config.json"), ("checkpoint.pt",))
_REPO_ID = re.compile(r"[\w.-]+/[\w.-]+")
_INSTALL = "install it with: pip install 'slm-eval[audiobox]'"
_ADVICE = "use the published checkpoint: `slm-eval download audiobox`"
# Defaults of AesMultiOutput, for what a config.json leaves out.
DEFAULTS = {
    "proj_num_layer": 1,
    "proj_ln": False,
    "proj_act_fn": "gelu",
    "proj_dropout": 0,
    "nth_layer": 13,
    "use_weighted_layer_sum": True,
    "normalize_embed": True,
    "output_dim": 1,
}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and found whole.

    Attributes:
        tensors: by the names of the package's ``AesMultiOutput``, float32, on the CPU.
        normalise_pooled: whether the pooled vector is scaled to unit length.
        scale: mean and standard deviation per axis, from the network's output to a score.
    """

    tensors: dict[str, Tensor]
    normalise_pooled: bool
    scale: dict[str, tuple[float, float]]


def problem(checkpoint: str | None) -> str | None:
    """Return None when the checkpoint is at hand or can be fetched, else one line. Never uses the network."""
    if checkpoint is None:
        return missing(NAME) or _reader_missing(at_hand(NAME))
    if not Path(checkpoint).exists() and not _is_repo(checkpoint):
        return f"there is no Audiobox checkpoint at {checkpoint}; give a file, a folder or a Hugging Face repository id"
    path = _at_hand(checkpoint)
    forbidden = offline_by()
    if path is None and forbidden is not None:
        return f"the checkpoint {checkpoint} is not in the Hugging Face cache; unset {forbidden} to fetch it"
    if path is None and not hub.client_installed():
        return f"fetching {checkpoint} needs huggingface_hub; {_INSTALL}"
    return _reader_missing(path)


def locate(checkpoint: str | None) -> Path:
    """Return the file or folder of a checkpoint: the weight set ``audiobox``, a path, or a Hugging Face repository id.

    Raises:
        SlmEvalError: it is not there and cannot be fetched.
    """
    if checkpoint is None:
        return locate_set(NAME)
    line = problem(checkpoint)
    if line is not None:
        raise SlmEvalError(line)
    path = _at_hand(checkpoint)
    if path is not None:
        return path
    for file in _LAYOUTS[0]:
        hub.fetch_file(checkpoint, file)
    fetched = _at_hand(checkpoint)
    if fetched is None:
        raise SlmEvalError(f"{checkpoint} was fetched but is not in the Hugging Face cache; check HF_HOME")
    return fetched


def digest(checkpoint: str | None) -> str:
    """Return the SHA-256 of the file, or over those of the folder's files that are read.

    Raises:
        SlmEvalError: as ``locate``.
    """
    if checkpoint is None:
        return digest_of_set(NAME)
    path = locate(checkpoint)
    # A safetensors file is one half: what its scores mean is in the config.json beside it.
    return digest_at(NAME, path.parent if path.name == "model.safetensors" else path)


def read(path: Path) -> Checkpoint:
    """Read a checkpoint of either form.

    Args:
        path: a folder, or a file in it.

    Raises:
        SlmEvalError: a file or tensor is missing, damaged, of a wrong shape, not finite, or holds code.
    """
    import torch

    file = _main_file(path)
    content = load_tensors(file)
    if file.suffix == ".safetensors":
        config, tensors = _read_config(file.parent / "config.json"), content
        transform = config.get("target_transform")
    else:
        lacking = [key for key in ("state_dict", "model_cfg", "target_transform") if key not in content]
        if lacking:
            raise SlmEvalError(f"{file} lacks {', '.join(lacking)}: no Audiobox Aesthetics checkpoint; {_ADVICE}")
        config, transform = content["model_cfg"], content["target_transform"]
        tensors = {name.removeprefix("model."): tensor for name, tensor in content["state_dict"].items()}
    if not isinstance(config, Mapping):
        raise SlmEvalError(f"{file}: its configuration is a {type(config).__name__}, expected a table; {_ADVICE}")
    config = {**DEFAULTS, **config}
    _check_config(file, config)
    _check_tensors(file, config, tensors)
    return Checkpoint(
        # Copied: products of matrices round differently where a file's layout leaves its tensors at odd addresses.
        {name: tensor.to(torch.float32, copy=True) for name, tensor in tensors.items()},
        bool(config["normalize_embed"]),
        _scale(file, transform),
    )


def _is_repo(checkpoint: str) -> bool:
    return _REPO_ID.fullmatch(checkpoint) is not None


def _reader_missing(path: Path | None) -> str | None:
    """Return None when the form at ``path`` (None: the one that would be fetched) can be read here, else one line."""
    if path is not None and path.exists() and _main_file(path).suffix != ".safetensors":
        return None
    return None if importlib.util.find_spec("safetensors") else f"reading the checkpoint needs safetensors; {_INSTALL}"


def _at_hand(checkpoint: str) -> Path | None:
    """Return a path that exists, or the folder of a repository in the hub's cache that holds a whole checkpoint."""
    if Path(checkpoint).exists():
        return Path(checkpoint)
    folder = hub.cached_snapshot(checkpoint)
    if folder is None or not any(all((folder / file).is_file() for file in layout) for layout in _LAYOUTS):
        return None
    return folder


def _main_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    for layout in _LAYOUTS:
        if all((path / file).is_file() for file in layout):
            return path / layout[0]
    wanted = " or ".join(" with ".join(layout) for layout in _LAYOUTS)
    raise SlmEvalError(f"{path} holds no Audiobox checkpoint: expected {wanted} in it; {_ADVICE}")


def _read_config(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise SlmEvalError(f"{path} is missing: it belongs beside model.safetensors; {_ADVICE}")
    return read_object(path, _ADVICE)


def _check_config(file: Path, config: Mapping[str, Any]) -> None:
    """Refuse what the package itself cannot run (the plain last layer, several outputs, other activations)."""
    for key, needed in (("use_weighted_layer_sum", True), ("output_dim", 1), ("proj_act_fn", "gelu")):
        if config[key] != needed:
            raise SlmEvalError(f"{file}: {key} is {config[key]!r}, expected {needed!r}; {_ADVICE}")
    for key in ("proj_num_layer", "nth_layer"):
        if not isinstance(config[key], int) or config[key] < 1:
            raise SlmEvalError(f"{file}: {key} is {config[key]!r}, expected a positive whole number; {_ADVICE}")


def _scale(file: Path, transform: Any) -> dict[str, tuple[float, float]]:
    try:
        return {axis: (float(transform[axis]["mean"]), float(transform[axis]["std"])) for axis in AXES}
    except (KeyError, TypeError, ValueError) as error:
        raise SlmEvalError(f"{file}: target_transform lacks mean and std of {', '.join(AXES)}; {_ADVICE}") from error


def _check_tensors(file: Path, config: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
    import torch

    try:
        expected = expected_shapes(sizes_of(tensors), config)
    except ValueError as error:
        raise SlmEvalError(f"{file}: {error}; {_ADVICE}") from error
    lacking, foreign = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if lacking:
        raise SlmEvalError(f"{file} lacks the tensor {lacking[0]}{_more(lacking)}; {_ADVICE}")
    if foreign:
        raise SlmEvalError(f"{file} holds {foreign[0]}{_more(foreign)}, unknown to this model; {_ADVICE}")
    for name, shape in expected.items():
        tensor = tensors[name]
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
            raise SlmEvalError(f"{file}: {name} must be a tensor of floating-point numbers; {_ADVICE}")
        if tuple(tensor.shape) != shape:
            raise SlmEvalError(f"{file}: {name} has the shape {tuple(tensor.shape)}, expected {shape}; {_ADVICE}")
        if not bool(tensor.isfinite().all()):
            raise SlmEvalError(f"{file}: {name} holds NaN or infinite values; {_ADVICE}")


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
