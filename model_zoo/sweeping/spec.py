"""A sweep as YAML: which models are trained, for how long, with which seeds, and how they are scored.

An isoFLOP grid is a list of budgets with the sizes and the number of seeds of each:

    config: ../ladder/L4.yaml            # what all runs have in common; relative to this file
    set: {batch: 64}                     # values over it
    sizes:                               # besides L1 ... L30, the rungs of the ladder
      small: {model: {layers: 2, width: 192}}
    budgets:                             # FLOPs, 6ND; `sizes` may be a number: rungs around the compute-optimal one
      - {flops: 1.0e+18, sizes: [L2, L3, small], seeds: 3}
    score: {speech: cut, guidance: [2, 4]}

An ablation is one choice with its settings, each a handful of values, trained for equally long:

    config: ../ladder/L8.yaml
    varied: patch                        # first column of the table, patch.csv
    settings: {1: {model.patch: 1}, 2: {model.patch: 2}}
    hours: 512000                        # of speech heard; a setting may have its own
    seeds: 3

Both are read into the same list of runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from model_zoo.cdslm.flops import Tokens, parameter_count
from model_zoo.plain_yaml import read_yaml
from model_zoo.planning.ladder import LAYERS, duration, warmup
from model_zoo.planning.plan import iso_flop_layers
from model_zoo.sweeping.table import COLUMNS
from model_zoo.training.config import TrainConfig, load_config
from model_zoo.values import build, convert
from slm_eval.base.errors import UsageError, unknown_name
from slm_eval.scaling.law import FLOPS_PER_TOKEN

_HOW = ("batch", "workers")  # of scoring: they decide nothing
_FOLLOWS = {"seed": "seeds", "steps": "budgets or hours"}  # keys of a configuration that a sweep sets itself


@dataclass(frozen=True)
class Scoring:
    """How each model is made to speak, and compared with what was really said.

    Raises:
        UsageError: a number out of range.
    """

    speech: Path | None = None  # a folder of ``slm-zoo cut``
    clips: int | None = None  # of it; None: all
    guidance: tuple[float, ...] = (2.0, 4.0)  # [paper] weak and strong; none: only the loss is wanted
    steps: int = 100  # [paper] of the sampler
    solver: Literal["ddim", "dpmpp_2m"] = "ddim"
    vocoder: str = "griffin-lim"
    metrics: str | None = None  # as for ``slm-eval run``; None: all that can run
    recognizer: str = "auto"
    ngrams: str = "1-5"
    batch: int = 8  # clips at once
    workers: int | None = None  # processes that decode and recognise; None: one per core, 0: this one

    def __post_init__(self) -> None:
        counts = (self.steps, self.batch, 1 if self.clips is None else self.clips)
        if min(counts) < 1 or (self.workers or 0) < 0:
            raise UsageError(f"steps, batch and clips must be at least 1, workers at least 0, got {self}")

    @property
    def decisive(self) -> dict[str, Any]:
        """Return all that decides the scores, as JSON values."""
        values = {name: value for name, value in vars(self).items() if name not in _HOW}
        return values | {"speech": str(self.speech), "guidance": list(self.guidance)}


@dataclass(frozen=True)
class PlannedRun:
    """One model to train and score.

    Attributes:
        name: of its folder.
        config: of its training, whole.
        budget: FLOPs that it was planned for; None in an ablation.
        setting: of what is varied; None in an isoFLOP grid.
    """

    name: str
    config: TrainConfig
    budget: float | None = None
    setting: str | None = None

    @property
    def tokens(self) -> int:
        """Return D, the tokens of both streams."""
        return self.config.steps * self.config.batch * Tokens.from_config(self.config.model).all


@dataclass(frozen=True)
class Sweep:
    """All runs, in the order in which they are made: cheap ones first, or setting by setting.

    Attributes:
        varied: what an ablation varies; None for an isoFLOP grid.
    """

    runs: tuple[PlannedRun, ...]
    scoring: Scoring = field(default_factory=Scoring)
    varied: str | None = None

    @property
    def table(self) -> str:
        """Return the name of the file with a row for each finished run."""
        return "RUNS.csv" if self.varied is None else f"{self.varied}.csv"

    @property
    def budgets(self) -> list[float]:
        """Return the FLOPs of its budgets, ascending; none in an ablation."""
        return sorted({run.budget for run in self.runs if run.budget is not None})

    def within(self, budgets: Sequence[float]) -> Sweep:
        """Keep the runs of some budgets only."""
        return replace(self, runs=tuple(run for run in self.runs if run.budget in budgets))


@dataclass(frozen=True)
class _Budget:
    """A budget of the file."""

    flops: float
    sizes: int | tuple[str, ...]  # names, or how many rungs of the ladder around the compute-optimal one
    seeds: int | None = None  # None: as many as the file says

    def __post_init__(self) -> None:
        if self.flops <= 0 or (self.seeds is not None and self.seeds < 1) or not self.sizes:
            raise UsageError(f"flops must be above 0, seeds and sizes at least 1, got {self}")
        if isinstance(self.sizes, int) and not 1 <= self.sizes <= len(LAYERS):
            raise UsageError(f"sizes must be 1 to {len(LAYERS)} rungs, got {self.sizes}")


@dataclass(frozen=True)
class _File:
    """What a file says: the keys of the example above."""

    config: Path
    set: dict[str, Any] | None = None
    sizes: dict[str, Any] | None = None
    budgets: tuple[_Budget, ...] = ()
    varied: str | None = None
    settings: dict[Any, Any] | None = None
    hours: float | None = None
    seeds: int = 1
    score: Scoring | None = None

    def __post_init__(self) -> None:
        if bool(self.budgets) == bool(self.settings):
            raise UsageError("give budgets (an isoFLOP grid) or varied and settings (an ablation)")
        if (self.varied is None) != (self.settings is None):
            raise UsageError("varied names what its settings vary; give both or neither")
        if self.varied is not None and (not re.fullmatch(r"[A-Za-z][\w-]*", self.varied) or self.varied in COLUMNS):
            raise UsageError(
                f"varied must be a name of letters, digits and '_' of no other column, got {self.varied!r}"
            )
        if self.seeds < 1 or (self.hours is not None and self.hours <= 0):
            raise UsageError(f"seeds must be at least 1, hours above 0, got {self.seeds} and {self.hours}")


def read_sweep(path: Path, overrides: Sequence[str] = (), speech: Path | None = None) -> Sweep:
    """Read a sweep or an ablation.

    Args:
        overrides: ``key=value`` of the training of all runs; they win over the file.
        speech: of a folder of ``slm-zoo cut``; wins over ``score.speech``.

    Raises:
        UsageError: it is no YAML, a key is not known, or a value makes no run; the message names the place.
    """
    if not path.exists():
        raise UsageError(f"there is no sweep {path}; those of the package are in model_zoo/configs/ablations")
    file = build(_File, read_yaml(path), f"{path}: ")
    source = _Source(path, file, [*_assignments(file.set or {}, f"{path}: set")], list(overrides))
    for assignments, where in ((overrides, "the command line"), (source.common, f"{path}: set")):
        _refuse_own(assignments, where)
    scoring = file.score or Scoring()
    if scoring.speech is not None or speech is not None:
        scoring = replace(scoring, speech=speech or path.parent / str(scoring.speech))
    runs = list(_ablation(file, source)) if file.settings is not None else list(_grid(file, source))
    _refuse_shared_names(runs, path)
    runs.sort(key=lambda run: run.budget or 0)
    return Sweep(tuple(runs), scoring, file.varied)


@dataclass(frozen=True)
class _Source:
    """Where configurations of runs come from."""

    path: Path
    file: _File
    common: list[str]
    overrides: list[str]

    def config_of(self, own: Mapping[str, Any], where: str) -> TrainConfig:
        """Return the configuration with the values of a run."""
        assignments = list(_assignments(own, where))
        _refuse_own(assignments, where)
        try:
            return load_config(self.path.parent / self.file.config, [*self.common, *assignments, *self.overrides])
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from error


def _grid(file: _File, source: _Source) -> Iterator[PlannedRun]:
    """Yield the runs of an isoFLOP grid."""
    for number, budget in enumerate(file.budgets, start=1):
        for name in _names(budget):
            where = f"{source.path}: budget {number}: {name}"
            config = source.config_of(_size(name, file.sizes or {}, where), where)
            tokens = budget.flops / (FLOPS_PER_TOKEN * parameter_count(config.model))
            config = _lasting(config, duration(config.model, tokens, config.batch).steps)
            for seed in range(budget.seeds or file.seeds):
                run = f"{_short(budget.flops)}-{name}-seed{seed}"
                yield PlannedRun(run, replace(config, seed=seed), budget.flops)


def _ablation(file: _File, source: _Source) -> Iterator[PlannedRun]:
    """Yield the runs of an ablation."""
    for setting, values in (file.settings or {}).items():
        where = f"{source.path}: setting {setting}"
        own = dict(convert(dict[str, Any], {} if values is None else values, where))
        hours = convert(float | None, own.pop("hours", file.hours), f"{where}: hours")
        config = source.config_of(own, where)
        if hours is not None:
            if hours <= 0:
                raise UsageError(f"{where}: hours must be above 0, got {hours}")
            samples = hours * 3600 / (config.model.context_seconds + config.model.target_seconds)
            config = _lasting(config, max(1, round(samples / config.batch)))
        for seed in range(file.seeds):
            name = re.sub(r"[^\w.+-]+", "-", f"{file.varied}-{setting}")
            yield PlannedRun(f"{name}-seed{seed}", replace(config, seed=seed), setting=str(setting))


def _short(flops: float) -> str:
    """Write 1e+18 as 1e18."""
    return f"{flops:.4g}".replace("e+", "e")


def _lasting(config: TrainConfig, steps: int) -> TrainConfig:
    """Return a configuration of so many steps, with a warm-up that fits into them."""
    options = replace(config.optimizer, warmup_steps=warmup(steps, config.optimizer.warmup_steps))
    return replace(config, steps=steps, optimizer=options)


def _names(budget: _Budget) -> tuple[str, ...]:
    """Return the names of a budget's sizes; a number stands for rungs of the ladder."""
    if isinstance(budget.sizes, int):
        return tuple(f"L{layers}" for layers in iso_flop_layers(budget.flops, budget.sizes))
    return budget.sizes


