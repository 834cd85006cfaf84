"""The official package audiobox-aesthetics over a list of files: scores and seconds, as JSON on stdout.

    PYTHON benchmarks/peers/audiobox_peer.py --checkpoint checkpoint.pt --files files.txt [--batch-size 100]

PYTHON is one that has the package (0.0.4), torchaudio and soundfile; nothing of slm_eval is imported. It does what
the command ``audio-aes`` does: one predictor, whole files in batches, 100 by default. Two things differ, and neither
costs it time: the audio is read with soundfile and passed as tensors, since torchaudio 2.11 decodes nothing by itself;
and the scores come with their files, where the command prints them in order. Every window of every file of a batch goes
through the network at once: where that is too much memory, ``--batch-size`` makes it smaller.

The JSON: ``{"tool", "versions", "settings", "scores": {file: {"audiobox.CE": ...}}, "seconds",
"seconds_with_loading", "peak_bytes"}``. ``seconds`` is reading the files, resampling and the network;
``seconds_with_loading`` adds the imports and reading the checkpoint. A checkpoint of random weights for such runs:
``python tests/observing/quality/audiobox_standin.py checkpoint.pt``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

PACKAGES = ("audiobox_aesthetics", "torch", "torchaudio", "numpy")
AXES = ("CE", "CU", "PC", "PQ")


def run(files: list[Path], checkpoint: Path, batch_size: int = 100) -> dict[str, Any]:
    """Score files in the order given; the package raises on the first one that it cannot score.

    Args:
        files: audio that soundfile reads.
        checkpoint: checkpoint.pt as published.
        batch_size: whole files that go through the network at once.
    """
    begun = time.perf_counter()
    from audiobox_aesthetics.infer import AesPredictor

    predictor = AesPredictor(checkpoint_pth=str(checkpoint), data_col="path")
    loaded = time.perf_counter()
    rows: list[dict[str, float]] = []
    for start in range(0, len(files), batch_size):
        rows += predictor.forward([read(file) for file in files[start : start + batch_size]])
    ended = time.perf_counter()
    return {
        "tool": "audiobox-aesthetics, AesPredictor.forward",
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "settings": {"batch_size": batch_size, "device": str(predictor.device), "checkpoint": checkpoint.name},
        "scores": {
            str(file): {f"audiobox.{axis}": row[axis] for axis in AXES} for file, row in zip(files, rows, strict=True)
        },
        "seconds": ended - loaded,
        "seconds_with_loading": ended - begun,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def read(file: Path) -> dict[str, Any]:
    """A row of the package's batch: channels first, at the file's own rate."""
    import soundfile
    import torch

    samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    return {"path": torch.from_numpy(samples.T.copy()), "sample_rate": rate}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint.pt as published")
    parser.add_argument("--files", type=Path, required=True, help="a text file with one path per line")
    parser.add_argument("--batch-size", type=int, default=100, help="whole files per batch; the package's default")
    options = parser.parse_args()
    files = [Path(line) for line in options.files.read_text(encoding="utf-8").splitlines() if line.strip()]
    json.dump(run(files, options.checkpoint, options.batch_size), sys.stdout, indent=1)


if __name__ == "__main__":
    main()
