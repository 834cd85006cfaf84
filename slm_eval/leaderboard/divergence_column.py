"""pJSD of several systems at equal numbers of n-grams: what a longer corpus scores less is no merit of its system.

Where the systems differ by more than 1 % in n-grams, each is cut to the smallest one's number by leaving out random
utterances and the end of one, and everything is computed again from the phones in clips.jsonl. Simulated, n = 2,
against the same real speech: the better system (truth .045 bits) scored .087 on 12 thousand phones, the worse one
(truth .073) .077 on 120 thousand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from slm_eval.analysis import MAX_SIZE_DIFFERENCE, Analysis, analyse
from slm_eval.clusters import Clusters
from slm_eval.cutting import filling
from slm_eval.divergence import LN2
from slm_eval.finished import SIDES
from slm_eval.leaderboard.column import Column, Reference, Result, absent, interval, with_ranks
from slm_eval.leaderboard.systems import System
from slm_eval.statistics import Undefined

# The floor is shown as the range of 95 % of its scores.
_SDS = 1.959964


@dataclass(frozen=True)
class _Found:
    """pJSD-n of the systems at one size, in nats or bits."""

    results: dict[str, Result]
    floors: list[tuple[float, float]]
    absent: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def divergence_column(n: int, systems: Sequence[System], seed: int) -> Column:
    """pJSD-n of all systems that have it.

    Args:
        systems: of one signature; at least one has pJSD-n.
        seed: of the random cuts, and of the draws behind intervals and floors where they are computed again.
    """
    key = f"pjsd.{n}"
    holders = [system for system in systems if key in system.run.metrics]
    sizes = [int(system.run.metrics[key]["n_ngrams"]["generated"]) for system in holders]
    found = _as_they_are(key, holders) if _equal(sizes) else _at_equal_size(n, holders, seed)
    first = holders[0].run.metrics[key]
    return Column(
        key=key,
        unit=first["unit"],
        higher_is_better=False,
        signature=first["signature"],
        results=with_ranks(found.results, higher_is_better=False),
        absent=absent(key, systems) | found.absent,
        real=_reference(found.floors, LN2 if first["unit"] == "nats" else 1.0),
        notes=found.notes,
    )


def _equal(sizes: Sequence[int]) -> bool:
    return max(sizes) - min(sizes) <= MAX_SIZE_DIFFERENCE * max(sizes)


def _as_they_are(key: str, systems: Sequence[System]) -> _Found:
    results, floors = {}, []
    for system in systems:
        metric = system.run.metrics[key]
        size = int(metric["n_ngrams"]["generated"])
        results[system.name] = Result(metric["value"], interval(metric), size, coverage=metric["coverage"])
        if metric["floor"] is not None and metric["floor_sd"] is not None:
            floors.append((metric["floor"], metric["floor_sd"]))
    return _Found(results, floors)


def _at_equal_size(n: int, systems: Sequence[System], seed: int) -> _Found:
    """A value at another size is none of this column's, so systems that cannot be cut are absent."""
    heard = [system for system in systems if system.run.phones("generated") and system.run.phones("real")]
    lacking = {
        system.name: "sizes differ, and to cut it to the others' its phones are needed, which its run has not"
        for system in systems
        if system not in heard
    }
    if len(heard) < 2:
        lacking |= {system.name: "sizes differ, and no other system has phones that could be cut" for system in heard}
        return _Found({}, [], lacking)
    size = min(
        sum(max(len(clip["phones"]) - n + 1, 0) for clip in _recognised(system, "generated")) for system in heard
    )
    note = "systems differ in size: each was cut at random to the n-grams of the smallest, and computed again"
    found = _Found({}, [], lacking, (note,))
    per_nat = 1 / math.log(2) if systems[0].run.metrics[f"pjsd.{n}"]["unit"] == "bits" else 1.0
    for system in heard:
        analysis = _analysis(n, system, size, seed)
        if isinstance(analysis, Undefined):
            found.absent[system.name] = analysis.reason
            continue
        ends = None if analysis.ci95 is None else (analysis.ci95[0] * per_nat, analysis.ci95[1] * per_nat)
        n_ngrams, covered = analysis.n_ngrams[0], analysis.coverage
        found.results[system.name] = Result(analysis.value * per_nat, ends, n_ngrams, coverage=covered)
        if analysis.floor is not None and analysis.floor_sd is not None:
            found.floors.append((analysis.floor * per_nat, analysis.floor_sd * per_nat))
    return found


def _analysis(n: int, system: System, size: int, seed: int) -> Analysis | Undefined:
    """pJSD-n of ``size`` generated n-grams against all real speech."""
    generated, real = (_recognised(system, side) for side in SIDES)
    positions, phones = filling([clip["phones"] for clip in generated], n, size, seed)
    return analyse(
        phones,
        [clip["phones"] for clip in real],
        [n],
        seed=seed,
        generated_clusters=Clusters.of([generated[at] for at in positions]).labels,
        real_clusters=Clusters.of(real).labels,
    )[n]


def _recognised(system: System, side: str) -> list[dict]:
    return [clip for clip in system.run.clips[side] if clip["phones"] is not None]


def _reference(floors: Sequence[tuple[float, float]], ceiling: float) -> Reference | None:
    """Means over the systems, whose floors differ by rounding of sizes alone."""
    if not floors:
        return None
    value, sd = (float(each) for each in np.mean(floors, axis=0))
    return Reference(value, (max(value - _SDS * sd, 0.0), min(value + _SDS * sd, ceiling)), None)
