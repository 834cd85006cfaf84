"""Shards of waves, and a run that was never stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_zoo.training.train import train
from tests.zoo.training_runs import configured, waves


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    waves(folder)
    return folder


@pytest.fixture(scope="module")
def whole(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 10 steps that was never stopped."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(configured(shards), folder, "cpu")
    return folder
