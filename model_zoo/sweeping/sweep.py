"""Many models trained and scored, one row of a table each: the main path of ``slm-zoo sweep``, read from top to bottom.

    SWEEP.yaml -> runs -> for each that is not in the table: train, sample, score -> a row of RUNS.csv

Killed at any moment and started again, the same command goes on where it was: rows are added whole, trainings continue
from their checkpoints, and speech that was made is kept. A run that fails is told at the end and stops no other.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_zoo.data.shards import MelShards
from model_zoo.sweeping.process import run as run_process
from model_zoo.sweeping.process import terminable, train_command
from model_zoo.sweeping.scoring import Scorer
from model_zoo.sweeping.spec import PlannedRun, Sweep
from model_zoo.sweeping.table import RUN, RunTable
from model_zoo.training.config import to_dict
from model_zoo.training.folder import read_json, write_json
from slm_eval._version import __version__
from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.lock import exclusive
from slm_eval.base.terminal import notice

# (configuration file, folder of the run, file for what is said) -> the folder holds result.json and model.safetensors
Train = Callable[[Path, Path, Path], None]


@dataclass(frozen=True)
class Outcome:
    """Names of runs by what became of them."""

    made: list[str]
    kept: list[str]  # were in the table
    failed: dict[str, str]  # name -> why, in one line


def sweep(plan: Sweep, output: Path, train: Train, device: str = "auto") -> Outcome:
    """Make every run that is not in the table yet.

    Args:
        output: folder of the table and of ``runs/``.
        train: trains one model, see ``by_command``.
        device: of sampling and scoring.

    Raises:
        UsageError: the folder holds another sweep, another command is at work in it, or there is no speech or shards.
        SlmEvalError: the table is damaged, or the folder cannot be written.
    """
    with _alone(output), terminable():
        table = RunTable(output / plan.table, plan.varied)
        scorer = Scorer(plan.scoring, device)
        claim(plan, output)
        outcome = Outcome([], [run.name for run in plan.runs if run.name in table.rows], {})
        todo = [run for run in plan.runs if run.name not in table.rows]
        for number, run in enumerate(todo, start=1):
            notice(f"{run.name} ({number} of {len(todo)})")
            try:
                table.append(make(run, output / "runs" / run.name, train, scorer, plan.varied))
            except (SlmEvalError, OSError, RuntimeError) as error:
                outcome.failed[run.name] = " ".join(str(error).split())
                notice(f"{run.name} failed: {outcome.failed[run.name]}")
            else:
                outcome.made.append(run.name)
    return outcome


def make(run: PlannedRun, folder: Path, train: Train, scorer: Scorer, varied: str | None) -> dict[str, Any]:
    """Train a model, let it speak, score it; its row.

    Raises:
        SlmEvalError: the training failed or was stopped, or what the model says cannot be scored.
    """
    trained = folder / "train"
    if not (trained / "result.json").is_file():
        train(folder / "config.yaml", trained, folder / "train.log")
        if not (trained / "result.json").is_file():
            raise SlmEvalError("the training was stopped before its end; the same command continues")
    result = read_json(trained / "result.json")
    shutil.rmtree(trained / "checkpoints", ignore_errors=True)  # were there to continue from
    start = time.monotonic()
    scores = scorer(trained / "model.safetensors", folder)
    return {
        **({} if varied is None else {varied: run.setting}),
        "N": result["parameters"],
        "D": result["tokens_seen"],
        "C": float(result["flops_6nd"]),
        "seed": result["seed"],
        "loss": float(result["loss"]),
        **scores,
        "hours": float(result["hours_seen"]),
        "seconds": float(result["seconds"]),
        "scoring_seconds": round(time.monotonic() - start, 3),
        RUN: run.name,
        "commit": _commit(),
    }


def claim(plan: Sweep, output: Path) -> None:
    """Say of every run what decides its row, before any is made; runs of another sweep are never mixed with these.

    Raises:
        UsageError: a run of this name was asked for with other values.
    """
    import yaml

    digests = {path: MelShards.open(path).digest for path in {run.config.data.shards for run in plan.runs}}
    for run in plan.runs:
        folder = output / "runs" / run.name
        asked = {"training": run.config.identity(digests[run.config.data.shards]), "score": plan.scoring.decisive}
        if (folder / "asked.json").is_file():
            there = read_json(folder / "asked.json")
            differing = [part for part in asked if there.get(part) != asked[part]]
            if differing:
                raise UsageError(
                    f"{folder} is of a run with other values ({', '.join(differing)}); take another output folder"
                )
        write_json(folder / "asked.json", asked)
        (folder / "config.yaml").write_text(yaml.safe_dump(to_dict(run.config), sort_keys=False), encoding="utf-8")


def by_command(processes: int = 1, device: str = "auto") -> Train:
    """Train by ``slm-zoo train`` in a process of its own.

    Args:
        processes: GPUs that share it, by torchrun.
    """

    def train(config: Path, output: Path, log: Path) -> None:
        run_process(train_command(config, output, processes, device), log)

    return train


def _alone(output: Path) -> AbstractContextManager[None]:
    def refuse() -> None:
        raise UsageError(f"another slm-zoo sweep is at work in {output}; wait for it, or choose another folder")

    return exclusive(output / ".lock", refuse)


def _commit() -> str:
    """Return the commit of the software, where it lies in its own repository; else its version."""
    here = Path(__file__)
    git = ["git", "-C", str(here.parent)]
    try:
        ours = subprocess.run([*git, "ls-files", "--error-unmatch", here.name], capture_output=True, check=False)
        head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    except OSError:
        return __version__
    return head.stdout.strip() if ours.returncode == head.returncode == 0 else __version__
