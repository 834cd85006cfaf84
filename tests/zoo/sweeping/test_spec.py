"""What the file of a sweep means, and which files mean nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from model_zoo.cdslm.flops import parameter_count
from model_zoo.cli.main import main
from model_zoo.sweeping.spec import Scoring, read_sweep
from tests.zoo.sweeping.made_sweeps import CONFIGS


def test_an_isoflop_grid(write: Callable[..., Path]) -> None:
    path = write(
        set={"batch": 4},
        sizes={"wide": {"model": {"width": 32}}},
        budgets=[{"flops": "3e10", "sizes": ["wide"]}, {"flops": 1e10, "sizes": ["wide", "L2"], "seeds": 2}],
        seeds=1,
    )
    plan = read_sweep(path, ["optimizer.learning_rate=3e-4"])
    names = [f"1e10-{size}-seed{seed}" for size in ("wide", "L2") for seed in (0, 1)]
    assert [run.name for run in plan.runs] == [*names, "3e10-wide-seed0"]  # cheap ones first
    assert plan.table == "RUNS.csv"
    assert plan.budgets == [1e10, 3e10]
    for run in plan.runs:
        model = run.config.model
        assert (model.layers, model.d) == ((1, 32) if "wide" in run.name else (2, 16))
        assert run.name.endswith(f"seed{run.config.seed}")
        assert run.config.optimizer.learning_rate == 3e-4
        assert run.config.batch == 4
        # D = C / 6N in whole steps of 4 windows of 30 tokens.
        assert run.tokens == run.config.steps * 4 * 30
        assert run.budget is not None
        assert abs(run.budget / (6 * parameter_count(model)) - run.tokens) <= 4 * 30 / 2
        assert run.config.optimizer.warmup_steps == min(2, run.config.steps // 10)


def test_a_number_of_sizes_is_rungs_around_the_compute_optimal_one(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(f"config: {CONFIGS / 'ladder' / 'L4.yaml'}\nbudgets: [{{flops: 1.0e+20, sizes: 3, seeds: 3}}]")
    plan = read_sweep(path)
    assert {run.config.model.layers for run in plan.runs} == {5, 7, 11}
    assert len(plan.runs) == 9
    assert plan.scoring == Scoring()


def test_the_ablations_of_the_paper() -> None:
    """Section 5: d = 1024, L = 8, 512,000 hours, 0.25 to 1.5 M hours, k 1 to 6, schedules by ZTSNR, T."""
    plans = {path.stem: read_sweep(path, ["data.shards=x"]) for path in (CONFIGS / "ablations").iterdir()}
    assert plans.keys() == {"duration", "patch", "schedule", "timesteps"}
    for name, plan in plans.items():
        assert plan.varied == name
        assert plan.table == f"{name}.csv"
        assert plan.scoring.guidance == (2.0, 4.0)
        for run in plan.runs:
            assert (run.config.model.layers, run.config.model.d) == (8, 1024)
            assert sum(other.setting == run.setting for other in plan.runs) == 3  # seeds
            assert run.config.data.shards == "x"
        if name != "duration":
            assert {run.config.steps for run in plan.runs} == {180_000}  # 512,000 h x 3600 / (256 x 40 s)
    first = {name: [run for run in plan.runs if run.config.seed == 0] for name, plan in plans.items()}
    heard = [run.config.steps * 256 * 40 / 3600 for run in first["duration"]]
    assert heard == pytest.approx([0.25e6, 0.5e6, 0.75e6, 1e6, 1.25e6, 1.5e6], rel=1e-5)
    assert [run.config.model.patch for run in first["patch"]] == [1, 2, 3, 4, 5, 6]
    assert [run.config.diffusion.steps for run in first["timesteps"]] == [100, 500, 1000, 2000, 4000]
    tried = {(run.config.diffusion.schedule, run.config.diffusion.zero_terminal_snr) for run in first["schedule"]}
    kinds = ("linear", "cosine", "exponential", "exponential_beta")
    assert tried == {(kind, zero) for kind in kinds for zero in (True, False)}
    assert {run.setting for run in first["schedule"]} == {f"{kind}{end}" for kind in kinds for end in ("", "+ztsnr")}


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({}, "give budgets (an isoFLOP grid) or varied and settings"),
        ({"varied": "x", "budgets": [{"flops": 1, "sizes": ["L1"]}]}, "give both or neither"),
        ({"budget": []}, "did you mean 'budgets'"),
        ({"budgets": []}, "give budgets (an isoFLOP grid)"),
        ({"budgets": 3}, "budgets must be a list, got 3"),
        ({"budgets": [3]}, "budgets[0] must be keys and values, got 3"),
        ({"budgets": [{"sizes": ["L1"]}]}, "budgets[0] lacks flops"),
        ({"budgets": [{"flops": 1e10, "sizes": []}]}, "sizes at least 1"),
        ({"budgets": [{"flops": 1e10, "sizes": ["L31"]}]}, "unknown size"),
        ({"budgets": [{"flops": -1, "sizes": ["L1"]}]}, "budgets[0]: flops must be above 0"),
        ({"budgets": [{"flops": 1e10, "sizes": ["L1"], "seed": 3}]}, "did you mean 'budgets[0].seeds'"),
        ({"budgets": [{"flops": 1e10, "sizes": 31}]}, "budgets[0]: sizes must be 1 to 30 rungs, got 31"),
        (
            {"budgets": [{"flops": 1e10, "sizes": ["L1"], "seeds": 1.5}]},
            "budgets[0].seeds must be a whole",
        ),
        ({"budgets": [{"flops": 1e10, "sizes": ["L1"]}] * 2}, "two runs are called 1e10-L1-seed0"),
        (
            {"budgets": [{"flops": 1e10, "sizes": ["L1"]}], "sizes": {"L1": {"seed": 1}}},
            "follows from the sweep's seeds",
        ),
        ({"budgets": [{"flops": 1e10, "sizes": ["L1"]}], "set": {"model.layer": 1}}, "did you mean 'model.layers'"),
        ({"budgets": [{"flops": 1e10, "sizes": ["L1"]}], "score": {"guide": 1}}, "did you mean 'score.guidance'"),
        ({"budgets": [{"flops": 1e10, "sizes": ["L1"]}], "config": "none.yaml"}, "there is no configuration"),
        ({"varied": "loss", "settings": {"a": {}}}, "of no other column, got 'loss'"),
        ({"varied": "x", "settings": {"a": 3}}, "setting a must be keys and values, got 3"),
        ({"varied": "x", "settings": {"a": {"hours": "many"}}}, "setting a: hours must be a number, got 'many'"),
    ],
)
def test_a_file_that_means_nothing_is_refused(write: Callable[..., Path], keys: dict[str, Any], told: str) -> None:
    done = CliRunner().invoke(main, ["sweep", str(write(**keys)), "-o", "x", "--dry-run"])
    assert done.exit_code == 2
    assert told in " ".join(done.output.split())
