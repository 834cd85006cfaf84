"""One metric of all systems: values, intervals, the ranks that tests leave possible, and real speech beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from slm_eval.compare.leaderboard.ranking import Pair, judge, rank_sets
from slm_eval.compare.leaderboard.systems import System
from slm_eval.compare.result import LEVEL
from slm_eval.metrics.recitation import warnings_of_copies

Interval = tuple[float, float]

NO_INTERVAL = "its run gives no interval"
NO_DIRECTION = "neither higher nor lower is better"


@dataclass(frozen=True)
class Result:
    """One number of one system.

    Attributes:
        value, ci95: in the column's unit; of pJSD at the column's number of n-grams.
        n: clips, or for pJSD n-grams, that it rests on.
        rank, worst_rank: the best and the worst that it may have, 1 is best; None where it is not ranked.
        why_unranked: one line; None where it is ranked.
        coverage: of pJSD.
    """

    value: float
    ci95: Interval | None
    n: int
    rank: int | None = None
    worst_rank: int | None = None
    why_unranked: str | None = None
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
        kind, digits: as in summary.json; leaderboard.json does not repeat them.
        results: by name of the system, in the order in which they were given.
        absent: by name: why a system has no such number.
        real: None where no real clip was scored, the runs had different real speech, or it is too little for a floor.
        notes: one line each.
        pairs: of systems that are ranked, and which of both is shown to be better.
        error_rate: of all these verdicts together: the level of the tests.
    """

    key: str
    unit: str
    higher_is_better: bool | None
    signature: str
    results: dict[str, Result]
    absent: dict[str, str]
    real: Reference | None
    notes: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    error_rate: float = LEVEL
    kind: str = field(kw_only=True)
    digits: int = field(kw_only=True)

    @property
    def ranked(self) -> list[str]:
        """Return the names of the systems that have a rank."""
        return [name for name, result in self.results.items() if result.rank is not None]


def ranked_column(column: Column, tested: Mapping[tuple[str, str], tuple[float, float]]) -> Column:
    """Return the column with the ranks that tests of all pairs leave possible, and their verdicts.

    Args:
        tested: of all pairs of systems that may have a rank, as for ``ranking.judge``.
    """
    if column.higher_is_better is None:
        results = {name: replace(each, why_unranked=NO_DIRECTION) for name, each in column.results.items()}
        return replace(column, results=results)
    pairs = judge(tested, column.higher_is_better)
    names = [name for name, result in column.results.items() if result.why_unranked is None]
    ranks = rank_sets(names, pairs)
    results = {}
    for name, result in column.results.items():
        rank, worst_rank = ranks.get(name, (None, None))
        alone = None if rank is not None or result.why_unranked else "no other system may be ranked"
        results[name] = replace(result, rank=rank, worst_rank=worst_rank, why_unranked=alone or result.why_unranked)
    return replace(column, results=results, pairs=pairs)


def copies(key: str, holders: Sequence[System]) -> tuple[str, ...]:
    """Return what the runs say of clips that are copies of real ones, which place a system too high."""
    return tuple(
        f"{system.name}: {warning}" for system in holders for warning in warnings_of_copies(system.run.metrics[key])
    )


def absent(key: str, systems: Sequence[System]) -> dict[str, str]:
    """Return why systems lack a number: what the run said, where it did."""
    return {
        system.name: system.run.summary.get("not_computed", {}).get(key, "not in its run")
        for system in systems
        if key not in system.run.metrics
    }


def interval(metric: Mapping[str, object]) -> Interval | None:
    """Return the 95 % interval of a summary."""
    ends = metric["ci95"]
    return None if ends is None else (float(ends[0]), float(ends[1]))  # type: ignore[index]
