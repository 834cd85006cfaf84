"""Observing: batches, workers and what the cache knew change nothing, and failures are counted."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from slm_eval.base.errors import SlmEvalError
from slm_eval.base.signature import Signature
from slm_eval.metrics.scores import ScoreMetric
from slm_eval.observing.observer import Observation, Observer, Refusal, Signal
from slm_eval.observing.options import RunOptions
from slm_eval.observing.store import Store
from slm_eval.run.evaluate import evaluate
from tests.conftest import noise
from tests.fakes import Loudness
from tests.small_runs import Write, as_json, run


@pytest.mark.parametrize(
    "options", [{"workers": 1}, {"workers": 3}, {"batch_seconds": 0.5}, {"batch_seconds": 1e6, "workers": 2}]
)
def test_batches_and_workers_change_nothing(
    corpora: tuple[Path, Path], tmp_path: Path, options: dict[str, Any]
) -> None:
    reference = as_json(run(corpora, workers=0, cache=tmp_path / "one.sqlite"))
    assert as_json(run(corpora, cache=tmp_path / "other.sqlite", **options)) == reference


def test_a_second_run_observes_nothing_and_is_equal(corpora: tuple[Path, Path]) -> None:
    first = as_json(run(corpora))
    metric = Loudness()
    evaluate(*corpora, metrics=[metric])
    assert metric.observer.batches == [1]  # only the clip that it refuses: refusals are not stored
    assert as_json(run(corpora)) == first
    assert as_json(run(corpora, fresh=True)) == first


def test_what_the_cache_knew_does_not_show_in_the_order_of_scores(tmp_path: Path, write_wav: Write) -> None:
    write_wav(tmp_path / "x" / "a.wav", noise(0.5))

    def line(names: list[str], cache: str) -> str:
        evaluation = evaluate(
            tmp_path / "x", tmp_path / "x", metrics=[Named(name) for name in names],
            options=RunOptions(cache=tmp_path / cache),
        )  # fmt: skip
        return json.dumps(evaluation.clips["real"][0].to_dict())

    line(["b"], "knows_b")
    assert line(["a", "b"], "knows_b") == line(["a", "b"], "knows_nothing")


def test_a_changed_file_is_observed_again(corpora: tuple[Path, Path], write_wav: Write) -> None:
    before = run(corpora)["loudness.rms"].value
    write_wav(corpora[0] / "0.wav", noise(0.3, 8_000) * 5, 8_000)
    assert run(corpora)["loudness.rms"].value > before


def test_damaged_and_unwritable_caches_are_said_in_a_line(
    corpora: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache.sqlite"
    whole = as_json(run(corpora, cache=cache))
    with sqlite3.connect(cache) as connection:
        connection.execute("UPDATE observations SET value = replace(value, '1', '3')")
        damaged = connection.execute("SELECT count(*) FROM observations WHERE instr(value, '3')").fetchone()[0]
    assert capsys.readouterr().err == ""
    assert as_json(run(corpora, cache=cache)) == whole
    assert 0 < int(capsys.readouterr().err.split(" damaged observations in the cache ")[0]) <= damaged
    monkeypatch.setattr(Store, "_bring_up_to_date", lambda self: False)
    assert as_json(run(corpora, cache=cache)) == whole
    assert capsys.readouterr().err == f"the cache {cache} can only be read: what is observed now is not kept\n"


def test_on_error_raise_and_max_failures(corpora: tuple[Path, Path]) -> None:
    with pytest.raises(SlmEvalError, match=r"(text|silent)\.wav: .*--on-error report"):
        run(corpora, on_error="raise")
    with pytest.raises(SlmEvalError, match="more than 1 clips failed"):
        run(corpora, max_failures=1)
    assert run(corpora, max_failures=2).summaries


class Named(ScoreMetric):
    """Any number of metrics with keys of their own."""

    name = "named"

    def __init__(self, key: str) -> None:
        super().__init__(NamedObserver(key))

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.observer.key,)


class NamedObserver(Observer):
    name = "named"
    sample_rate = None

    def __init__(self, key: str) -> None:
        self.key = key

    @property
    def fingerprint(self) -> Signature:
        return Signature(self.name, key=self.key)

    def observe(self, signals: Sequence[Signal]) -> list[Observation | Refusal]:
        return [{"scores": {self.key: len(signal.samples)}} for signal in signals]
