"""Laws of metrics, and why some have none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slm_eval.scaling import PUBLISHED, MetricLaw
from tests.scaling.commands import FOUR, fit
from tests.scaling.made_sweep import BUDGETS, add_metrics, sweep


class TestMetrics:
    def test_laws_of_metrics(self, noisy: tuple[Path, dict[str, Any]]) -> None:
        """pJSD-5 is 0.15 + 0.45 sigmoid(900 (L - 0.0075)): at 1e21 0.2526, in the limit 0.2138 (50 digits)."""
        metric = noisy[1]["metrics"]["pjsd.5@2"]
        assert metric["budgets"][-1]["metric"]["value"] == pytest.approx(0.25261758191244654, rel=0.03)
        low, high = metric["limit"]["ci95"]
        assert low < 0.21383297920521951 < high
        assert metric["quality"]["mre_train"] < 0.01
        assert metric["quality"]["mre_held_out"] < 0.03

    def test_a_metric_that_saturates_is_not_fitted(self, noisy: tuple[Path, dict[str, Any]]) -> None:
        report = noisy[1]
        assert "does not follow the loss: rank correlation" in report["not_fitted"]["dnsmos.p808@2"]
        assert set(report["metrics"]) == {"pjsd.1@2", "pjsd.5@2", "audiobox.CU@2", "pjsd.5@4"}
        assert report["columns"]["pjsd.5@2"]["isoflop"] == {"budgets": 4, "interior": 4, "steps": 3, "improved": 3}

    def test_real_speech_is_reached_where_the_curve_crosses(self, noisy: tuple[Path, dict[str, Any]]) -> None:
        metric = noisy[1]["metrics"]["pjsd.5@2"]
        compute = np.geomspace(1e15, 1e30, 200_001)
        inside = MetricLaw(**metric["law"]).optimal(compute).metric <= 0.24
        assert metric["reaches"]["C"] == pytest.approx(compute[inside.argmax()], rel=1e-3)
        assert any("pjsd.5@2 reaches real speech's band [0.05, 0.24] at C" in line for line in noisy[1]["conclusions"])
        assert noisy[1]["metrics"]["audiobox.CU@2"]["reaches"] is None  # a value without a band

    @pytest.mark.parametrize(
        ("values", "why"),
        [
            ([0.3], "measured at 1 of the fitted points"),
            ([0.5] * 12, "it is 0.5 at every point"),
            ([0.0, *np.linspace(0.1, 0.2, 11)], "its errors are relative, and it is 0 at one point"),
            ([*np.linspace(0.5, 0.2, 5)], "5 different"),
        ],
    )
    def test_why_a_metric_is_not_fitted(self, tmp_path: Path, values: list[float], why: str) -> None:
        rows = sorted(sweep((1e18, 1e19, 1e20), sizes=4), key=lambda row: -row["loss"])  # type: ignore[operator]
        for at, row in enumerate(rows):
            row["pjsd.5"] = values[at] if at < len(values) else ""
        report = fit(rows, tmp_path, "--bootstrap", 0, "--no-figures")
        assert why in report["not_fitted"]["pjsd.5"]

    def test_one_that_gets_worse_has_no_optimum(self, tmp_path: Path) -> None:
        """At the optimum of the loss it is worst, and figure 5 called that its optimum."""
        rows = add_metrics(sweep(FOUR, sizes=4))
        for row in rows:
            row["nisqa.mos"] = row["pjsd.5@2"] + 2.0  # type: ignore[operator]
        report = fit(rows, tmp_path, "--bootstrap", 0, "--no-figures")
        assert "nisqa.mos" not in report["metrics"]
        assert "higher is better, but it gets worse as the loss falls" in report["not_fitted"]["nisqa.mos"]
        assert "--metrics nisqa.mos:lower" in report["not_fitted"]["nisqa.mos"]
        turned = fit(rows, tmp_path, "--metrics", "nisqa.mos:lower", "--bootstrap", 0, "--no-figures")
        assert turned["metrics"]["nisqa.mos"]["higher_is_better"] is False

    @pytest.mark.parametrize(
        ("name", "scale", "shift", "said"),
        [
            ("pjsd.5", 1.8, 0.0, "expected values from 0 to 0.6931, got "),
            ("pjsd.5", 1.8, 0.0, "--log-base 2 takes bits"),
            ("pjsd.5", 4.0, 0.0, "expected values from 0 to 0.6931"),
            ("nisqa.mos", -2.0, 6.0, "expected values from 1 to 5, got 5."),
            ("dnsmos.ovrl", -3.0, 2.0, "expected values from 1 to 5, got 0."),
        ],
    )
    def test_values_outside_of_its_scale(
        self, tmp_path: Path, name: str, scale: float, shift: float, said: str
    ) -> None:
        rows = add_metrics(sweep(FOUR, sizes=4))
        rows = [{**row, name: scale * row["pjsd.5@2"] + shift} for row in rows]  # type: ignore[operator]
        report = fit(rows, tmp_path, "--bootstrap", 0, "--no-figures")
        assert said in report["not_fitted"][name]
        if "bits" in said:
            assert name in fit(rows, tmp_path, "--bootstrap", 0, "--no-figures", "--log-base", 2)["metrics"]

    def test_all_ten_parameters_are_determined_where_tied(self, tmp_path: Path) -> None:
        rows = add_metrics(sweep(BUDGETS[::2], sizes=5))
        report = fit(rows, tmp_path, "--tie", "--metrics", "pjsd.5@2", "--bootstrap", 0, "--no-figures")
        paper = report["metrics"]["pjsd.5@2"]["paper"]
        expected = {**vars(PUBLISHED), "low": 0.15, "high": 0.6, "L0": 0.0075, "k": 900.0}
        assert paper.pop("fixed") == []
        assert paper == pytest.approx(expected, rel=0.02)
