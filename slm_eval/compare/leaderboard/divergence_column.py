"""pJSD of several systems at equal numbers of n-grams: what a longer corpus scores less is no merit of its system.

Where the systems differ by more than 1 % in n-grams, each is cut to the smallest one's number by leaving out random
utterances and the end of one, and everything is computed again from the phones in clips.jsonl. A system that has too
little speech for an interval is left out of that, or all would be as poorly measured. Simulated, n = 2,
against the same real speech: the better system (truth .045 bits) scored .087 on 12 thousand phones, the worse one
(truth .073) .077 on 120 thousand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from slm_eval.compare.leaderboard.column import (
    NO_INTERVAL,
    Column,
    Reference,
    Result,
    absent,
    copies,
    interval,
    ranked_column,
)
from slm_eval.compare.leaderboard.divergence_pairs import Speech, Tested, pair_tests
from slm_eval.compare.leaderboard.systems import System
from slm_eval.divergence.analysis import MAX_SIZE_DIFFERENCE, Analysis, analyse
from slm_eval.divergence.cutting import filling
from slm_eval.divergence.estimators import LN2
from slm_eval.divergence.resampling import Undefined
from slm_eval.speech.clusters import Clusters

# The floor is shown as the range of 95 % of its scores.
_SDS = 1.959964

Phones = Sequence[Sequence[str]]
Clips = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class _Found:
    """pJSD-n of the systems at one size, in nats or bits; and the phones behind it of those that may be ranked."""

    results: dict[str, Result]
    floors: list[tuple[float, float]]
    speech: dict[str, Speech]
    absent: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def divergence_column(n: int, systems: Sequence[System], seed: int) -> Column:
    """Return pJSD-n of all systems that have it.

    Args:
        systems: of one signature; at least one has pJSD-n.
        seed: of the random cuts, and of the draws behind intervals, tests and floors.
    """
    key = f"pjsd.{n}"
    holders = [system for system in systems if key in system.run.metrics]
    sizes = [int(system.run.metrics[key]["n_ngrams"]["generated"]) for system in holders]
    measured = _as_they_are(key, holders) if _equal(sizes) else _at_equal_size(n, holders, seed)
    first = holders[0].run.metrics[key]
    tested, reasons = _tested(n, measured.speech, holders, seed)
    results = {
        name: replace(result, why_unranked=result.why_unranked or reasons.get(name))
        for name, result in measured.results.items()
    }
    column = Column(
        key=key,
        unit=first["unit"],
        higher_is_better=False,
        signature=first["signature"],
        kind=first["kind"],
        digits=first["digits"],
        results=results,
        absent=absent(key, systems) | measured.absent,
        real=_reference(measured.floors, LN2 if first["unit"] == "nats" else 1.0),
        notes=(*measured.notes, *copies(key, holders)),
    )
    per_nat = _per_nat(key, holders)
    return ranked_column(column, {pair: (gap.value * per_nat, gap.p_value()) for pair, gap in tested.items()})


def _tested(
    n: int, speech: Mapping[str, Speech], holders: Sequence[System], seed: int
) -> tuple[Tested, dict[str, str]]:
    """Test all pairs of systems against the real speech that they share, as their signatures say."""
    if not speech:
        return {}, {}
    with_real = next(system for system in holders if system.name in speech)
    real = Speech.from_clips(sorted(_recognised(with_real, "real"), key=lambda clip: (clip["phones"], clip["id"])))
    return pair_tests(n, speech, real, seed)


def _equal(sizes: Sequence[int]) -> bool:
    return max(sizes) - min(sizes) <= MAX_SIZE_DIFFERENCE * max(sizes)


def _as_they_are(key: str, systems: Sequence[System]) -> _Found:
    found = _Found({}, [], {})
    for system in systems:
        metric = system.run.metrics[key]
        size, ends = int(metric["n_ngrams"]["generated"]), interval(metric)
        why = NO_INTERVAL if ends is None else None if _has_phones(system) else "its run has no phones to test it by"
        found.results[system.name] = Result(metric["value"], ends, size, coverage=metric["coverage"], why_unranked=why)
        if why is None:
            found.speech[system.name] = Speech.from_clips(_recognised(system, "generated"))
        if metric["floor"] is not None and metric["floor_sd"] is not None:
            found.floors.append((metric["floor"], metric["floor_sd"]))
    return found


def _at_equal_size(n: int, systems: Sequence[System], seed: int) -> _Found:
    """Cut all systems to the n-grams of the smallest one that may be ranked.

    A value at another size is none of this column's, so systems that cannot be cut, or are smaller, are absent.
    """
    key = f"pjsd.{n}"
    heard = [system for system in systems if _has_phones(system)]
    lacking = {
        system.name: "sizes differ, and to cut it to the others' its phones are needed, which its run has not"
        for system in systems
        if system not in heard
    }
    if len(heard) < 2:
        lacking |= {system.name: "sizes differ, and no other system has phones that could be cut" for system in heard}
        return _Found({}, [], {}, lacking)
    sizes = {system.name: _n_ngrams(n, system) for system in heard}
    measured = [sizes[system.name] for system in heard if interval(system.run.metrics[key]) is not None]
    size = min(measured if len(measured) > 1 else sizes.values())
    note = "systems differ in size: those with a value were cut at random to equal n-grams, and computed again"
    found = _Found({}, [], {}, lacking, (note,))
    per_nat = _per_nat(key, systems)
    for system in heard:
        if sizes[system.name] < size:
            found.absent[system.name] = "it has too little speech for an interval, and less than the others were cut to"
            continue
        generated = _recognised(system, "generated")
        positions, phones = filling([clip["phones"] for clip in generated], n, size, seed)
        clips = [generated[index] for index in positions]
        analysis = _analysis(n, phones, clips, _recognised(system, "real"), seed)
        if isinstance(analysis, Undefined):
            found.absent[system.name] = analysis.reason
            continue
        ends = None if analysis.ci95 is None else (analysis.ci95[0] * per_nat, analysis.ci95[1] * per_nat)
        found.results[system.name] = Result(
            analysis.value * per_nat,
            ends,
            analysis.n_ngrams[0],
            coverage=analysis.coverage,
            why_unranked="it has no interval at this size" if ends is None else None,
        )
        if ends is not None:
            found.speech[system.name] = Speech.from_clips(clips, phones)
        if analysis.floor is not None and analysis.floor_sd is not None:
            found.floors.append((analysis.floor * per_nat, analysis.floor_sd * per_nat))
    return found


def _analysis(n: int, phones: Phones, clips: Clips, real: Clips, seed: int) -> Analysis | Undefined:
    """Analyse pJSD-n of cut clips against all real speech."""
    return analyse(
        phones,
        [clip["phones"] for clip in real],
        [n],
        seed=seed,
        generated_clusters=Clusters.from_clips(clips).labels,
        real_clusters=Clusters.from_clips(real).labels,
    )[n]


def _n_ngrams(n: int, system: System) -> int:
    return sum(max(len(clip["phones"]) - n + 1, 0) for clip in _recognised(system, "generated"))


def _has_phones(system: System) -> bool:
    return bool(system.run.phones("generated") and system.run.phones("real"))


def _recognised(system: System, side: str) -> list[dict[str, Any]]:
    return [clip for clip in system.run.clips[side] if clip["phones"] is not None]


def _per_nat(key: str, systems: Sequence[System]) -> float:
    return 1 / math.log(2) if systems[0].run.metrics[key]["unit"] == "bits" else 1.0


def _reference(floors: Sequence[tuple[float, float]], ceiling: float) -> Reference | None:
    """Return means over the systems, whose floors differ by rounding of sizes alone."""
    if not floors:
        return None
    value, sd = np.mean(floors, axis=0).tolist()
    return Reference(value, (max(value - _SDS * sd, 0.0), min(value + _SDS * sd, ceiling)), None)
