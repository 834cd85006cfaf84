"""Recordings that are made: every one its text, voices and length; a folder holds those of one seed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from model_zoo.cli.main import main
from model_zoo.speech.make import make_speech
from slm_eval.base.errors import UsageError
from slm_eval.speech.corpus import load_corpus

needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


@needs_espeak
def test_recordings(tmp_path: Path) -> None:
    lines = make_speech(tmp_path / "a", hours=0.01, minutes=0.15, workers=2)
    assert sum(line["seconds"] for line in lines) >= 36 > sum(line["seconds"] for line in lines[:-1])
    corpus = load_corpus(tmp_path / "a" / "manifest.jsonl")
    assert [clip.id for clip in corpus.clips] == [line["id"] for line in lines]
    for clip, line in zip(corpus.clips, lines, strict=True):
        assert clip.path is not None
        samples, rate = soundfile.read(clip.path)
        assert (rate, round(len(samples) / rate, 3)) == (24_000, line["seconds"])
        assert 0.02 < np.std(samples) < 0.3
        # Never digitally silent, and the words take about as long as English words do.
        assert np.abs(samples).reshape(-1)[: len(samples) // 100 * 100].reshape(-1, 100).max(axis=1).min() > 0
        words = sum(len(turn["text"].split()) for turn in line["turns"])
        assert 1.5 < words / line["seconds"] < 4
    # Interrupted and continued, with another number of workers: the same bytes.
    make_speech(tmp_path / "b", hours=0.002, minutes=0.15, workers=1)
    make_speech(tmp_path / "b", hours=0.01, minutes=0.15, workers=1)
    for line in lines:
        assert (tmp_path / "a" / line["path"]).read_bytes() == (tmp_path / "b" / line["path"]).read_bytes()


@needs_espeak
def test_a_folder_of_other_speech_is_refused(tmp_path: Path) -> None:
    command = ["make-speech", "-o", str(tmp_path), "--hours", "0.001", "--minutes", "0.05"]
    assert CliRunner().invoke(main, command).exit_code == 0
    done = CliRunner().invoke(main, [*command, "--seed", "1"])
    assert done.exit_code == 2
    assert "choose another folder" in done.output
    assert json.loads((tmp_path / "provenance.json").read_text())["seed"] == 0
    with pytest.raises(UsageError, match="above 0"):
        make_speech(tmp_path, hours=0.0)
