"""A stand-in for the model, clips, and the official package."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import torch

from slm_eval.observing.phones.allosaurus.observer import Allosaurus
from tests.conftest import ROOT, noise
from tests.observing.phones.allosaurus.recordings import RATE, SHORT, loaded
from tests.observing.phones.allosaurus.standin import make_model


@pytest.fixture(scope="package")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "standin")


@pytest.fixture(scope="package")
def clips() -> list[np.ndarray]:
    """8 kHz signals: modulated noise, very short ones, near silence, and real speech where it is there."""
    made = [noise(seconds, RATE, seed) for seed, seconds in enumerate((3.1, 1.7, 0.5, 2.2, 4.03))]
    made += [noise(length / RATE, RATE, length) for length in SHORT]
    quiet = noise(2.0, RATE, 99)
    quiet[4000:12000] = np.round(quiet[4000:12000] * 20) / 32768  # digital silence with single bits of noise
    made += [quiet, quiet * 1e-3]
    speech = sorted((ROOT.parent / "shared/data/librispeech").glob("*.flac"))[:60:20]
    return made + [soxr.resample(soundfile.read(path, dtype="float32")[0], 16_000, RATE)[: 5 * RATE] for path in speech]


@pytest.fixture(scope="package")
def observer(model: Path) -> Allosaurus:
    return loaded(model)


@pytest.fixture(scope="package")
def official(model: Path) -> Iterator[Any]:
    pytest.importorskip("allosaurus")
    sys.path.insert(0, str(ROOT / "benchmarks/peers"))
    from allosaurus_peer import read_recognizer

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # step after step, its threads would mostly wait for each other
    yield read_recognizer(model)
    torch.set_num_threads(threads)
