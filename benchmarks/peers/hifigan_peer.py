"""The official HiFi-GAN generator on one mel, for parity and speed. Runs with the python of the package's environment.

    ENV/bin/python benchmarks/peers/hifigan_peer.py --folder FOLDER --mels mels.npy --output audio.npy [--device cpu]

The package parallel-wavegan does not import beside scipy >= 1.13, and is therefore not beside ours: it is installed
without its dependencies in an environment of Python 3.11 with scipy < 1.13, numpy < 2, setuptools < 81, torch, librosa,
soundfile, h5py, kaldiio, tensorboardX, matplotlib, pyyaml, tqdm, gdown and filelock. This script is what its
``parallel-wavegan-decode --normalize-before`` does: ``load_model``, ``remove_weight_norm``, ``inference``. It imports
nothing of slm_eval or model_zoo.

FOLDER holds checkpoint-*.pkl, config.yml and stats.h5. Prints ``{"tool", "versions", "threads"}`` when it is ready, and
then the seconds of one call for every line that it reads, so that a caller can let two programs take turns.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = ("parallel-wavegan", "torch", "numpy", "scipy")


def load(folder: Path) -> Any:
    """The model of a folder, as ``parallel-wavegan-decode`` makes it."""
    warnings.simplefilter("ignore")
    from parallel_wavegan.utils import load_model

    (checkpoint,) = folder.glob("checkpoint-*.pkl")
    model = load_model(str(checkpoint))
    model.remove_weight_norm()
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--mels", type=Path, required=True, help="raw log10 mels (frames, 80)")
    parser.add_argument("--output", type=Path, required=True, help="where the audio goes, (samples,) float32")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    import torch

    model, mels = load(options.folder).to(options.device), np.load(options.mels)

    def vocode() -> Any:
        with torch.no_grad():
            given = torch.from_numpy(mels).to(options.device)
            return model.inference(given, normalize_before=True).view(-1).cpu().numpy()

    np.save(options.output, vocode())
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    print(
        json.dumps({"tool": "parallel-wavegan", "versions": versions, "threads": torch.get_num_threads()}), flush=True
    )
    for _ in sys.stdin:
        begun = time.perf_counter()
        vocode()
        print(time.perf_counter() - begun, flush=True)


if __name__ == "__main__":
    main()
