"""Everything that pJSD says about two corpora of phones: per n the value, its interval, floor and correction.

The one entry point is ``analyse``. Both corpora are encoded once; the draws are made once and shared by all n, so that
a number does not depend on which other n were asked for. Nor does it depend on the order of the utterances: they are
sorted by content before anything is drawn.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from slm_eval.divergence import LN2, coverage, jensen_shannon
from slm_eval.floor import Floor, draw_splits, floor
from slm_eval.incidence import Draws, Incidence, side_ranges
from slm_eval.ngrams import Counts, Encoded, Ids, encode, window_keys
from slm_eval.statistics import Undefined, corrected, draw_halves, half_sampling, interval

# Below this coverage of the pooled n-grams the value mostly tells how large the samples are (nothing works at n=5 and
# 1e4 phones: coverage 0.18; truth lies between excess and corrected from 0.55 on).
MIN_COVERAGE = 0.9
# Sizes that differ by more than this share misrank systems: the smaller side sets the floor.
MAX_SIZE_DIFFERENCE = 0.01
# Cuts of the larger side that ``corrected`` averages over.
CORRECTION_CUTS = 8

# What a random generator is for: each use has a stream of its own, so that more draws of one do not move another.
_HALVES_GENERATED, _HALVES_REAL, _SPLITS, _CUTS = range(4)


@dataclass(frozen=True)
class Analysis:
    """pJSD of one n, in nats, with what is needed to trust it.

    Attributes:
        n: phones per n-gram.
        value: plug-in divergence, as the paper defines it.
        sd: standard deviation of the value, by half-sampling; None where halves of the sides share no n-gram.
        ci95: value ± t sd within [0, ln 2]. It covers sampling variation, not the bias that ``floor`` shows. None,
            with a warning, where it would cover less than it says (``statistics.interval``).
        floor: what real speech would score against real speech at these sizes; None where it cannot be estimated.
        floor_sd: standard deviation of one such score.
        excess: value - floor. A test statistic, not a distance: it shrinks distances.
        corrected: Chao-Wang-Jost estimate at equal sizes; less biased than the value, not unbiased. None where so few
            n-grams were seen twice that it falls out of the range of a divergence.
        coverage: 1 - f1/N of the pooled n-grams.
        n_ngrams, n_types, n_phones, n_utterances: of the generated and of the real side.
        floor_detail: how the floor was measured, or why there is none.
        warnings: one line each.
    """

    n: int
    value: float
    sd: float | None
    ci95: tuple[float, float] | None
    floor: float | None
    floor_sd: float | None
    excess: float | None
    corrected: float | None
    coverage: float
    n_ngrams: tuple[int, int]
    n_types: tuple[int, int]
    n_phones: tuple[int, int]
    n_utterances: tuple[int, int]
    floor_detail: Floor | Undefined
    warnings: tuple[str, ...]


def analyse(
    generated: Iterable[Sequence[Hashable]],
    real: Iterable[Sequence[Hashable]],
    orders: Iterable[int],
    *,
    seed: int = 0,
    draws: int = 128,
    splits: int = 20,
    generated_clusters: Sequence[Any] | None = None,
    real_clusters: Sequence[Any] | None = None,
) -> dict[int, Analysis | Undefined]:
    """Compare the phone n-grams of generated and of real speech.

    Args:
        generated, real: one sequence of phones per utterance; phones are hashable and sortable.
        orders: values of n.
        seed: of all random draws.
        draws: half-samples for the sd, at least 4; drawn in complementary pairs.
        splits: random splits of the real side for the floor, at least 5.
        generated_clusters, real_clusters: a sortable label per utterance; utterances of one label are drawn together
            (one speaker, say). By default every utterance is drawn by itself.

    Returns:
        n -> its analysis, or why pJSD is undefined for that n.

    Raises:
        ValueError: an order below 1, too few draws or splits, or labels that do not match the utterances in number.

    >>> result = analyse(["abba", "a"], ["ababa", "ba"], orders=(2, 5))
    >>> round(result[2].value, 12), result[2].n_ngrams
    (0.136357397905, (3, 5))
    >>> result[5].reason
    'the generated side has no 5-grams: none of its 2 utterances has 5 phones'
    """
    if draws < 4 or splits < 5:
        raise ValueError(f"at least 4 draws and 5 splits are needed; got {draws} and {splits}")
    sides = _Sides.of(list(generated), list(real), generated_clusters, real_clusters)
    resamples = _Resamples.of(sides, seed, draws, splits)
    results: dict[int, Analysis | Undefined] = {}
    for n, windows in window_keys(sides.both, orders):
        results[n] = _analyse_order(n, windows, sides, resamples)
    return results


@dataclass(frozen=True, eq=False)
class _Sides:
    """Both corpora over one inventory, utterances of each side in canonical order, generated first."""

    both: Encoded
    n_utterances: tuple[int, int]
    clusters: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]

    @classmethod
    def of(
        cls,
        generated: list[Sequence[Hashable]],
        real: list[Sequence[Hashable]],
        generated_clusters: Sequence[Any] | None,
        real_clusters: Sequence[Any] | None,
    ) -> _Sides:
        both = encode([*generated, *real])
        ends = np.cumsum(both.lengths)
        # Big-endian, so that the order of the bytes is that of the ids for any width of id.
        width = both.ids.dtype.itemsize
        blob = both.ids.astype(both.ids.dtype.newbyteorder(">")).tobytes()
        contents = [
            blob[(end - length) * width : end * width]
            for end, length in zip(ends.tolist(), both.lengths.tolist(), strict=True)
        ]
        first = _canonical(contents[: len(generated)], generated_clusters, "generated")
        second = _canonical(contents[len(generated) :], real_clusters, "real")
        order = np.concatenate((first[0], second[0] + len(generated)))
        ids = np.frombuffer(b"".join(contents[index] for index in order.tolist()), both.ids.dtype.newbyteorder(">"))
        ordered = Encoded(ids.astype(both.ids.dtype), both.lengths[order], both.inventory)
        return cls(ordered, (len(generated), len(real)), (first[1], second[1]))


@dataclass(frozen=True, eq=False)
class _Resamples:
    """The draws that all n share."""

    seed: int
    halves: tuple[Draws, Draws]
    splits: npt.NDArray[np.intp]

    @classmethod
    def of(cls, sides: _Sides, seed: int, draws: int, splits: int) -> _Resamples:
        generated, real = sides.clusters
        halves = (
            draw_halves(generated, draws // 2, np.random.default_rng((seed, _HALVES_GENERATED))),
            draw_halves(real, draws // 2, np.random.default_rng((seed, _HALVES_REAL))),
        )
        return cls(seed, halves, draw_splits(real, splits, np.random.default_rng((seed, _SPLITS))))


def _analyse_order(n: int, windows: Ids, sides: _Sides, resamples: _Resamples) -> Analysis | Undefined:
    n_windows = sides.both.n_windows(n)
    n_generated = sides.n_utterances[0]
    totals = int(n_windows[:n_generated].sum()), int(n_windows[n_generated:].sum())
    for name, total, n_utterances in zip(("generated", "real"), totals, sides.n_utterances, strict=True):
        if total == 0:
            return Undefined(f"the {name} side has no {n}-grams: none of its {n_utterances} utterances has {n} phones")
    incidence = Incidence.build(windows, n_windows)
    counts = _side_counts(incidence, n_generated)
    value = jensen_shannon(*counts)
    sd = half_sampling(incidence, n_generated, resamples.halves)
    around = _interval(value, sd, counts, sides)
    detail = floor(incidence, n_generated, sides.clusters[1], resamples.splits)
    measured = detail if isinstance(detail, Floor) else None
    covered = coverage(*counts)
    estimate = corrected(incidence, n_generated, CORRECTION_CUTS, np.random.default_rng((resamples.seed, _CUTS)))
    lengths = sides.both.lengths
    return Analysis(
        n=n,
        value=value,
        sd=sd,
        ci95=around if isinstance(around, tuple) else None,
        floor=measured.value if measured else None,
        floor_sd=measured.sd if measured else None,
        excess=value - measured.value if measured else None,
        corrected=estimate if _possible(estimate, sd) else None,
        coverage=covered,
        n_ngrams=totals,
        n_types=(int(np.count_nonzero(counts[0])), int(np.count_nonzero(counts[1]))),
        n_phones=(int(lengths[:n_generated].sum()), int(lengths[n_generated:].sum())),
        n_utterances=sides.n_utterances,
        floor_detail=detail,
        warnings=_warnings(covered, totals, around, detail, corrected_fails=not _possible(estimate, sd)),
    )


def _interval(
    value: float, sd: float | None, counts: tuple[Counts, Counts], sides: _Sides
) -> tuple[float, float] | Undefined:
    """95 % interval of the value, or why there is none."""
    if sd is None:
        return Undefined("halves of the sides share no n-gram")
    return interval(value, sd, sides.clusters, int(np.minimum(*counts).sum()))


def _possible(estimate: float, sd: float | None) -> bool:
    """Whether an estimate lies in the range of a divergence, but for its noise (an unbiased one of 0 is half the time
    below it). Entropy estimates of samples without repetitions lie far outside."""
    return -3 * (sd or 0.0) - 1e-12 <= estimate <= LN2


def _warnings(
    covered: float,
    totals: tuple[int, int],
    around: tuple[float, float] | Undefined,
    detail: Floor | Undefined,
    corrected_fails: bool,
) -> tuple[str, ...]:
    # Without figures, which stand in the fields of the result: equal warnings of several n can then be told as one.
    found = []
    if covered < MIN_COVERAGE:
        found.append(
            f"coverage is below {MIN_COVERAGE}: the value tells more about sample size than about language; "
            "look at the excess over the floor, or use more speech"
        )
    if abs(totals[0] - totals[1]) > MAX_SIZE_DIFFERENCE * max(totals):
        found.append(
            f"the sides differ in size by more than {MAX_SIZE_DIFFERENCE:.0%}: rank systems only at equal sizes"
        )
    if isinstance(around, Undefined):
        found.append(f"there is no interval: {around.reason}")
    if corrected_fails:
        found.append("there is no corrected value: too few n-grams were seen more than once")
    if isinstance(detail, Undefined):
        found.append(f"there is no floor: {detail.reason}")
    return tuple(found)


def _side_counts(incidence: Incidence, n_generated: int) -> tuple[Counts, Counts]:
    """Aligned counts of both sides."""
    members = np.zeros((2, incidence.n_windows.size), dtype=bool)
    for member, side in zip(members, side_ranges(incidence, n_generated), strict=True):
        member[side] = True
    return incidence.counts(members[0]), incidence.counts(members[1])


def _canonical(
    contents: list[bytes], labels: Sequence[Any] | None, side: str
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Order of a side's utterances by content, and the cluster of each in that order, numbered by first appearance."""
    if labels is not None and len(labels) != len(contents):
        raise ValueError(f"{len(contents)} {side} utterances need as many cluster labels; got {len(labels)}")
    if labels is None:
        order = sorted(range(len(contents)), key=contents.__getitem__)
        return np.array(order, dtype=np.intp), np.arange(len(contents))
    order = sorted(range(len(contents)), key=lambda index: (contents[index], labels[index]))
    number: dict[Any, int] = {}
    clusters = [number.setdefault(labels[index], len(number)) for index in order]
    return np.array(order, dtype=np.intp), np.array(clusters, dtype=np.intp)
