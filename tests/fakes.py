"""Metrics that cost nothing, to test what carries them. Workers import this module by its name."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slm_eval.base.signature import Signature
from slm_eval.metrics.scores import ScoreMetric
from slm_eval.observing.observer import Observation, Observer, Refusal, Signal


class LoudnessObserver(Observer):
    """Root mean square; refuses clips under 50 ms; counts what it was given."""

    name = "loudness"

    def __init__(self, rate: int | None = 16_000, seconds_per_batch: float = 0.0) -> None:
        self.sample_rate = rate
        self.seconds_per_batch = seconds_per_batch
        self.batches: list[int] = []

    @property
    def fingerprint(self) -> Signature:
        return Signature(self.name, rate=self.sample_rate)

    def observe(self, signals: Sequence[Signal]) -> list[Observation | Refusal]:
        self.batches.append(len(signals))
        time.sleep(self.seconds_per_batch)
        return [self._one(signal) for signal in signals]

    def _one(self, signal: Signal) -> Observation | Refusal:
        if len(signal.samples) < 0.05 * signal.sample_rate:
            return Refusal("too_short", "loudness needs 50 ms")
        return {"scores": {"loudness.rms": float(np.sqrt(np.mean(signal.samples.astype(np.float64) ** 2)))}}


class Loudness(ScoreMetric):
    """loudness.rms"""

    name = "loudness"
    unit = "full scale"

    def __init__(self, rate: int | None = 16_000, seconds_per_batch: float = 0.0) -> None:
        super().__init__(LoudnessObserver(rate, seconds_per_batch), device="cpu")

    @property
    def keys(self) -> tuple[str, ...]:
        return ("loudness.rms",)


class SpellingObserver(Observer):
    """A recogniser in the workers: the phones spell the number of samples. Dies on clips of exactly 1 s."""

    name = "spelling"
    sample_rate = 8_000
    in_worker = True
    observes_phones = True

    def __init__(self, dies: bool = False) -> None:
        self.dies = dies

    @property
    def fingerprint(self) -> Signature:
        return Signature(self.name)

    def observe(self, signals: Sequence[Signal]) -> list[Observation | Refusal]:
        if self.dies and any(len(signal.samples) == 8_000 for signal in signals):
            os._exit(3)
        return [{"phones": list(str(len(signal.samples)))} for signal in signals]


class KilledObserver(SpellingObserver):
    """Is killed on clips of exactly 1 s, as the kernel does where memory is short, so often in all.

    Args:
        notes: a folder, in which each time is noted.
    """

    def __init__(self, notes: Path, times: int) -> None:
        super().__init__()
        self.notes, self.times = notes, times

    def observe(self, signals: Sequence[Signal]) -> list[Observation | Refusal]:
        before = len(list(self.notes.iterdir()))
        if before < self.times and any(len(each.samples) == 8_000 for each in signals):
            (self.notes / str(before)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().observe(signals)


class FailingObserver(SpellingObserver):
    """A recogniser with a bug."""

    def observe(self, signals: Sequence[Signal]) -> list[Observation | Refusal]:
        raise ZeroDivisionError("a bug")
