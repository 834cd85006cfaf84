"""Dataclasses from plain values: every type is converted or refused, with the place and what came."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from model_zoo.values import build
from slm_eval.base.errors import UsageError


@dataclass(frozen=True)
class Inner:
    low: float = 0.0

    def __post_init__(self) -> None:
        if self.low < 0:
            raise UsageError(f"low must not be negative, got {self.low}")


@dataclass(frozen=True)
class Outer:
    count: int
    name: str | None = None
    kind: Literal["a", "b"] = "a"
    path: Path = Path()
    flag: bool = False
    sizes: int | tuple[str, ...] = 1
    inner: Inner = field(default_factory=Inner)
    several: tuple[Inner, ...] = ()
    anything: dict[str, Any] | None = None


def test_values_become_what_the_fields_say() -> None:
    values = {
        "count": "1e3",
        "name": 5,
        "kind": "b",
        "path": "x/y",
        "flag": True,
        "sizes": ["s", 2],
        "anything": {"k": []},
    }
    built = build(Outer, {**values, "inner": {"low": "2e-1"}, "several": [{"low": 1}, {}]})
    assert built == Outer(1000, "5", "b", Path("x/y"), True, ("s", "2"), Inner(0.2), (Inner(1.0), Inner()), {"k": []})
    assert type(built.count) is int
    assert build(Outer, {"count": 2, "name": None, "sizes": 3, "several": {"low": 4}}) == Outer(
        2, None, sizes=3, several=(Inner(4.0),)
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], "f.yaml must be keys and values, got []"),
        ({}, "f.yaml lacks count"),
        ({"cuont": 1}, "unknown key of f.yaml 'cuont'; did you mean 'count'?"),
        ({"count": 1.5}, "f.yaml: count must be a whole number, got 1.5"),
        ({"count": True}, "f.yaml: count must be a whole number, got True"),
        ({"count": None}, "f.yaml: count must be a whole number, got None"),
        ({"count": "inf"}, "f.yaml: count must be a whole number, got 'inf'"),
        ({"count": 1, "kind": "c"}, "unknown f.yaml: kind 'c'; there are: a, b"),
        ({"count": 1, "flag": 1}, "f.yaml: flag must be true or false, got 1"),
        ({"count": 1, "path": False}, "f.yaml: path must be a path, got False"),
        ({"count": 1, "sizes": {}}, "f.yaml: sizes must be a whole number or a list, got {}"),
        ({"count": 1, "inner": 3}, "f.yaml: inner must be keys and values, got 3"),
        ({"count": 1, "inner": {"high": 3}}, "unknown key of f.yaml 'inner.high'; did you mean 'inner.low'?"),
        ({"count": 1, "inner": {"low": -1}}, "f.yaml: inner: low must not be negative, got -1.0"),
        ({"count": 1, "several": [{}, {"low": "x"}]}, "f.yaml: several[1].low must be a number, got 'x'"),
        ({"count": 1, "anything": [1]}, "f.yaml: anything must be keys and values, got [1]"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(values: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(Outer, values, "f.yaml: ")
    assert str(caught.value) == said
