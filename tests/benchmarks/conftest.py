"""Shards of waves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.zoo.training_runs import waves


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    waves(folder)
    return folder
