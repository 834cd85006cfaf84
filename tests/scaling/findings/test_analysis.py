"""The main path, by what a user meets: from runs on the paper's surface back to the paper's numbers."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slm_eval.scaling import PUBLISHED
from tests.scaling.commands import FOUR, QUICK, fit, invoke
from tests.scaling.made_sweep import add_metrics, sweep, write


def test_coefficients(exact: tuple[Path, dict[str, Any]]) -> None:
    for name, value in vars(PUBLISHED).items():
        assert exact[1]["loss"]["coefficients"][name] == {"value": pytest.approx(value, rel=1e-3), "ci95": None}
    assert exact[1]["loss"]["quality"]["converged"]


def test_the_order_of_rows_changes_no_byte(tmp_path: Path) -> None:
    rows = add_metrics(sweep(FOUR, sizes=5, seeds=2, noise=0.003), noise=0.005)
    texts = []
    for _ in range(2):
        fit(rows, tmp_path, "--hold-out", 1, "--metrics", "pjsd.5@2", *QUICK)
        texts.append([(tmp_path / "fit" / name).read_bytes() for name in ("fit.json", "table.md", "table.tex")])
        random.Random(1).shuffle(rows)
    assert texts[0] == texts[1]


def test_what_was_held_out_is_in_no_fit(noisy: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, report = noisy
    law = report["loss"]["law"]
    rows = [row for row in csv.DictReader((folder / "runs.csv").open()) if float(row["C"]) < 1e21]
    alone = fit(rows, tmp_path, "--bootstrap", 0, "--no-figures")  # type: ignore[arg-type]
    assert alone["loss"]["law"] == law
    held = [point for point in report["points"] if point["held_out"]]
    errors = []
    for point in held:
        fitted = (
            law["E"] + (law["A"] / point["N"] ** law["alpha"] + law["B"] / point["D"] ** law["beta"]) ** law["gamma"]
        )
        errors.append(abs(fitted / point["loss"] - 1))
    assert len(held) == 7
    assert report["loss"]["quality"]["mre_held_out"] == pytest.approx(np.mean(errors), rel=1e-9)
    assert [budget["held_out"] for budget in report["budgets"]] == [False, False, False, True]


def test_runs_that_are_in_no_budgets_have_a_law(tmp_path: Path) -> None:
    """Sizes and data drawn at random: nothing but isoFLOPs is missing."""
    rng = np.random.default_rng(0)
    sizes = np.stack([10 ** rng.uniform(6.5, 9.5, 60), 10 ** rng.uniform(9.5, 12.5, 60)], axis=1)
    rows = [{"N": n, "D": d, "loss": float(PUBLISHED(n, d))} for n, d in sizes]
    report = fit(rows, tmp_path, "--bootstrap", 0, "--no-figures")  # type: ignore[arg-type]
    assert report["loss"]["law"] == pytest.approx(vars(PUBLISHED), rel=1e-3)
    assert any("have fewer than 3 sizes" in line for line in report["warnings"])
    assert not any("every size trained" in line for line in report["conclusions"])


def test_all_sizes_equal(tmp_path: Path) -> None:
    rows = [{"N": 1e8, "D": d, "loss": float(PUBLISHED(1e8, d))} for d in np.geomspace(1e9, 1e12, 12)]
    result = invoke("fit", write(rows, tmp_path / "runs.csv"), "-o", tmp_path / "fit", *QUICK)
    assert result.exit_code == 2
    assert "all runs have the same N (1e+08)" in result.output


def test_losses_that_follow_no_law(tmp_path: Path) -> None:
    """Scatter of 5 % and nothing else. Where the optimum is at no size that is a number, it is an error."""
    for seed, status in ((3, 0), (4, 1)):
        rng = np.random.default_rng(seed)
        rows = [{**row, "loss": float(np.exp(0.05 * rng.normal()))} for row in sweep(FOUR)]
        result = invoke("fit", write(rows, tmp_path / "r.csv"), "-o", tmp_path / f"fit{seed}", *QUICK)
        assert result.exit_code == status
        assert "these runs support no law of the loss" in result.output
        assert "the data do not support the law" in result.output
        assert "r* = D*/N*" not in result.output.partition("these runs support no law")[2]
        assert (tmp_path / f"fit{seed}").exists() == (status == 0)
