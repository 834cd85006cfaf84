"""Where weights are: ``$SLM_EVAL_CACHE/weights/`` first, then their publisher. (Interface; downloads follow.)"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from slm_eval.errors import SlmEvalError, unknown_name
from slm_eval.store import cache_folder, content_digest

_PATHS = {
    "nisqa": "nisqa/nisqa.tar",
    "nisqa_tts": "nisqa/nisqa_tts.tar",
    "allosaurus": "allosaurus/uni2005",  # folder: model.pt, am_config.json, pm_config.json, lm_config.json, ...
    "audiobox": "audiobox",  # folder: model.safetensors with config.json, else checkpoint.pt
    "wav2vec2": "wav2vec2",  # folder that transformers' from_pretrained reads
}


def locate(name: str) -> Path:
    """The file or folder of a weight set, verified; downloaded where it is absent and the network may be used.

    Raises:
        UsageError: no such weight set.
        SlmEvalError: it is not to be had, or not what it should be; the line says what to do.
    """
    problem = missing(name)
    if problem is not None:
        raise SlmEvalError(problem)
    return _path(name)


def missing(name: str) -> str | None:
    """None when the set is at hand or can be fetched, else one line that says how to get it. Never uses the network."""
    path = _path(name)
    return None if path.exists() else f"the weights {name} are missing; run `slm-eval download {name}`, or put {path}"


def digest(name: str) -> str:
    """SHA-256 that identifies the set, for fingerprints.

    Raises:
        SlmEvalError: as ``locate``.
    """
    return digest_at(name, locate(name))


def digest_at(name: str, path: Path) -> str:
    """SHA-256 of a copy of the set ``name`` (or of other weights in its format) at ``path``; nothing is enforced."""
    if path.is_file():
        return content_digest(path)
    files = sorted(each for each in path.rglob("*") if each.is_file())
    lines = "".join(f"{content_digest(each)}  {each.relative_to(path).as_posix()}\n" for each in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def load_tensors(path: Path, map_location: str = "cpu") -> dict[str, Any]:
    """A checkpoint's content, read without running any code that may be in it.

    Raises:
        SlmEvalError: it is damaged, or holds more than tensors and plain values.
    """
    import torch

    return torch.load(path, map_location=map_location, weights_only=True)


def _path(name: str) -> Path:
    if name not in _PATHS:
        raise unknown_name("weights", name, _PATHS)
    return cache_folder() / "weights" / _PATHS[name]
