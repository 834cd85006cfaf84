"""Runs by themselves: optima of budgets, and runs that are in none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slm_eval.scaling import PUBLISHED, LossLaw
from tests.scaling.commands import fit, invoke
from tests.scaling.made_sweep import BUDGETS, write


def test_parabolas_are_near(exact: tuple[Path, dict[str, Any]]) -> None:
    """At sizes within a decade the vertex is at 0.910 N*, on this surface and noise-free."""
    for minimum, compute in zip(exact[1]["loss"]["isoflop"], BUDGETS, strict=True):
        assert minimum["N"] == pytest.approx(0.91 * float(PUBLISHED.optimal(compute).N), rel=0.02)
    assert exact[1]["loss"]["behaviour"] == {"budgets": 10, "interior": 10, "steps": 9, "improved": 9}


class TestBudgets:
    """A table in the style of Epoch's points of Hoffmann et al.: nine budgets whose C runs into each other."""

    LAW = LossLaw(E=1.8172, A=477.83, B=2143.4, alpha=0.34731, beta=0.36717, gamma=1.0)
    PLAN = (6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21, 3e21)

    def rows(self, shared: float) -> list[dict[str, object]]:
        rng = np.random.default_rng(0)
        planned = rng.integers(len(self.PLAN), size=240)
        C = np.array(self.PLAN)[planned] * np.exp(0.15 * rng.standard_normal(240))
        N = self.LAW.optimal(C).N * 10 ** rng.uniform(-0.9, 0.9, 240)
        D = C / (6 * N)
        noise = shared * rng.standard_normal(len(self.PLAN))[planned] + 0.004 * rng.standard_t(4, 240)
        loss = self.LAW(N, D) * np.exp(noise)
        return [
            {"N": n, "D": d, "loss": value, "budget": f"{self.PLAN[at]:g}"}
            for n, d, value, at in zip(N, D, loss, planned, strict=True)
        ]

    @pytest.mark.parametrize(("shared", "unit"), [(0.0, "point"), (0.006, "budget")])
    def test_what_is_drawn_follows_from_the_data_and_is_said(self, tmp_path: Path, shared: float, unit: str) -> None:
        rows = self.rows(shared)
        result = invoke(
            "fit",
            write(rows, tmp_path / "r.csv"),
            "-o",
            tmp_path / "fit",
            "--gamma",
            1,
            "--bootstrap",
            100,
            "--no-figures",
        )
        drawn = json.loads((tmp_path / "fit" / "fit.json").read_text())["loss"]["bootstrap"]
        assert drawn["unit"] == unit
        assert drawn["clustering"]["groups"] == 9
        assert (drawn["clustering"]["p"] < 0.2) == (unit == "budget")
        assert f"100 bootstrap fits, by {unit}: {drawn['why']}." in result.output
        assert "C differs by a factor of up to" in result.output  # within the named budgets
        assert "belong to no budget" not in result.output

    def test_without_names_budgets_are_cut_and_single_runs_said(self, tmp_path: Path) -> None:
        rows = [{key: value for key, value in row.items() if key != "budget"} for row in self.rows(0.0)]
        report = fit(rows, tmp_path, "--gamma", 1, "--bootstrap", 0, "--no-figures", "--hold-out", 1)
        alone = sum(budget["n_points"] for budget in report["budgets"] if not budget["isoflop"])
        assert 0 < alone < 60
        assert any(line.startswith(f"{alone} of 240 points belong to no budget") for line in report["warnings"])
        assert any("C is spread without gaps: budgets were cut" in line for line in report["warnings"])
        # What is held out is a budget and not the single run beyond it.
        held = [budget for budget in report["budgets"] if budget["held_out"]]
        assert held[0]["n_points"] >= 3
        assert not any(budget["isoflop"] for budget in held[1:])

    def test_a_planned_sweep_is_in_budgets(self, noisy: tuple[Path, dict[str, Any]]) -> None:
        assert not any("budget" in line for line in noisy[1]["warnings"])
        assert all(budget["isoflop"] for budget in noisy[1]["budgets"])
