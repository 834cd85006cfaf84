"""One metric of all systems: values, intervals, ranks with ties, and real speech beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from slm_eval.crossentropy import MORE_PREDICTABLE
from slm_eval.finished import FinishedRun
from slm_eval.leaderboard.systems import System

Interval = tuple[float, float]

# Means of real speech that are further apart are of different speech; processors differ by about 1e-5.
_SAME_MEAN = 1e-3


@dataclass(frozen=True)
class Result:
    """One number of one system.

    Attributes:
        value, ci95: in the column's unit; of pJSD at the column's number of n-grams.
        n: clips, or for pJSD n-grams, that it rests on.
        rank: 1 is best; None where this system has no interval, or no other one has.
        coverage: of pJSD.
    """

    value: float
    ci95: Interval | None
    n: int
    rank: int | None = None
    coverage: float | None = None


@dataclass(frozen=True)
class Reference:
    """Real speech: its mean and 95 % interval; for pJSD the floor, what it scores against itself, ± 1.96 sd."""

    value: float
    ci95: Interval | None
    n: int | None


@dataclass(frozen=True)
class Column:
    """One metric of all systems.

    Attributes:
        results: by name of the system, in the order in which they were given.
        absent: by name: why a system has no such number.
        real: None where no real clip was scored, the runs had different real speech, or it is too little for a floor.
        notes: one line each.
    """

    key: str
    unit: str
    higher_is_better: bool
    signature: str
    results: dict[str, Result]
    absent: dict[str, str]
    real: Reference | None
    notes: tuple[str, ...] = ()

    @property
    def ranked(self) -> bool:
        """Whether every system that has the number has a rank."""
        return bool(self.results) and all(each.rank is not None for each in self.results.values())


def ranks(intervals: Sequence[Interval], higher_is_better: bool) -> list[int]:
    """1 + the number of systems whose interval lies wholly on the better side.

    Not transitive in one way only: a system with a wide interval may share rank 1 with two that differ. Nothing is
    said to be better than another unless their intervals say so.

    >>> ranks([(0.1, 0.2), (0.15, 0.3), (0.25, 0.4), (0.5, 0.6)], higher_is_better=False)
    [1, 1, 2, 4]
    """
    sign = 1 if higher_is_better else -1
    # (worst end, best end), larger is better.
    ends = [(min(sign * low, sign * high), max(sign * low, sign * high)) for low, high in intervals]
    return [1 + sum(worst > best for worst, _ in ends) for _, best in ends]


def with_ranks(results: Mapping[str, Result], higher_is_better: bool) -> dict[str, Result]:
    """Results with the ranks of those that have an interval; one alone has no rank."""
    intervals = {name: each.ci95 for name, each in results.items() if each.ci95 is not None}
    found = ranks(list(intervals.values()), higher_is_better) if len(intervals) > 1 else []
    of = dict(zip(intervals, found, strict=False))
    return {name: replace(each, rank=of.get(name)) for name, each in results.items()}


def score_column(key: str, systems: Sequence[System]) -> Column:
    """A mean over clips, or another metric that needs no equal sizes, as the runs have it."""
    holders = [system for system in systems if key in system.run.metrics]
    first = holders[0].run.metrics[key]
    results = {}
    for system in holders:
        metric = system.run.metrics[key]
        results[system.name] = Result(metric["value"], interval(metric), metric.get("n", scored(system.run)))
    real, notes = _real(key, holders)
    notes = (*notes, *_too_predictable(key, holders))
    return Column(
        key=key,
        unit=first["unit"],
        higher_is_better=first["higher_is_better"],
        signature=first["signature"],
        results=with_ranks(results, first["higher_is_better"]),
        absent=absent(key, systems),
        real=real,
        notes=notes,
    )


def _real(key: str, holders: Sequence[System]) -> tuple[Reference | None, tuple[str, ...]]:
    """The mean of real speech, which does not enter that of a system. Where runs had different speech there is none."""
    told = {system.name: real for system in holders if (real := system.run.metrics[key].get("real"))}
    if not told:
        return None, ()
    (name, first), *others = told.items()
    for other, real in others:
        if real["n"] != first["n"] or abs(real["value"] - first["value"]) > _SAME_MEAN:
            return None, (f"no real speech: {name} and {other} were run against different speech",)
    return Reference(first["value"], interval(first), first["n"]), ()


def _too_predictable(key: str, holders: Sequence[System]) -> tuple[str, ...]:
    """A line where the best values are no merit: those of systems that are more predictable than real speech."""
    below = [system.name for system in holders if MORE_PREDICTABLE in system.run.metrics[key].get("warnings", ())]
    return (f"more predictable than real speech, which is no merit: {', '.join(below)}",) if below else ()


def absent(key: str, systems: Sequence[System]) -> dict[str, str]:
    """Why systems lack a number: what the run said, where it did."""
    return {
        system.name: system.run.summary.get("not_computed", {}).get(key, "not in its run")
        for system in systems
        if key not in system.run.metrics
    }


def interval(metric: Mapping[str, object]) -> Interval | None:
    """The 95 % interval of a summary."""
    ends = metric["ci95"]
    return None if ends is None else (float(ends[0]), float(ends[1]))  # type: ignore[index]


def scored(run: FinishedRun) -> int:
    """Generated clips that could be scored."""
    return int(run.summary["corpora"]["generated"]["n_scored"])
