"""The list of systems of a leaderboard: the example is read, and what is wrong in a list is named."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from slm_eval.base.errors import UsageError
from tests.conftest import EXAMPLES, ROOT

sys.path.insert(0, str(ROOT / "benchmarks" / "recipes" / "leaderboard"))
from entries import read_entries
from speech import Speech

SYSTEM = {"name": "a", "generated": "a"}


def test_the_example_is_read() -> None:
    entries = read_entries(ROOT / "benchmarks" / "recipes" / "leaderboard" / "systems.yaml")
    assert entries.real == Speech(EXAMPLES / "real", "1/2")
    assert entries.settings["metrics"] == "pjsd,dnsmos"
    assert [entry.speech.degradation for entry in entries.systems] == [None, "band-limited", "noisy", "reversed", None]
    assert entries.systems[-1].notes is not None
    assert entries.systems[-1].notes.startswith("examples/README.md. Phonemes and words")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"systems": [SYSTEM]}, "lacks real"),
        ({"real": "r", "systems": []}, "systems must be a list of name and generated, got none"),
        ({"real": "r", "systems": [{"name": "a"}]}, r"systems\[0\] lacks generated"),
        ({"real": "r", "systems": [SYSTEM], "sead": 1}, "unknown key of .* 'sead'; did you mean 'seed'"),
        ({"real": "r", "systems": [SYSTEM], "seed": 1.5}, "seed must be a whole number, got 1.5"),
        ({"real": {"path": "r", "degradation": "x"}, "systems": [SYSTEM]}, "real: unknown degradation 'x'"),
        ({"real": {"path": "r", "part": "3/2"}, "systems": [SYSTEM]}, "3/2"),
        ({"real": "r", "systems": [SYSTEM, {"name": "A", "generated": "b"}]}, "names that differ in letters"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    path = tmp_path / "systems.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(UsageError, match=said):
        read_entries(path)
