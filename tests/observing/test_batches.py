"""What goes wrong in the observer of another package is one line that names it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from slm_eval import Observer, ScoreMetric, Signal, Signature, SlmEvalError, evaluate
from tests.conftest import noise


class Theirs(Observer):
    name = "theirs"
    sample_rate = 16_000

    def __init__(self, observed: Callable[[int], list[Any]], loads: bool = True) -> None:
        self._observed, self._loads = observed, loads

    @property
    def fingerprint(self) -> Signature:
        return Signature("theirs", rev=1)

    def load(self, device: str) -> None:
        if not self._loads:
            raise OSError("no such file\nand a second line")

    def observe(self, signals: Sequence[Signal]) -> list[Any]:
        return self._observed(len(signals))


class Metric(ScoreMetric):
    name = "theirs"
    keys = ("theirs.mos",)

    def __init__(self, observer: Observer) -> None:
        super().__init__(observer)


@pytest.mark.parametrize(
    ("observer", "line"),
    [
        (
            Theirs(lambda n: [1 / 0]),
            r"^the observer 'theirs' of another package \(tests.* ZeroDivisionError: division",
        ),
        (Theirs(lambda n: [], loads=False), r"failed: OSError: no such file; what was observed is kept"),
        (Theirs(lambda n: []), r"observe\(\) must return one result per clip, got 0 for 1"),
        (Theirs(lambda n: [{"scores": {"theirs.mos": math.nan}}] * n), r"got of a\.wav: Out of range float"),
        (Theirs(lambda n: [{"scores": {"theirs.mos": object()}}] * n), r"got of a\.wav: Object of type object"),
    ],
)
def test_an_observer_that_fails_is_one_line(
    tmp_path: Path, write_wav: Callable[..., Path], observer: Observer, line: str
) -> None:
    folder = write_wav(tmp_path / "speech" / "a.wav", noise(1.0)).parent
    with pytest.raises(SlmEvalError, match=line) as raised:
        evaluate(folder, folder, metrics=[Metric(observer)])
    assert "\n" not in str(raised.value)
