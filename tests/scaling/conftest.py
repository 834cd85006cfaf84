"""Fits that several modules read, made once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.scaling.commands import fit, noisy_fit
from tests.scaling.made_sweep import BUDGETS, sweep


@pytest.fixture(scope="session")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A sweep with seeds, noise and metrics, its largest budget held out."""
    return noisy_fit(tmp_path_factory.mktemp("noisy"))


@pytest.fixture(scope="session")
def exact(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Noise-free runs on the published surface."""
    folder = tmp_path_factory.mktemp("exact")
    return folder, fit(sweep(BUDGETS, sizes=7), folder, "--bootstrap", 0, "--no-figures")
