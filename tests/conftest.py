"""Shared by all tests: a cache of their own, small speech-like audio, and the real speech where it is there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples" / "data"
SHARED = ROOT.parent / "shared"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache, or reaches for the network."""
    monkeypatch.setenv("SLM_EVAL_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("SLM_EVAL_OFFLINE", "1")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Networks of tests are so small that threads only wait for each other, for long where the cores are busy."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # of programs that are started
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def times() -> int:
    """How many times as many cases the fuzzers try as in CI: SLM_EVAL_FUZZ=1000 pytest tests/fuzz."""
    return int(os.environ.get("SLM_EVAL_FUZZ", "1"))


def noise(seconds: float, rate: int = 16_000, seed: int = 0) -> np.ndarray:
    """Modulated noise, float32, shape (seconds * rate,): enough for a recogniser to hear phones in it."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    return (rng.standard_normal(time.size) * 0.1 * (1.1 + np.sin(2 * np.pi * 3 * time))).astype(np.float32)


@pytest.fixture
def write_wav() -> Callable[..., Path]:
    """write_wav(path, samples, rate=16000, **soundfile options): also makes the folder."""

    def write(path: Path, samples: np.ndarray, rate: int = 16_000, **options: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate, **options)
        return path

    return write


@pytest.fixture(scope="session")
def librispeech() -> Path:
    """The real speech; skips where it is not beside the repository."""
    folder = SHARED / "data" / "librispeech"
    if not folder.is_dir():
        pytest.skip("the real speech is not beside the repository (../shared/data/librispeech)")
    return folder


@pytest.fixture(scope="session")
def librispeech_phones() -> list[list[str]]:
    """Phones of real speech: 251 utterances of as many speakers, in the order of their ids."""
    lines = (Path(__file__).parent / "data" / "librispeech-phones.txt").read_text(encoding="utf-8").splitlines()
    return [line.split()[1:] for line in lines if not line.startswith("#")]
