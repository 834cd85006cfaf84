"""Voices: different, and the same again."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_zoo.speech.make import make_speech
from model_zoo.speech.voices import Voice
from slm_eval.base.errors import SlmEvalError


def test_voices_differ_and_come_back() -> None:
    assert Voice.from_seed(0, 3) == Voice.from_seed(0, 3)
    assert len({Voice.from_seed(0, speaker) for speaker in range(50)}) > 45


def test_without_espeak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlmEvalError, match="apt-get install espeak-ng"):
        make_speech(tmp_path / "a", hours=0.01)
