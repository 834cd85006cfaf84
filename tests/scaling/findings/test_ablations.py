"""Each design choice moves each metric by a range that is counted by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.scaling.commands import invoke


class TestAblations:
    TABLE = "patch,seed,loss,pjsd.5@2,pjsd.5@4\n10,0,3.0,0.50,0.4\n10,1,3.2,0.54,\n2,0,2.0,0.30,0.3\n2,1,2.2,0.34,0.1\n"

    def test_the_range_of_means_over_seeds(self, tmp_path: Path) -> None:
        (tmp_path / "patch.csv").write_text(self.TABLE)
        (tmp_path / "steps.csv").write_text("T,loss\n100,2.5\n1000,2.4\n")
        result = invoke(
            "ablations", tmp_path / "patch.csv", tmp_path / "steps.csv", "-o", tmp_path / "out", "--no-figures"
        )
        assert result.exit_code == 0, result.output
        patch, steps = json.loads((tmp_path / "out" / "ablations.json").read_text())["ablations"]
        assert (patch["name"], patch["varied"], patch["settings"]) == ("patch", "patch", ["2", "10"])  # 2 before 10
        impact = patch["metrics"]["pjsd.5@2"]["impact"]
        assert (impact["best"], impact["worst"], impact["n"]) == ("2", "10", 2)
        assert impact["range"] == pytest.approx(0.52 - 0.32)
        assert impact["seed_sd"] == pytest.approx(0.04 / np.sqrt(2))
        assert patch["metrics"]["pjsd.5@4"]["mean"] == pytest.approx([0.2, 0.4])
        assert patch["metrics"]["pjsd.5@4"]["sd"][1] is None  # one seed
        assert steps["metrics"]["loss"]["impact"]["seed_sd"] is None
        assert "pjsd.5@2" not in steps["metrics"]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("loss,pjsd.5\n1,2\n", "expected what was varied in the first column, got 'loss'"),
            ("patch,layers\n1,2\n", "has no column that is a metric"),
            ("patch,loss\n1,x\n", "row 2: loss is 'x'; expected a number"),
        ],
    )
    def test_bad_tables(self, tmp_path: Path, text: str, said: str) -> None:
        (tmp_path / "a.csv").write_text(text)
        result = invoke("ablations", tmp_path / "a.csv", "-o", tmp_path / "out")
        assert result.exit_code == 2
        assert said in result.output
