"""The table of a sweep: whole rows, those that are there kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_zoo.sweeping.table import RunTable
from slm_eval.base.errors import SlmEvalError
from tests.zoo.sweeping.made_sweeps import rows


def test_a_table_keeps_rows_and_columns_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "RUNS.csv"
    row = {"N": 1, "D": 2, "C": 12.0, "seed": 0, "loss": 0.1, "hours": 0.5, "seconds": 1.0, "scoring_seconds": 0.0}
    RunTable(path).append(row | {"run": "a", "commit": "x", "mine@2": 1 / 3})
    RunTable(path).append(row | {"run": "b", "commit": "x", "other@2": 2.0})
    first, second = rows(path)
    assert (float(first["mine@2"]), first["other@2"]) == (1 / 3, "")
    assert (second["mine@2"], second["other@2"]) == ("", "2.0")
    path.write_text("N,D\n1,2\n")
    with pytest.raises(SlmEvalError, match="must have a column 'C' to be the table of this sweep"):
        RunTable(path)
    RunTable(tmp_path / "x.csv", "patch").append(row | {"run": "a", "commit": "x", "patch": "1"})
    assert (tmp_path / "x.csv").read_text().startswith("patch,N,D,C,seed,loss,hours")
