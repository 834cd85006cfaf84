"""Speech of two speakers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import noise


@pytest.fixture
def speech(tmp_path: Path, write_wav: Callable[..., Path]) -> Path:
    """Six recordings of 0.4 to 0.9 s of two speakers."""
    folder = tmp_path / "speech"
    for at in range(6):
        write_wav(folder / f"s{at % 2}" / f"{at}.wav", noise(0.4 + at / 10, 24_000, seed=at), 24_000)
    return folder
