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
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from model_zoo.cdslm.flops import Tokens, parameter_count
from model_zoo.plain_yaml import read_yaml
from model_zoo.planning.ladder import LAYERS, duration, warmup
from model_zoo.sweeping.table import COLUMNS
from model_zoo.sweeping.values import count, known_keys, listed, mapping, number, positive
from model_zoo.training.config import TrainConfig, load_config
from slm_eval.base.errors import UsageError, unknown_name
from slm_eval.scaling.law import FLOPS_PER_TOKEN

_KEYS = ("config", "set", "sizes", "budgets", "varied", "settings", "hours", "seeds", "score")
_BUDGET_KEYS = ("flops", "sizes", "seeds")
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
            raise UsageError(f"score: steps, batch and clips are at least 1, workers at least 0, got {self}")

    @property
    def decisive(self) -> dict[str, Any]:
        """Return all that decides the scores, as JSON values."""
        told = {name: value for name, value in vars(self).items() if name not in _HOW}
        return told | {"speech": str(self.speech), "guidance": list(self.guidance)}


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


def read_sweep(path: Path, overrides: Sequence[str] = (), speech: Path | None = None) -> Sweep:
    """Read a sweep or an ablation.

    Args:
        overrides: ``key=value`` of the training of all runs; they win over the file.
        speech: of a folder of ``slm-zoo cut``; wins over ``score.speech``.

    Raises:
        UsageError: it is no YAML, a key is not known, or a value makes no run; the message names the place.
    """
    told = _read(path)
    known_keys(told, _KEYS, f"{path}: key")
    if ("budgets" in told) == ("settings" in told):
        raise UsageError(f"{path}: give budgets (an isoFLOP grid) or varied and settings (an ablation)")
    if ("varied" in told) != ("settings" in told):
        raise UsageError(f"{path}: varied names what its settings vary; give both or neither")
    if "config" not in told:
        raise UsageError(f"{path} lacks config: the configuration that all runs have in common")
    common = [*_assignments(told.get("set") or {}, f"{path}: set")]
    for assignments, where in ((overrides, "the command line"), (common, f"{path}: set")):
        _refuse_own(assignments, where)
    source = _Source(path, path.parent / str(told["config"]), common, list(overrides))
    scoring = _scoring(told.get("score") or {}, path, speech)
    varied = _varied(told, path) if "varied" in told else None
    runs = list(_settings(told, source)) if varied else list(_grid(told, source))
    _refuse_shared_names(runs, path)
    if not varied:
        runs.sort(key=lambda run: run.budget or 0)
    return Sweep(tuple(runs), scoring, varied)


@dataclass(frozen=True)
class _Source:
    """Where configurations of runs come from."""

    path: Path
    config: Path
    common: list[str]
    overrides: list[str]

    def config_of(self, own: Sequence[str], where: str) -> TrainConfig:
        """The configuration with the values of a run."""
        _refuse_own(own, where)
        try:
            return load_config(self.config, [*self.common, *own, *self.overrides])
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from error


def _grid(told: dict[str, Any], source: _Source) -> Iterator[PlannedRun]:
    """Runs of an isoFLOP grid."""
    sizes = {name: values or {} for name, values in mapping(told.get("sizes") or {}, f"{source.path}: sizes").items()}
    for at, budget in enumerate(listed(told["budgets"], f"{source.path}: budgets"), start=1):
        where = f"{source.path}: budget {at}"
        known_keys(mapping(budget, where), _BUDGET_KEYS, f"{where}: key")
        flops = positive(budget.get("flops"), f"{where}: flops")
        for name in _names(budget.get("sizes"), flops, f"{where}: sizes"):
            config = source.config_of(
                list(_assignments(_size(name, sizes, where), f"{where}: {name}")), f"{where}: {name}"
            )
            wanted = flops / (FLOPS_PER_TOKEN * parameter_count(config.model))
            config = _lasting(config, duration(config.model, wanted, config.batch).steps)
            for seed in range(count(budget.get("seeds", told.get("seeds", 1)), f"{where}: seeds")):
                yield PlannedRun(f"{_short(flops)}-{name}-seed{seed}", replace(config, seed=seed), flops)


