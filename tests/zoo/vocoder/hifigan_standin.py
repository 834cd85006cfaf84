"""A ParallelWaveGAN folder with made-up weights: checkpoint, config and statistics as its recipes publish them.

The names and shapes are written down here from ParallelWaveGAN's modules, apart from ours. The values follow from a
seed: ``numpy.random.default_rng(seed)`` in the order below. Run as a script it writes a folder and mels, for
``benchmarks/peers/hifigan_peer.py`` to vocode with the official package:

    python tests/zoo/vocoder/hifigan_standin.py FOLDER [--channels 512] [--frames 12]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import yaml

SCALES, KERNELS, DILATIONS = (5, 5, 4, 3), (3, 7, 11), (1, 3, 5)


def tensors(channels: int = 512, seed: int = 0) -> dict[str, np.ndarray]:
    """The 234 tensors of ``["model"]["generator"]``: such that signals neither vanish nor saturate."""
    rng = np.random.default_rng(seed)
    state: dict[str, np.ndarray] = {}

    def convolution(name: str, first: int, second: int, kernel: int, norm: float = 1.0) -> None:
        state[f"{name}.weight_v"] = rng.standard_normal((first, second, kernel), dtype=np.float32)
        state[f"{name}.weight_g"] = np.float32(norm) * rng.uniform(0.5, 1.0, (first, 1, 1)).astype(np.float32)

    def bias(name: str, size: int) -> None:
        state[f"{name}.bias"] = rng.uniform(-0.1, 0.1, size).astype(np.float32)

    convolution("input_conv", channels, 80, 7)
    bias("input_conv", channels)
    for i, scale in enumerate(SCALES):
        inner = channels >> (i + 1)
        convolution(f"upsamples.{i}.1", 2 * inner, inner, 2 * scale, norm=scale**0.5)
        bias(f"upsamples.{i}.1", inner)
        for j, kernel in enumerate(KERNELS):
            for m in range(len(DILATIONS)):
                for which in ("convs1", "convs2"):
                    convolution(f"blocks.{3 * i + j}.{which}.{m}.1", inner, inner, kernel)
                    bias(f"blocks.{3 * i + j}.{which}.{m}.1", inner)
    convolution("output_conv.1", 1, channels >> 4, 7, norm=2.0)
    bias("output_conv.1", 1)
    return state


def config(channels: int = 512) -> dict[str, Any]:
    """What ``egs/libritts/voc1/conf/hifigan.v1.yaml`` says of features and generator."""
    return {
        "sampling_rate": 24000,
        "fft_size": 2048,
        "hop_size": 300,
        "win_length": 1200,
        "window": "hann",
        "num_mels": 80,
        "fmin": 80,
        "fmax": 7600,
        "format": "hdf5",
        "generator_type": "HiFiGANGenerator",
        "generator_params": {
            "in_channels": 80,
            "out_channels": 1,
            "channels": channels,
            "kernel_size": 7,
            "upsample_scales": list(SCALES),
            "upsample_kernel_sizes": [2 * scale for scale in SCALES],
            "resblock_kernel_sizes": list(KERNELS),
            "resblock_dilations": [list(DILATIONS)] * 3,
            "use_additional_convs": True,
            "bias": True,
            "nonlinear_activation": "LeakyReLU",
            "nonlinear_activation_params": {"negative_slope": 0.1},
            "use_weight_norm": True,
        },
    }


def statistics() -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale (80,), about those of speech."""
    return np.linspace(-1.8, -2.6, 80, dtype=np.float32), np.linspace(0.8, 1.0, 80, dtype=np.float32)


def mels(frames: int, seed: int = 1) -> np.ndarray:
    """Raw log10 mels (frames, 80) like those of speech."""
    mean, scale = statistics()
    return (mean + scale * np.random.default_rng(seed).standard_normal((frames, 80))).astype(np.float32)


def write(folder: Path, channels: int = 512, settings: dict[str, Any] | None = None) -> Path:
    """checkpoint-1steps.pkl, config.yml and stats.h5 in ``folder``."""
    import h5py
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    generator = {name: torch.from_numpy(value) for name, value in tensors(channels).items()}
    # As bin/train.py saves it: optimizers and counters beside the models.
    content = {"model": {"generator": generator, "discriminator": {}}, "optimizer": {}, "steps": 1, "epochs": 0}
    torch.save(content, folder / "checkpoint-1steps.pkl")
    (folder / "config.yml").write_text(yaml.safe_dump(settings or config(channels)))
    with h5py.File(folder / "stats.h5", "w") as file:
        file["mean"], file["scale"] = statistics()
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--frames", type=int, default=12)
    options = parser.parse_args()
    write(options.folder, options.channels)
    np.save(options.folder / "mels.npy", mels(options.frames))


if __name__ == "__main__":
    main()
