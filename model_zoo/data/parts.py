"""Parts: one file per recording that was heard, kept until its shard is written, so that a stop costs next to nothing.

A part is a safetensors file of the mels and their moments, written whole. Its checksum tells one that a power cut left
half on the disk.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path

import numpy as np

from model_zoo.data.listening import Heard
from model_zoo.data.moments import Moments
from slm_eval.base.errors import SlmEvalError


def part_path(folder: Path, recording_id: str) -> Path:
    """Return where the part of a recording lies: ids may be long, and hold slashes."""
    return folder / "parts" / f"{hashlib.blake2b(recording_id.encode(), digest_size=16).hexdigest()}.part"


def write_part(path: Path, heard: Heard) -> None:
    """Write a part, whole.

    Raises:
        SlmEvalError: it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    moments = Moments.from_frames(heard.mel)
    facts = {"digest": heard.digest, "crc32": str(zlib.crc32(heard.mel.data)), "frames": str(moments.count)}
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file({"mel": heard.mel, "mean": moments.mean, "squares": moments.squares}, partial, facts)
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        raise SlmEvalError(f"cannot write {path}: {error}; make room or choose another --output") from error
    finally:
        partial.unlink(missing_ok=True)


def read_part(path: Path) -> tuple[np.ndarray, Moments, str] | None:
    """Return mels, moments and digest; None where the part is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            facts = file.metadata()
            mel, mean, squares = (file.get_tensor(name) for name in ("mel", "mean", "squares"))
    except (OSError, SafetensorError):
        return None
    if str(zlib.crc32(np.ascontiguousarray(mel).data)) != facts["crc32"]:
        return None
    return mel, Moments(len(mel), mean, squares), facts["digest"]
