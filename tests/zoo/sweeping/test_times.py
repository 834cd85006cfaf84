"""How long a sweep takes, and what fits into some hours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from model_zoo.cdslm.flops import Tokens, training_flops
from model_zoo.planning.gpus import Gpu
from model_zoo.sweeping.spec import PlannedRun, Sweep, read_sweep
from model_zoo.sweeping.times import Throughput, affordable, true_flops
from model_zoo.training.config import TrainConfig
from slm_eval.base.errors import UsageError


def test_times_are_measured_or_declared_or_expected(write: Callable[..., Path]) -> None:
    sizes = {"a": {}, "b": {"model.width": 32}}
    plan = read_sweep(write(sizes=sizes, budgets=[{"flops": f, "sizes": ["a", "b"]} for f in (1e10, 2e10, 4e10)]))
    gpu = Gpu.by_name("H200")
    first = plan.runs[0]
    work = true_flops(first)
    assert work == first.config.steps * 2 * training_flops(first.config.model, Tokens(10, 20))
    assert Throughput.from_runs(plan, {}, gpu).seconds(first) == pytest.approx(
        work / (989e12 * 0.06)
    )  # below one layer
    declared = Throughput.from_runs(plan, {}, gpu, declared=1e9)
    assert declared.seconds(first) == pytest.approx(work / 1e9)
    finished = {first.name: {"seconds": "4.0", "scoring_seconds": "1.5"}}
    measured = Throughput.from_runs(plan, finished, gpu, declared=1e9)
    for run in plan.runs:  # the only size that was measured stands for both
        assert measured.seconds(run) == pytest.approx(true_flops(run) * 4 / work + 1.5)
    each = [sum(declared.seconds(run) for run in plan.runs if run.budget == budget) for budget in plan.budgets]
    assert affordable(plan, declared, each[0] + each[1], {}).budgets == [1e10, 2e10]
    assert affordable(plan, declared, each[0] + each[1] - 1e-3, {}).budgets == [1e10]
    done = {run.name: None for run in plan.runs if run.budget == 1e10}
    assert affordable(plan, declared, each[1], done).budgets == [1e10, 2e10]
    with pytest.raises(UsageError, match="not even the smallest budget fits"):
        affordable(plan, declared, each[0] / 2, {})
    with pytest.raises(UsageError, match="an ablation has none"):
        affordable(Sweep((PlannedRun("x", TrainConfig()),), varied="y"), declared, 1.0, {})
    with pytest.raises(UsageError, match="above 0"):
        Throughput.from_runs(plan, {}, gpu, declared=0.0)
