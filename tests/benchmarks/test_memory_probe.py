"""The probe of memory says what it takes, and what it was not given."""

from __future__ import annotations

import sys

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks" / "speed"))
import memory_probe


@pytest.mark.parametrize(("arguments", "status", "said"), [(["--help"], 0, "FLAC"), (["a"], 2, "required: copies")])
def test_its_arguments(
    arguments: list[str], status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["memory_probe.py", *arguments])
    with pytest.raises(SystemExit) as end:
        memory_probe.main()
    assert end.value.code == status
    told = capsys.readouterr()
    assert said in told.out + told.err
