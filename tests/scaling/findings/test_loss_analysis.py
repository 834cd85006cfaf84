"""Consequences of the law of the loss; goldens calculated with 50 digits from the published coefficients."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slm_eval.scaling import LossLaw, bootstrap_loss_law
from tests.scaling.commands import FOUR, fit, invoke
from tests.scaling.made_sweep import sweep, write


def test_optimum_curvature_and_range_of_the_largest_budget(exact: tuple[Path, dict[str, Any]]) -> None:
    golden = {
        "N": 824332649.50518424, "D": 202183750415.21208, "r": 245.26961359176462, "loss": 0.0061450922657710169,
        "curvature_log": 1.0255960474104856e-4, "curvature_linear_N": 1.5092853e-22,
        "curvature_linear_D": 2.5089028e-27, "width_N": 3.8844201e10, "width_D": 2.0994389e13, "decades": 3.689758,
    }  # fmt: skip
    largest = exact[1]["loss"]["budgets"][-1]
    assert {name: largest[name]["value"] for name in golden} == pytest.approx(golden, rel=1e-4)
    relative = exact[1]["loss"]["relative_range"]  # 0.1 (L* - E): ln(N/N*) from -1.1547 to 1.0870
    actual = {name: relative[name]["value"] for name in ("from", "to", "decades")}
    expected = {"from": np.exp(-1.1546677372057649), "to": np.exp(1.0869601040606476), "decades": 0.97352660194}
    assert actual == pytest.approx(expected, rel=1e-4)
    assert exact[1]["loss"]["ratio"]["C"]["value"] == pytest.approx(5.7325837218810346e19, rel=1e-4)


def test_intervals_are_those_of_the_bootstrap(noisy: tuple[Path, dict[str, Any]]) -> None:
    folder, report = noisy
    with (folder / "runs.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if float(row["C"]) < 1e21]
    rows.sort(key=lambda row: (float(row["N"]) * float(row["D"]), float(row["N"]), row["seed"]))
    table = [[float(row[name]) for row in rows] for name in ("N", "D", "loss")]
    low, high = bootstrap_loss_law(*table, n=40, seed=0).interval(lambda law: law.optimal(1e20).r)
    r = report["loss"]["budgets"][2]["r"]
    assert r["ci95"] == pytest.approx([float(low), float(high)], rel=1e-9)
    # Drawn again from fit.json, which keeps 9 digits of each draw.
    result = invoke("predict", folder / "fit", "-c", 1e20, "--json")
    assert json.loads(result.output)["predictions"][0]["r"]["ci95"] == pytest.approx(r["ci95"], rel=1e-6)


@pytest.mark.parametrize(("ratio", "way"), [(1e5, "below"), (1, "above")])
def test_a_ratio_that_no_budget_near_the_runs_has(tmp_path: Path, ratio: float, way: str) -> None:
    """By the published law r* is 1e5 at C = 5e5 and 1 at 1e35."""
    result = invoke(
        "fit", write(sweep(FOUR), tmp_path / "r.csv"), "-o", tmp_path / "fit", "--ratio", ratio, "--bootstrap", 0,
        "--no-figures",
    )  # fmt: skip
    crossing = json.loads((tmp_path / "fit" / "fit.json").read_text())["loss"]["ratio"]
    assert crossing["C"] is None
    assert f"r* = {ratio:g} ({ratio / 20:g} text tokens per parameter) is not reached within" in result.output
    assert f"within a factor of 1,000 {way} the budgets." in result.output


def test_a_ratio_has_no_interval_that_leaves_all_that_was_seen(tmp_path: Path) -> None:
    """r* hardly changes with compute: such an interval went from C = 6e-78 to 0.003."""
    law = LossLaw(E=1.8172, A=477.83, B=1800, alpha=0.35, beta=0.36, gamma=1.0)
    rows = sweep(FOUR, sizes=9, noise=0.004, law=law)
    ratio = float(law.optimal(1e20).r)
    report = fit(rows, tmp_path, "--gamma", 1, "--ratio", ratio, "--bootstrap", 100, "--no-figures")
    crossing = report["loss"]["ratio"]
    assert crossing["C"] is None or crossing["C"]["ci95"] is None
    assert crossing["problem"] is not None
