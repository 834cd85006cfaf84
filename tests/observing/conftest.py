"""Small corpora, good and bad clips among them, for everything that observes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.small_runs import Write, write_corpora


@pytest.fixture
def corpora(tmp_path: Path, write_wav: Write) -> tuple[Path, Path]:
    return write_corpora(tmp_path, write_wav)
