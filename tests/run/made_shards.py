"""Speech and metrics of which shards are made: observers and metrics of a third party, and broken clips."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from slm_eval.base.errors import SlmEvalError
from slm_eval.base.signature import Signature
from slm_eval.metrics import registry
from slm_eval.metrics.metric import Metric, NotComputed, Summary
from slm_eval.metrics.pjsd import pJSD
from slm_eval.metrics.scores import ScoreMetric
from slm_eval.observing.observer import Observation, Observer, Refusal, Signal
from slm_eval.observing.options import RunOptions
from slm_eval.run.evaluate import evaluate
from slm_eval.run.files import write_run
from slm_eval.run.merging import merge
from slm_eval.run.shards import observe_share, read_shard, write_shard
from slm_eval.run.share import Share
from tests.conftest import noise
from tests.fakes import LoudnessObserver, SpellingObserver


class EmbeddingObserver(Observer):
    """An observation that no built-in metric knows; weights that are not here once they have been used."""

    name = "embedding"
    sample_rate = 8_000

    @property
    def fingerprint(self) -> Signature:
        if os.environ.get("NO_WEIGHTS"):
            raise SlmEvalError("the weights are not here")
        return Signature(self.name, rate=self.sample_rate)

    def observe(self, signals: Sequence[Signal]) -> list[Observation | Refusal]:
        return [{"vector": [float(np.mean(s.samples)), float(np.std(s.samples))]} for s in signals]


class Drift(Metric):
    """A metric over corpora with an option of its own: the distance of the mean embeddings, times a factor."""

    name = "drift"
    keys = ("drift.l2",)

    def __init__(self, factor: str = "1") -> None:
        super().__init__(EmbeddingObserver(), device="cpu")
        self.factor = float(factor)

    @property
    def options(self) -> dict[str, Any]:
        return {"factor": str(self.factor)}

    def summarise(
        self, generated: Sequence[Observation], real: Sequence[Observation]
    ) -> dict[str, Summary | NotComputed]:
        centres = [np.mean([seen["vector"] for seen in side], axis=0) for side in (generated, real)]
        value = self.factor * float(np.linalg.norm(centres[0] - centres[1]))
        return {"drift.l2": Summary("drift.l2", value, None, "", False, f"drift|factor:{self.factor}", ())}


class Loud(ScoreMetric):
    """Loudness, which refuses short clips."""

    name = "loud"
    keys = ("loudness.rms",)

    def __init__(self) -> None:
        super().__init__(LoudnessObserver(), device="cpu")


class Spelled(pJSD):
    """pJSD of what the fake recogniser hears, by a name, so that shards find it again."""

    name = "spelled"

    def __init__(self, n: int | list[int] = (1, 2), log_base: Any = "e", seed: int = 0) -> None:  # type: ignore[assignment]
        super().__init__(n, SpellingObserver(), log_base=log_base, seed=seed)


def metrics() -> list[Metric]:
    return [Loud(), Drift("0.1"), Spelled(seed=3)]


def make(corpora: tuple[Path, Path], share: Share, cache: Path, folder: Path, *asked: Metric) -> Path:
    """A shard's folder."""
    shard = observe_share(*corpora, share, asked or metrics(), RunOptions("cpu", workers=0, cache=cache), named=True)
    write_shard(shard, folder)
    return folder


def written(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "summary.json").read_bytes(), (folder / "clips.jsonl").read_bytes()


def whole(corpora: tuple[Path, Path], cache: Path, folder: Path) -> tuple[bytes, bytes]:
    write_run(evaluate(*corpora, metrics=metrics(), options=RunOptions("cpu", workers=0, cache=cache)), folder)
    return written(folder)


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the metrics known by their names, as entry points would, so that merging finds them again."""
    for metric in (Drift, Loud, Spelled):
        monkeypatch.setitem(registry.METRICS, metric.name, f"{__name__}:{metric.__name__}")


def write_corpora(root: Path) -> tuple[Path, Path]:
    """Clips of several lengths; silent, refused and broken ones; the same bytes twice on a side and on both sides."""
    for side, seed, count in (("gen", 0, 5), ("real", 100, 4)):
        (root / side).mkdir()
        for index in range(count):
            soundfile.write(root / side / f"{index}é.wav", noise(0.2 + 0.11 * index, seed=seed + index), 16_000)
    soundfile.write(root / "gen" / "silent.wav", np.zeros(8_000), 16_000)
    soundfile.write(root / "gen" / "short.wav", noise(0.01), 16_000)
    for name in ("gen/broken a.wav", "gen/z broken.wav", "real/broken.wav"):
        (root / name).write_text("no audio")  # its message names one file, and has to name the same one when merged
    for name in ("gen/a copy.wav", "real/copy.wav"):
        shutil.copy(root / "gen" / "3é.wav", root / name)
    return root / "gen", root / "real"


def refused(shards: Sequence[Path]) -> str:
    """The one line that merging says."""
    with pytest.raises(SlmEvalError) as caught:
        merge([read_shard(folder) for folder in shards])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def slurm(task: int, first: int, last: int, count: int, step: int) -> dict[str, str]:
    """The variables of one task of a SLURM array."""
    values = {"ID": task, "MIN": first, "MAX": last, "COUNT": count, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{part}": str(value) for part, value in values.items()}