def _settings(told: dict[str, Any], source: _Source) -> Iterator[PlannedRun]:
    """Runs of an ablation."""
    seeds = count(told.get("seeds", 1), f"{source.path}: seeds")
    for setting, values in mapping(told["settings"], f"{source.path}: settings").items():
        where = f"{source.path}: setting {setting}"
        own = dict(mapping(values or {}, where))
        hours = own.pop("hours", told.get("hours"))
        config = source.config_of(list(_assignments(own, where)), where)
        if hours is not None:
            seconds = positive(hours, f"{where}: hours") * 3600
            samples = seconds / (config.model.context_seconds + config.model.target_seconds)
            config = _lasting(config, max(1, round(samples / config.batch)))
        for seed in range(seeds):
            name = re.sub(r"[^\w.+-]+", "-", f"{told['varied']}-{setting}")
            yield PlannedRun(f"{name}-seed{seed}", replace(config, seed=seed), setting=str(setting))


def _short(flops: float) -> str:
    """Write 1e+18 as 1e18."""
    return f"{flops:.4g}".replace("e+", "e")


def _lasting(config: TrainConfig, steps: int) -> TrainConfig:
    """So many steps, and a warm-up that fits into them."""
    options = replace(config.optimizer, warmup_steps=warmup(steps, config.optimizer.warmup_steps))
    return replace(config, steps=steps, optimizer=options)


def _names(sizes: Any, flops: float, where: str) -> list[str]:
    """Names of sizes; a number stands for rungs of the ladder around the compute-optimal one."""
    from model_zoo.planning.plan import iso_flop_layers

    if isinstance(sizes, int) and not isinstance(sizes, bool):
        if not 1 <= sizes <= len(LAYERS):
            raise UsageError(f"{where}: 1 to {len(LAYERS)} rungs, got {sizes}")
        return [f"L{layers}" for layers in iso_flop_layers(flops, sizes)]
    return [str(name) for name in listed(sizes, where)]


def _size(name: str, sizes: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The values of a size by its name."""
    if name in sizes:
        return mapping(sizes[name], f"{where}: {name}")
    if re.fullmatch(r"L\d+", name) and int(name[1:]) in LAYERS:
        return {"model.layers": int(name[1:])}
    raise unknown_name(f"size in {where}", name, [*sizes, *(f"L{layers}" for layers in LAYERS)])


def _scoring(told: Any, path: Path, speech: Path | None) -> Scoring:
    values = dict(mapping(told, f"{path}: score"))
    known_keys(values, [each.name for each in fields(Scoring)], f"{path}: key of score")
    if "guidance" in values:
        scales = values["guidance"] if isinstance(values["guidance"], list) else [values["guidance"]]
        values["guidance"] = tuple(number(each, f"{path}: score.guidance") for each in scales)
    if values.get("speech") is not None:
        values["speech"] = path.parent / str(values["speech"])
    for name in ("clips", "steps", "batch"):
        if values.get(name) is not None:
            values[name] = count(values[name], f"{path}: score.{name}")
    if values.get("workers") is not None:
        values["workers"] = int(number(values["workers"], f"{path}: score.workers"))
    for name in ("solver", "vocoder", "metrics", "recognizer", "ngrams"):
        if values.get(name) is not None:
            values[name] = str(values[name])
    return Scoring(**(values | ({"speech": speech} if speech is not None else {})))


def _varied(told: dict[str, Any], path: Path) -> str:
    name = str(told["varied"])
    if not re.fullmatch(r"[A-Za-z][\w-]*", name) or name in COLUMNS:
        raise UsageError(f"{path}: varied is a name of letters, digits and '_' that no other column has, got {name!r}")
    return name


def _assignments(values: Any, where: str, prefix: str = "") -> Iterator[str]:
    """``key=value`` for ``load_config``, of nested keys or keys with dots."""
    for key, value in mapping(values, where).items():
        if isinstance(value, dict):
            yield from _assignments(value, where, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={json.dumps(value)}"


def _refuse_own(assignments: Sequence[str], where: str) -> None:
    for key in (each.partition("=")[0].strip() for each in assignments):
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


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise UsageError(f"there is no sweep {path}; those of the package are in model_zoo/configs/ablations")
    return dict(mapping(read_yaml(path), str(path)))
