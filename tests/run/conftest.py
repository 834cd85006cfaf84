"""Shards and what they are made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from slm_eval.run.share import Share
from tests.run.made_shards import make, register, write_corpora


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_corpora(tmp_path_factory.mktemp("corpora"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("observed") / "observations.sqlite"


@pytest.fixture
def two(corpora: tuple[Path, Path], cache: Path, tmp_path: Path) -> list[Path]:
    return [make(corpora, Share(index=index, count=2), cache, tmp_path / f"half{index}") for index in (1, 2)]
