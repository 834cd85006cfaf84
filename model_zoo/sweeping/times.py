"""How long a sweep takes: as measured on its own finished runs, or as declared, or as a GPU is expected to reach."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from model_zoo.cdslm.flops import Tokens, parameter_count, training_flops
from model_zoo.planning.gpus import Gpu, expected_mfu
from model_zoo.sweeping.spec import PlannedRun, Sweep
from slm_eval.base.errors import UsageError


@dataclass(frozen=True)
class Throughput:
    """True operations a second of a training, and seconds of scoring a model.

    Attributes:
        gpu, gpus: what is expected of where nothing was declared or measured.
        declared: true operations a second, of any size.
        measured: parameters -> true operations a second.
        scoring: seconds for one model, where a model was scored.
    """

    gpu: Gpu
    gpus: int = 1
    declared: float | None = None
    measured: Mapping[int, float] = field(default_factory=dict)
    scoring: float = 0.0

    @classmethod
    def from_runs(
        cls, sweep: Sweep, rows: Mapping[str, Mapping[str, str]], gpu: Gpu, gpus: int = 1, declared: float | None = None
    ) -> Throughput:
        """Return the speed that runs of the table had, or that is declared or expected.

        Args:
            rows: of the sweep's table, by run.

        Raises:
            UsageError: a declared throughput that is not above 0.
        """
        if declared is not None and not declared > 0:
            raise UsageError(f"a throughput must be above 0 operations a second, got {declared}")
        work: dict[int, float] = {}
        spent: dict[int, float] = {}
        scored = []
        for run in sweep.runs:
            row = rows.get(run.name)
            if row is not None:
                size = parameter_count(run.config.model)
                work[size] = work.get(size, 0.0) + true_flops(run)
                spent[size] = spent.get(size, 0.0) + float(row["seconds"])
                scored.append(float(row["scoring_seconds"]))
        measured = {size: done / spent[size] for size, done in work.items() if spent[size] > 0}
        return cls(gpu, gpus, declared, measured, sum(scored) / len(scored) if scored else 0.0)

    def seconds(self, run: PlannedRun) -> float:
        """Return the time of training and scoring. A size that was not measured is as fast as the nearest that was."""
        size = parameter_count(run.config.model)
        if self.measured:
            rate = self.measured[min(self.measured, key=lambda parameters: abs(math.log(parameters / size)))]
        else:
            rate = self.declared or self.gpu.peak * self.gpus * expected_mfu(run.config.model.d / 128)
        return true_flops(run) / rate + self.scoring


def true_flops(run: PlannedRun) -> float:
    """Count the operations of its training."""
    model = run.config.model
    return float(run.config.steps * run.config.batch * training_flops(model, Tokens.from_config(model)))


def affordable(sweep: Sweep, throughput: Throughput, seconds: float, done: Mapping[str, object]) -> Sweep:
    """Keep the cheapest budgets that fit one after the other into the time that is left, whole budgets only.

    Args:
        done: names of runs that take no more time.

    Raises:
        UsageError: an ablation, which has no budgets, or not even the smallest budget fits.
    """
    if not sweep.budgets:
        raise UsageError("--hours chooses among budgets, and an ablation has none; leave it out")
    chosen, left = [], seconds
    for budget in sweep.budgets:
        left -= sum(throughput.seconds(run) for run in sweep.runs if run.budget == budget and run.name not in done)
        if left < 0:
            break
        chosen.append(budget)
    if not chosen:
        raise UsageError(
            f"not even the smallest budget fits into {seconds / 3600:g} h: it takes {(seconds - left) / 3600:.2g} h"
        )
    return sweep.within(chosen)
