"""Sentences say what the numbers say."""

from __future__ import annotations

import json
from pathlib import Path

from slm_eval.scaling import PUBLISHED
from tests.scaling.commands import FOUR, fit
from tests.scaling.made_sweep import add_metrics, sweep


def test_optima_outside_of_the_sizes_trained_are_told(tmp_path: Path) -> None:
    rows = [row for row in sweep(FOUR, sizes=9) if row["N"] > 1.1 * float(PUBLISHED.optimal(row["C"]).N)]  # type: ignore
    conclusions = fit(rows, tmp_path, "--bootstrap", 0, "--no-figures")["conclusions"]
    assert any("N* is below every size trained at C = 1e+18, 1e+19, 1e+20, 1e+21" in line for line in conclusions)


def test_a_band_of_real_speech_is_not_reached_far_beyond_the_runs(tmp_path: Path) -> None:
    rows = add_metrics(sweep(FOUR, sizes=6))
    limit = fit(rows, tmp_path, "--metrics", "pjsd.5@2", "--bootstrap", 0, "--no-figures")["metrics"]["pjsd.5@2"]
    edge = limit["limit"]["value"] + 1e-4
    (tmp_path / "real.json").write_text(json.dumps({"pjsd.5": {"band": [0.0, edge]}}))
    report = fit(
        rows, tmp_path, "--metrics", "pjsd.5@2", "--bootstrap", 0, "--no-figures", "--real", tmp_path / "real.json"
    )
    assert report["metrics"]["pjsd.5@2"]["reaches"]["C"] > 1e24
    assert any("within 1,000 times the largest budget" in line for line in report["conclusions"])
    assert "above 1e+24" in (tmp_path / "fit" / "table.md").read_text()
