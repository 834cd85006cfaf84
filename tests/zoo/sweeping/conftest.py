"""Sweeps, speech and scores for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_zoo.data.prepare import PrepareOptions, prepare
from model_zoo.speech.cut import CutOptions, cut
from tests.conftest import noise
from tests.fakes import Loudness
from tests.zoo.sweeping.made_sweeps import BASE


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """write(name="sweep.yaml", **keys): a sweep over BASE."""
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))

    def write(name: str = "sweep.yaml", **keys: Any) -> Path:
        path = tmp_path / name
        path.write_text(yaml.safe_dump({"config": "base.yaml", "score": {"guidance": []}} | keys, sort_keys=False))
        return path

    return write


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards and clips of a few seconds of noise."""
    import soundfile

    folder = tmp_path_factory.mktemp("speech")
    for at in range(8):
        (folder / "wavs").mkdir(exist_ok=True)
        soundfile.write(folder / "wavs" / f"{at}.wav", noise(3.2, 24_000, seed=at), 24_000)
    prepare([folder / "wavs"], folder / "shards", PrepareOptions(validation=0.4, workers=0))
    cut(folder / "wavs", folder / "cut", CutOptions(0.5, 1.0, clips=3, held_out=folder / "shards"))
    return folder


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model is scored by how loud it is."""
    monkeypatch.setattr("slm_eval.metrics.choosing.choose_metrics", lambda *_, **__: [Loudness()])