def _size(name: str, sizes: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the values of a size by its name."""
    if name in sizes:
        values = {} if sizes[name] is None else sizes[name]
        return dict(convert(dict[str, Any], values, where))
    if re.fullmatch(r"L\d+", name) and int(name[1:]) in LAYERS:
        return {"model.layers": int(name[1:])}
    raise unknown_name(f"size in {where}", name, [*sizes, *(f"L{layers}" for layers in LAYERS)])


def _assignments(values: Mapping[Any, Any], where: str, prefix: str = "") -> Iterator[str]:
    """Yield ``key=value`` for ``load_config``, of nested keys or keys with dots."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _assignments(value, where, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={json.dumps(value)}"


def _refuse_own(assignments: Sequence[str], where: str) -> None:
    for key in (assignment.partition("=")[0].strip() for assignment in assignments):
        if key in _FOLLOWS:
            raise UsageError(f"{where} sets {key}, which follows from the sweep's {_FOLLOWS[key]}; leave it out")


def _refuse_shared_names(runs: Sequence[PlannedRun], path: Path) -> None:
    seen: set[str] = set()
    for run in runs:
        if run.name.casefold() in seen:
            raise UsageError(
                f"{path}: two runs are called {run.name}; give budgets, sizes and settings names of their own"
            )
        seen.add(run.name.casefold())
    if not runs:
        raise UsageError(f"{path} plans no run")
