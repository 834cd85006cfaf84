"""Two small corpora with good and bad clips, and runs of metrics that cost nothing on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from slm_eval.metrics.pjsd import pJSD
from slm_eval.observing.options import RunOptions
from slm_eval.run.evaluate import evaluate
from slm_eval.run.evaluation import Evaluation
from tests.conftest import noise
from tests.fakes import Loudness, SpellingObserver

Write = Callable[..., Path]


def write_corpora(folder: Path, write_wav: Write) -> tuple[Path, Path]:
    """Two folders with clips of different lengths and rates, good and bad ones."""
    for side, seed in (("gen", 0), ("real", 100)):
        for index in range(8):
            rate = (8_000, 16_000, 44_100)[index % 3]
            write_wav(folder / side / f"{index}.wav", noise(0.3 + 0.37 * index, rate, seed + index), rate)
    write_wav(folder / "gen" / "silent.wav", np.zeros(8_000))
    write_wav(folder / "gen" / "short.wav", noise(0.01))
    (folder / "gen" / "text.wav").write_text("no audio")
    return folder / "gen", folder / "real"


def run(corpora: tuple[Path, Path], **options: Any) -> Evaluation:
    metrics = [Loudness(), Loudness(rate=None), pJSD(n=(1, 2), recognizer=SpellingObserver())]
    return evaluate(*corpora, metrics=metrics, options=RunOptions(device="cpu", **options))


def as_json(evaluation: Evaluation) -> str:
    clips = [clip.to_dict() for side in evaluation.clips.values() for clip in side]
    return json.dumps([evaluation.to_dict(), clips])
