"""Means over clips of all systems, and numbers of other metrics that need no equal sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

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
from slm_eval.compare.leaderboard.systems import System
from slm_eval.metrics.crossentropy import TOO_PREDICTABLE
from slm_eval.metrics.means import Sample, Withheld, difference, difference_of_intervals, mean_of_sample
from slm_eval.speech.clusters import Clusters

# Means of real speech that are further apart are of different speech; processors differ by about 1e-5.
_SAME_MEAN = 1e-3
NO_MERIT = "it is more predictable than real speech, which is no merit"


def score_column(key: str, systems: Sequence[System]) -> Column:
    """Return the values as the runs have them, ranked by tests of all pairs.

    Clips of two systems that have one id answer one prompt, so what the prompt does to both is no part of their
    difference; likewise clips of one speaker or prompt where the runs name them.
    """
    holders = [system for system in systems if key in system.run.metrics]
    first = holders[0].run.metrics[key]
    samples = _samples(key, holders) if first["kind"] == "score" else {}
    results = {system.name: _result(key, system, samples.get(system.name)) for system in holders}
    measured = [name for name, result in results.items() if result.why_unranked is None]
    tested = {(a, b): _tested(results, samples, a, b) for a, b in combinations(measured, 2)}
    real, notes = _real(key, holders)
    return ranked_column(
        Column(
            key=key,
            unit=first["unit"],
            higher_is_better=first["higher_is_better"],
            signature=first["signature"],
            kind=first["kind"],
            digits=first["digits"],
            results=results,
            absent=absent(key, systems),
            real=real,
            notes=(*notes, *copies(key, holders)),
        ),
        tested,
    )


def _samples(key: str, systems: Sequence[System]) -> dict[str, Sample]:
    """Return the scores of the systems that have any, by cluster; a cluster has one number in all systems."""
    clips = {
        system.name: [clip for clip in system.run.clips["generated"] if key in clip["scores"]] for system in systems
    }
    labels = {
        name: Clusters.from_clips(lines).across([clip["id"] for clip in lines])
        for name, lines in clips.items()
        if lines
    }
    distinct = dict.fromkeys(label for of_clips in labels.values() for label in of_clips)
    number = {label: index for index, label in enumerate(distinct)}
    return {
        name: Sample.from_scores(
            [clip["scores"][key] for clip in clips[name]], np.array([number[label] for label in of_clips])
        )
        for name, of_clips in labels.items()
    }


def _result(key: str, system: System, sample: Sample | None) -> Result:
    metric = system.run.metrics[key]
    n = metric["n"] if metric["kind"] == "score" else scored(system)
    ends = interval(metric)
    if TOO_PREDICTABLE in metric["warning_codes"]:
        return Result(metric["value"], ends, n, why_unranked=NO_MERIT)
    if sample is not None:
        withheld = mean_of_sample(sample).interval(metric.get("scale"))
        if isinstance(withheld, Withheld):
            return Result(metric["value"], None, n, why_unranked=withheld.reason)
    return Result(metric["value"], ends, n, why_unranked=NO_INTERVAL if ends is None else None)


def _tested(results: Mapping[str, Result], samples: Mapping[str, Sample], a: str, b: str) -> tuple[float, float]:
    """Return the difference of two systems and its p-value: of their clips, or of two intervals without clips."""
    if a in samples and b in samples:
        estimate = difference(samples[a], samples[b])
        return estimate.value, estimate.p_value()
    first, second = results[a], results[b]
    assert first.ci95 is not None
    assert second.ci95 is not None
    gap = difference_of_intervals((first.value, first.ci95), (second.value, second.ci95))
    return gap.value, gap.p_value()


def _real(key: str, holders: Sequence[System]) -> tuple[Reference | None, tuple[str, ...]]:
    """Return the mean of real speech, which does not enter that of a system; none where runs had different speech."""
    baselines = {system.name: real for system in holders if (real := system.run.metrics[key].get("real"))}
    if not baselines:
        return None, ()
    (name, first), *others = baselines.items()
    for other, real in others:
        if real.get("n") != first.get("n") or abs(real["value"] - first["value"]) > _SAME_MEAN:
            return None, (f"no real speech: {name} and {other} were run against different speech",)
    return Reference(first["value"], interval(first), first.get("n")), ()


def scored(system: System) -> int:
    """Return how many generated clips could be scored."""
    return int(system.run.summary["corpora"]["generated"]["n_scored"])
