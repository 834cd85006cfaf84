"""Worker processes change nothing, and one that crashes costs one recording."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import noise
from tests.zoo.data.prepared import content, make


def test_workers_change_nothing(speech: Path, tmp_path: Path) -> None:
    make(speech, tmp_path / "none", shard_hours=1e-4)
    make(speech, tmp_path / "two", shard_hours=1e-4, workers=2)
    assert content(tmp_path / "none") == content(tmp_path / "two")


def test_a_decoder_that_crashes_costs_one_recording(
    speech: Path, tmp_path: Path, write_wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only what has to be resampled needs soxr, which here takes its process with it.
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "soxr.py").write_text("import os; os._exit(9)")
    monkeypatch.syspath_prepend(tmp_path / "broken")
    write_wav(speech / "s0" / "bad.wav", noise(0.5), 16_000)
    done = make(speech, tmp_path / "out", workers=1)
    error = "the decoder process died twice on bad.wav, the second time with status 9"
    assert done.failed == {"s0/bad.wav": {"reason": "decode_error", "error": error}}
    assert len(done.shards.recordings) == 6
