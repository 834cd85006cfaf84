"""Made speech is the same for the same seed, stays within its grammar, and sounds."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from click.testing import CliRunner

from model_zoo.cli.main import main
from model_zoo.speech.grammar import conversation
from model_zoo.speech.make import make_speech
from model_zoo.speech.voices import Voice
from slm_eval.corpus import load_corpus
from slm_eval.errors import SlmEvalError, UsageError

GRAMMAR = Path(__file__).parents[2] / "model_zoo" / "speech" / "grammar.yaml"
needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


def texts(seed: int, number: int, turns: int = 400) -> list[str]:
    return [turn.text for turn in itertools.islice(conversation(seed, number), turns)]


def test_every_name_of_the_grammar_has_phrases_and_is_used() -> None:
    table = yaml.safe_load(GRAMMAR.read_text())
    rules = {**table["turns"], **table["phrases"]}
    named = {
        name.replace("{topic}", topic)
        for phrases in rules.values()
        for phrase in phrases
        for name in re.findall(r"<([^<>]+)>", phrase)
        for topic in table["topics"]
    }
    assert named <= rules.keys()
    assert table["phrases"].keys() <= named


def test_conversations_are_functions_of_seed_and_number() -> None:
    assert texts(0, 1) == texts(0, 1)
    assert len({tuple(texts(seed, number, 20)) for seed, number in itertools.product(range(3), range(3))}) == 9
    assert not any(set("<>{}*") & set(text) for text in texts(5, 5))
    # Frozen: what was made with an earlier version must still be the same speech.
    digest = hashlib.sha256("\n".join(texts(0, 0)).encode()).hexdigest()
    assert digest[:16] == "8dd2be8e6b0d9ce8"


def test_weights_are_obeyed() -> None:
    # "2 * wonderful" among ten: 2/10 of all qualities; binomial, 5 sd wide.
    said = " ".join(" ".join(texts(1, number, 300)) for number in range(20))
    qualities = "wonderful|rather expensive|very quiet|too long|quite strange|better than before|worse than I thought"
    found = re.findall(f"{qualities}|the best of all|a bit difficult", said)
    share, sd = found.count("wonderful") / len(found), (0.16 / len(found)) ** 0.5
    # Weights of the grammar file: wonderful 2, better than before 2, seven others 1.
    assert abs(share - 2 / 11) < 5 * sd


def test_voices_differ_and_come_back() -> None:
    assert Voice.of(0, 3) == Voice.of(0, 3)
    assert len({Voice.of(0, speaker) for speaker in range(50)}) > 45


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


def test_without_espeak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlmEvalError, match="apt-get install espeak-ng"):
        make_speech(tmp_path / "a", hours=0.01)
