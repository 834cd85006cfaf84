"""Read checkpoints without running what may be in them, and write them whole."""

from __future__ import annotations

import os
import pickle
import tarfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slm_eval.base.errors import SlmEvalError

if TYPE_CHECKING:
    import torch


def load_tensors(path: Path, map_location: str = "cpu") -> dict[str, Any]:
    """Return the content of a checkpoint: tensors, and plain values beside them. No code in it is ever run.

    Args:
        path: a safetensors file by its suffix ``.safetensors``, else whatever ``torch.save`` wrote.
        map_location: device of the tensors: "cpu", "cuda:0".

    Raises:
        SlmEvalError: the file is missing, damaged, or holds more than tensors.
    """
    if not path.is_file():
        raise SlmEvalError(f"the checkpoint {path} is missing; give the path of an existing file")
    content = _safetensors(path, map_location) if path.suffix == ".safetensors" else _pickled(path, map_location)
    if not isinstance(content, dict):
        raise SlmEvalError(
            f"{path} holds a {type(content).__name__}, expected a dictionary of tensors; use another file"
        )
    return content


def _safetensors(path: Path, map_location: str) -> dict[str, Any]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise SlmEvalError(f"reading {path.name} needs the package safetensors; pip install safetensors") from error
    try:
        return load_file(path, device=map_location)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _pickled(path: Path, map_location: str) -> Any:
    import torch

    # The tar format of torch 0.1: its reader ran code in spite of weights_only up to torch 2.5 (CVE-2025-32434).
    if tarfile.is_tarfile(path):
        raise SlmEvalError(f"{path} is a checkpoint in the tar format of before 2018; refused, save it anew with torch")
    try:
        with warnings.catch_warnings():  # torch warns of the pickle version before it refuses the content
            warnings.simplefilter("ignore")
            return torch.load(path, map_location=map_location, weights_only=True)
    except torch.cuda.OutOfMemoryError:  # a RuntimeError as well, and no fault of the file
        raise
    except pickle.UnpicklingError as error:
        if not _is_pickle(path, error):
            raise _damaged(path, "its bytes are of another format") from error
        raise SlmEvalError(f"{path} holds more than tensors; refused, since reading the rest could run code") from error
    # A cut or scribbled file makes the readers raise anything: RuntimeError of the zip reader, and whatever the next
    # wrong step of the pickle machine raises, AssertionError included.
    except Exception as error:
        raise _damaged(path, error) from error


def _is_pickle(path: Path, error: pickle.UnpicklingError) -> bool:
    """Return whether the reader met content that it does not allow, not, say, a web page saved under this name."""
    with path.open("rb") as file:
        return file.read(2) in {b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"} or "GLOBAL" in str(error)


def _damaged(path: Path, error: object) -> SlmEvalError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
    return SlmEvalError(
        f"{path} must be a checkpoint, got a damaged or another file ({reason}); delete it and get it again"
    )


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file whole, or not at all: what was there before is there until then.

    Raises:
        SlmEvalError: it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    from slm_eval.base.files import replacing

    try:
        with replacing(path) as partial:
            save_file(dict(tensors), partial, dict(metadata))
            with partial.open("rb") as file:
                os.fsync(file.fileno())
    except (OSError, SafetensorError) as error:
        raise SlmEvalError(f"cannot write {path}: {error}; free space there or choose another place") from error
