"""pJSD of two systems: the test, the interval and the power of J(A, R) - J(B, R), R the real speech of both.

J falls as samples grow, so it is compared at equal numbers of n-grams (``speech.Speech.at_equal_sizes``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from slm_eval.base.arrays import Floats
from slm_eval.compare.design import SIZES, Design
from slm_eval.compare.permutation import p_value
from slm_eval.compare.pool import Pool
from slm_eval.compare.result import Difference, Tested
from slm_eval.compare.speech import HALF_SAMPLES, Speech
from slm_eval.divergence.estimators import jensen_shannon
from slm_eval.divergence.incidence import Incidence, divergences_of_halves
from slm_eval.divergence.ngrams import window_keys
from slm_eval.divergence.rarefaction import PhonesNeeded, phones_needed
from slm_eval.divergence.resampling import (
    Undefined,
    degrees_of_freedom,
    difference_sd,
    effective_clusters,
    few_clusters,
    sizes_of_halves,
    too_few,
)


def divergence_changes(
    orders: Sequence[int], metrics: dict[str, dict[str, Any]], design: Design
) -> dict[str, Tested | str]:
    """Return each order's difference by its key, or why there is none. All orders share the labellings.

    Args:
        metrics: what summary.json says of each key.
    """
    if not orders:
        return {}
    speech = Speech.from_design(design)
    if isinstance(speech, str):
        return {f"pjsd.{n}": speech for n in orders}
    return {f"pjsd.{n}": _tested(n, speech, metrics[f"pjsd.{n}"], design) for n in orders}


def phones_to_tell_apart(orders: Sequence[int], design: Design) -> dict[str, str]:
    """Say how much speech would tell the systems apart by each order, or why that cannot be said: key -> one line."""
    speech = Speech.from_design(design) if orders else ""
    if isinstance(speech, str):
        return {f"pjsd.{n}": speech for n in orders}
    clusters = (list(speech.clusters[0]), list(speech.clusters[1]), list(speech.clusters[2]))
    sizes = phones_needed(
        speech.a, speech.b, speech.real, orders, seed=design.seed, clusters=clusters, paired=design.paired
    )
    return {
        f"pjsd.{n}": f"about {size.n_phones:,} phones of each system and of real speech would tell them apart, "
        "if the true difference is this one"
        if isinstance(size, PhonesNeeded)
        else f"how much speech would tell is not known: {size.reason}"
        for n, size in sizes.items()
    }


def _tested(n: int, speech: Speech, metric: dict[str, Any], design: Design) -> Tested | str:
    """Return the difference at equal sizes, and the test of pairs at equal sizes or of all clips of two samples."""
    equal = speech.at_equal_sizes(n)
    incidence = _incidence(n, equal)
    if not all(_sizes(incidence, equal)):
        return f"a side has no {n}-grams"
    if design.paired or equal is speech:
        statistics = _statistics(incidence, equal, design.seed)
    else:
        statistics = _statistics(_incidence(n, speech), speech, design.seed)
    return Tested(_difference(n, incidence, equal, metric, p_value(statistics)), statistics)


def _incidence(n: int, speech: Speech) -> Incidence:
    ((_, windows),) = window_keys(speech.encoded, (n,))
    incidence = Incidence.build(windows, speech.encoded.n_windows(n))
    # Nothing here asks in which order windows stand.
    return replace(incidence, windows=windows[:0].copy())


def _sizes(incidence: Incidence, speech: Speech) -> tuple[int, int, int]:
    """Return the n-grams of A, B and real speech."""
    return tuple(int(incidence.n_windows[side].sum()) for side in speech.ranges)  # type: ignore[return-value]


def _statistics(incidence: Incidence, speech: Speech, seed: int) -> Floats:
    """Return J(A, R) - J(B, R) of all labellings, less what sizes make of it: shape (B,)."""
    _, second, real = speech.ranges
    pool = Pool.from_incidence(incidence, slice(0, second.stop), real)
    rng = np.random.default_rng((seed, SIZES))
    return pool.statistics(speech.labels, speech.labellings.size, rng, centred=not speech.paired)


def _difference(n: int, incidence: Incidence, speech: Speech, metric: dict[str, Any], p: float) -> Difference:
    per_nat = 1 / math.log(2) if metric["unit"] == "bits" else 1.0
    counts = [incidence.counts_of(side) for side in speech.ranges]
    of_a, of_b = (jensen_shannon(side, counts[2]) for side in counts[:2])
    n_shared = min(int(np.minimum(side, counts[2]).sum()) for side in counts[:2])
    spread = _spread(incidence, speech, (of_a, of_b), n_shared)
    notes = speech.notes
    interval = p_source = None
    if isinstance(spread, Undefined):
        notes = (*notes, f"there is no interval: {spread.reason}")
    else:
        interval, p_source = _of_source(of_a - of_b, *spread)
    return Difference(
        key=f"pjsd.{n}",
        a=of_a * per_nat,
        b=of_b * per_nat,
        difference=(of_a - of_b) * per_nat,
        ci95=None if interval is None else (interval[0] * per_nat, interval[1] * per_nat),
        effect=None,
        p=p,
        p_adjusted=p,
        p_source=p_source,
        p_source_adjusted=p_source,
        n=(len(speech.a), len(speech.b)),
        n_ngrams=_sizes(incidence, speech),
        unit=metric["unit"],
        higher_is_better=False,
        better=None,
        claim=None,
        needed=None,
        notes=notes,
        signature=metric["signature"],
        kind=metric["kind"],
        digits=metric["digits"],
    )


def _of_source(difference: float, sd: float, freedom: float) -> tuple[tuple[float, float], float]:
    """Return the 95 % interval of a difference, and the p-value of there being none, by the same t distribution."""
    from scipy.special import stdtr, stdtrit

    half = float(stdtrit(freedom, 0.975)) * sd
    p = 2 * float(stdtr(freedom, -abs(difference) / sd)) if sd else float(difference == 0)
    return (difference - half, difference + half), p


def _spread(
    incidence: Incidence, speech: Speech, whole: tuple[float, float], n_shared: int
) -> tuple[float, float] | Undefined:
    """Return the sd of the difference over fresh samples, and its degrees of freedom; or why they are not known.

    By complementary halves of A, of B and of real speech, as ``resampling.half_sampling`` does for one value; what a
    half of real speech adds to both divergences is no part of their difference.
    """
    reason = too_few(speech.clusters, n_shared)
    if reason is not None:
        return reason
    halves, sides = speech.halves, speech.ranges
    of_a, of_b = (
        divergences_of_halves(incidence, (side, sides[2]), (drawn, halves[2]))
        for side, drawn in zip(sides[:2], halves[:2], strict=True)
    )
    sizes = [sizes_of_halves(incidence.n_windows[side], drawn) for side, drawn in zip(sides, halves, strict=True)]
    sd = difference_sd((of_a, of_b), sizes, whole)
    if sd is None:
        return Undefined("halves of the sides share no n-gram")
    effective = min(effective_clusters(side) for side in speech.clusters)
    return sd * few_clusters(effective), degrees_of_freedom(effective, HALF_SAMPLES)
