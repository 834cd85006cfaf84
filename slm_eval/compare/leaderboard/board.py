"""The main path: systems in, one table per signature out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from slm_eval.base.errors import UsageError, unknown_name
from slm_eval.compare.leaderboard.column import Column
from slm_eval.compare.leaderboard.divergence_column import divergence_column
from slm_eval.compare.leaderboard.score_column import score_column
from slm_eval.compare.leaderboard.signatures import by_signature, require_one_signature
from slm_eval.compare.leaderboard.systems import System, require_names
from slm_eval.divergence.analysis import MIN_COVERAGE


@dataclass(frozen=True)
class Leaderboard:
    """Systems of one signature.

    Attributes:
        systems: by their value of ``sort``, the best first; then those that have no rank, by value; then those without
            the number, by name.
        columns: by key.
        sort: the key that orders the systems.
        why: why it is this key.
    """

    systems: tuple[System, ...]
    columns: dict[str, Column]
    sort: str
    why: str

    @property
    def order(self) -> list[str]:
        """Return the names, the best first."""
        return [system.name for system in self.systems]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "sort": self.sort,
            "why": self.why,
            "systems": [
                {
                    "name": system.name,
                    "link": system.link,
                    "notes": system.notes,
                    "corpus": system.run.summary["corpora"]["generated"],
                }
                for system in self.systems
            ],
            "metrics": {key: _without_key(column) for key, column in self.columns.items()},
        }


def leaderboards(
    systems: Sequence[System],
    *,
    keys: Sequence[str] | None = None,
    sort: str | None = None,
    per_signature: bool = False,
    seed: int = 0,
) -> list[Leaderboard]:
    """Make one leaderboard, or one per signature.

    Args:
        systems: at least two, names differ.
        keys: metrics to rank by, such as "dnsmos.ovrl", or "pjsd" for all of its keys; None: all that any run has.
        sort: the key that orders the systems; None: the n of pJSD at which most systems have a rank and a coverage of
            0.9, of several the largest; else the smallest n of pJSD; else the first metric.
        per_signature: several tables where signatures differ, rather than an error.
        seed: of the random cuts to equal sizes.

    Raises:
        UsageError: fewer than two systems, two of one name, or a key that no run has.
        SlmEvalError: signatures differ.
    """
    if len(systems) < 2:
        raise UsageError(
            f"a leaderboard ranks at least two runs, got {len(systems)}"
            + (f" ({systems[0].name}); `slm-eval report` shows a single one" if systems else "")
        )
    require_names(systems)
    known = list(dict.fromkeys(key for system in systems for key in system.run.metrics))
    if not known:
        raise UsageError("no run has a metric to rank by; run them with --metrics")
    if sort is not None and sort not in known:
        raise unknown_name("metric key", sort, known)
    chosen = known if keys is None else _named([*keys, *([sort] if sort else [])], known)
    groups = by_signature(systems, chosen)
    if not per_signature:
        require_one_signature(groups, chosen)
    return [_leaderboard(group, chosen, sort, seed) for group in groups]


def _named(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the keys that names stand for, in the order of the runs."""
    families = {key.partition(".")[0] for key in known}
    for name in names:
        if name not in known and name not in families:
            raise unknown_name("metric key", name, [*known, *families])
    return [key for key in known if key in names or key.partition(".")[0] in names]


def _leaderboard(systems: Sequence[System], keys: Sequence[str], sort: str | None, seed: int) -> Leaderboard:
    columns = {
        key: divergence_column(_order_of(key), systems, seed)
        if _kind(key, systems) == "divergence"
        else score_column(key, systems)
        for key in keys
        if any(key in system.run.metrics for system in systems)
    }
    by, why = (sort, "as asked for") if sort in columns else _sharpest(columns, len(systems))
    if sort is not None and sort not in columns:
        why += f"; no system here has {sort}"
    return Leaderboard(tuple(sorted(systems, key=_place(columns[by]))), columns, by, why)


def _sharpest(columns: dict[str, Column], n_systems: int) -> tuple[str, str]:
    """Return the key to order by where none is named, and why."""
    divergences = sorted((key for key, each in columns.items() if each.kind == "divergence"), key=_order_of)
    usable = {key: _n_usable(columns[key]) for key in divergences}
    most = max(usable.values(), default=0)
    if most:
        best = [key for key in divergences if usable[key] == most][-1]
        if most == n_systems:
            return best, f"the largest n at which every system has a rank and a coverage of {MIN_COVERAGE}"
        who = f"{most} of {n_systems} systems have a rank and a coverage of {MIN_COVERAGE}"
        return best, f"the largest n at which {who}; at none have more"
    valued = [key for key in divergences if columns[key].results]
    if valued:
        return valued[0], f"the smallest n: there is none at which a system has a rank and a coverage of {MIN_COVERAGE}"
    if divergences:
        others = [key for key in columns if key not in divergences]
        return (others or divergences)[0], "the first metric: no system has a pJSD at equal sizes"
    return next(iter(columns)), "the first metric: there is no pJSD"


def _n_usable(column: Column) -> int:
    """Return how many systems have a rank and enough coverage."""
    return sum((column.results[name].coverage or 0.0) >= MIN_COVERAGE for name in column.ranked)


def _place(column: Column) -> Any:
    sign = -1 if column.higher_is_better else 1

    def place(system: System) -> tuple[Any, ...]:
        result = column.results.get(system.name)
        if result is None:
            return 2, 0.0, system.name
        return int(result.rank is None), sign * result.value, system.name

    return place


def _kind(key: str, systems: Sequence[System]) -> str:
    """Return what the runs that have a key say it is; a divergence has keys that nothing else has."""
    return str(next(system.run.metrics[key]["kind"] for system in systems if key in system.run.metrics))


def _order_of(key: str) -> int:
    return int(key.partition(".")[2])


def _without_key(column: Column) -> dict[str, Any]:
    fields = asdict(column)
    del fields["key"], fields["kind"], fields["digits"]  # summary.json says them
    return fields
