"""What a sweep will do, and what of it is done, before anything is: ``slm-zoo sweep --dry-run``."""

from __future__ import annotations

from pathlib import Path

from model_zoo.cdslm.flops import parameter_count
from model_zoo.sweeping.spec import Sweep
from model_zoo.sweeping.table import RunTable
from model_zoo.sweeping.times import Throughput


def overview(plan: Sweep, output: Path, throughput: Throughput) -> str:
    """Return what a sweep will do, as a text."""
    rows = RunTable(output / plan.table, plan.varied).rows
    width = max(len(run.name) for run in plan.runs)
    lines = [f"{'run':{width}s}           N          D        C       steps        hours      time  state"]
    left = 0.0
    for run in plan.runs:
        seconds = throughput.seconds(run)
        state = "done" if run.name in rows else _state(output / "runs" / run.name)
        left += 0.0 if state == "done" else seconds
        model = run.config.model
        count = parameter_count(model)
        hours = run.config.steps * run.config.batch * (model.context_seconds + model.target_seconds) / 3600
        lines.append(
            f"{run.name:{width}s} {count:11,d} {run.tokens:10.3g} {6 * count * run.tokens:8.3g} "
            f"{run.config.steps:11,d} {hours:12,.1f} {_clock(seconds):>9}  {state}"
        )
    done = sum(run.name in rows for run in plan.runs)
    lines.append(f"{len(plan.runs)} runs, {done} done; the others take about {_clock(left)}")
    return "\n".join(lines)


def _state(folder: Path) -> str:
    if (folder / "train" / "result.json").is_file():
        return "trained"
    return "begun" if (folder / "train").is_dir() else "to do"


def _clock(seconds: float) -> str:
    return (
        f"{seconds / 3600:,.1f} h"
        if seconds >= 5400
        else f"{seconds / 60:.1f} min"
        if seconds >= 60
        else f"{seconds:.1f} s"
    )
