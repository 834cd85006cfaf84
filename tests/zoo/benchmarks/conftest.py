"""Shards of waves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.zoo.training_runs import waves

sys.path.insert(0, str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    waves(folder)
    return folder
