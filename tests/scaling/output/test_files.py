"""Results are written, and other results not written over."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from slm_eval.cli.main import main
from tests.scaling.commands import FOUR, QUICK, invoke
from tests.scaling.made_sweep import sweep, write


def test_without_matplotlib_the_numbers_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    runs = write(sweep(FOUR), tmp_path / "runs.csv")
    result = invoke("fit", runs, "-o", tmp_path / "fit", "--bootstrap", "0")
    assert result.exit_code == 1
    assert "no figures: figures need matplotlib; pip install 'slm-eval[scaling]'" in result.output
    assert {path.name for path in (tmp_path / "fit").iterdir()} == {"fit.json", "table.md", "table.tex"}


def test_another_fit_is_not_replaced_unasked(tmp_path: Path) -> None:
    arguments = ["fit", write(sweep(FOUR), tmp_path / "runs.csv"), "-o", tmp_path / "fit", "--no-figures"]
    assert invoke(*arguments, "--bootstrap", "0").exit_code == 0
    before = (tmp_path / "fit" / "fit.json").read_bytes()
    result = invoke(*arguments, "--bootstrap", "0", "--gamma", "1")
    assert result.exit_code == 2
    assert "--force replaces it" in result.output
    assert (tmp_path / "fit" / "fit.json").read_bytes() == before
    assert invoke(*arguments, "--bootstrap", "0", "--gamma", "1", "--force").exit_code == 0
    assert json.loads((tmp_path / "fit" / "fit.json").read_text())["loss"]["law"]["gamma"] == 1.0


def test_json_is_what_is_written(tmp_path: Path) -> None:
    runs = write(sweep(FOUR), tmp_path / "runs.csv")
    result = CliRunner().invoke(main, ["scaling", "fit", str(runs), "-o", str(tmp_path / "fit"), *QUICK, "--json"])
    assert json.loads(result.stdout) == json.loads((tmp_path / "fit" / "fit.json").read_text())
