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

from slm_eval.divergence.correction import corrected
from slm_eval.divergence.estimators import coverage, jensen_shannon
from slm_eval.divergence.floor import Floor, draw_splits, floor
from slm_eval.divergence.incidence import Draws, Incidence, side_ranges
from slm_eval.divergence.ngrams import Counts, Encoded, Ids, encode, window_keys
from slm_eval.divergence.resampling import (
    Undefined,
    draw_halves,
    half_sampling,
    interval,
    too_few,
    value_at_equal_sizes,
)
from slm_eval.divergence.same_source import deal_out, p_value, why_not

# Below this coverage of the pooled n-grams the value mostly tells how large the samples are.
MIN_COVERAGE = 0.9
# Below this coverage ``corrected`` can miss most of a diffuse difference: of 15 % of phones substituted at random, at a
# coverage of 0.6 to 0.7, it showed a quarter.
MIN_CORRECTED_COVERAGE = 0.8
# Largest difference of the sides' own floors, in estimates; or in sds of a score, by which they may differ by chance.
# Beyond it one side is so much more varied that dividing by its floor takes most of a true difference away.
MAX_FLOOR_GAP, FLOOR_GAP_SDS = 2.0, 3.0
# Sizes that differ by more than this share misrank systems: the smaller side sets the floor.
MAX_SIZE_DIFFERENCE = 0.01
# Cuts of the larger side that ``corrected`` averages over.
CORRECTION_CUTS = 8
# Deviations below the floor at which generated speech is nearer to the real sample than real speech would be: the floor
# itself errs by up to two.
BELOW_FLOOR_SDS = 5

# Purposes of random generators: each use has a stream of its own, so that more draws of one do not move another.
_HALVES_GENERATED, _HALVES_REAL, _SPLITS, _CUTS, _SPLITS_GENERATED, _LABELS = range(6)


@dataclass(frozen=True)
class Analysis:
    """pJSD of one n, in nats, with what is needed to trust it.

    Attributes:
        n: phones per n-gram.
        value: plug-in divergence, as the paper defines it.
        sd: standard deviation of the value, by half-sampling; None where halves of the sides share no n-gram.
        ci95: value ± t sd within [0, ln 2]. It covers sampling variation, not the bias that ``floor`` shows. None,
            with a warning, where it would cover less than it says (``resampling.interval``).
        floor: what real speech would score against real speech at these sizes; None where it cannot be estimated.
        floor_sd: standard deviation of one such score. Of no use as a test: ``p`` is one.
        p: how often two samples of one source, of these sizes, would differ as much; by permutation.
        excess: value - floor. Not a distance: it shrinks distances.
        corrected: estimate of the divergence of the sources (``correction``). None where it would mean nothing.
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
    p: float | None
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
    draws: int = 192,
    splits: int = 40,
    labellings: int = 200,
    generated_clusters: Sequence[Any] | None = None,
    real_clusters: Sequence[Any] | None = None,
) -> dict[int, Analysis | Undefined]:
    """Compare the phone n-grams of generated and of real speech.

    Args:
        generated, real: one sequence of phones per utterance; phones are hashable and sortable.
        orders: values of n.
        seed: of all random draws.
        draws: half-samples for the sd, at least 6; drawn in complementary pairs.
        splits: random splits of a side for its floor, at least 5.
        labellings: of the test of one source, the observed one among them, at least 20.
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
    if draws < 6 or splits < 5 or labellings < 20:
        raise ValueError(f"expected at least 6 draws, 5 splits, 20 labellings; got {draws}, {splits}, {labellings}")
    # 1. Both sides over one inventory, utterances in the order of their content.
    sides = _Sides.from_utterances(list(generated), list(real), generated_clusters, real_clusters)
    # 2. The draws, which all n share.
    resamples = _Resamples.draw(sides, seed, draws, splits, labellings)
    # 3. One n after the other.
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
    def from_utterances(
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
    splits: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
    labels: Draws | Undefined

    @classmethod
    def draw(cls, sides: _Sides, seed: int, draws: int, splits: int, labellings: int) -> _Resamples:
        generated, real = sides.clusters

        def rng(purpose: int) -> np.random.Generator:
            return np.random.default_rng((seed, purpose))

        return cls(
            seed,
            (
                draw_halves(generated, draws // 2, rng(_HALVES_GENERATED)),
                draw_halves(real, draws // 2, rng(_HALVES_REAL)),
            ),
            (draw_splits(generated, splits, rng(_SPLITS_GENERATED)), draw_splits(real, splits, rng(_SPLITS))),
            _labels(sides, labellings, rng(_LABELS)),
        )


def _labels(sides: _Sides, labellings: int, rng: np.random.Generator) -> Draws | Undefined:
    """Deal the utterances of both sides out, or say why they cannot be exchanged."""
    if not all(sides.n_utterances):
        return Undefined("a side is empty")
    reason = why_not(sides.clusters, sides.both.lengths)
    return deal_out(sides.clusters, sides.both.lengths, labellings, rng) if reason is None else Undefined(reason)


def _analyse_order(n: int, windows: Ids, sides: _Sides, resamples: _Resamples) -> Analysis | Undefined:
    # 1. Which n-grams are in which utterances.
    n_windows = sides.both.n_windows(n)
    n_generated = sides.n_utterances[0]
    totals = int(n_windows[:n_generated].sum()), int(n_windows[n_generated:].sum())
    empty = _empty_side(n, totals, sides.n_utterances)
    if empty is not None:
        return empty
    incidence = Incidence.build(windows, n_windows)
    ranges = side_ranges(incidence, n_generated)
    counts = incidence.counts_of(ranges[0]), incidence.counts_of(ranges[1])
    # 2. The value, and how far it would move with other utterances of the same sources.
    value = jensen_shannon(*counts)
    sd = half_sampling(incidence, n_generated, sides.clusters, resamples.halves)
    around = _interval(value, sd, counts, sides, n_windows, resamples.halves[0].shape[1])
    # 3. What real speech would score in place of generated speech, and what is left without that.
    detail = floor(incidence, ranges[1], sides.clusters[1], totals, resamples.splits[1])
    measured = detail if isinstance(detail, Floor) else None
    covered = coverage(*counts)
    estimate = _corrected(value, covered, incidence, totals, sides, resamples, measured)
    excess = value - measured.value if measured else None
    # 4. Could both be samples of one source?
    test = _test(incidence, resamples)
    one_named = _one_side_named(sides.clusters)
    lengths = sides.both.lengths
    return Analysis(
        n=n,
        value=value,
        sd=sd,
        ci95=around if isinstance(around, tuple) else None,
        floor=measured.value if measured else None,
        floor_sd=measured.sd if measured else None,
        p=None if isinstance(test, Undefined) else test,
        excess=excess,
        corrected=estimate if isinstance(estimate, float) else None,
        coverage=covered,
        n_ngrams=totals,
        n_types=(int(np.count_nonzero(counts[0])), int(np.count_nonzero(counts[1]))),
        n_phones=(int(lengths[:n_generated].sum()), int(lengths[n_generated:].sum())),
        n_utterances=sides.n_utterances,
        floor_detail=detail,
        warnings=_warnings(
            covered,
            totals,
            around,
            detail,
            estimate,
            test,
            # Against few speakers, single clips of the same source lie below the floor that these make.
            below=measured is not None and not one_named and _below(excess, sd, measured),
            one_named=one_named,
        ),
    )


def _empty_side(n: int, totals: tuple[int, int], n_utterances: tuple[int, int]) -> Undefined | None:
    """Return why there is no divergence: the first side that has no n-grams; or None."""
    for name, total, size in zip(("generated", "real"), totals, n_utterances, strict=True):
        if total == 0:
            return Undefined(f"the {name} side has no {n}-grams: none of its {size} utterances has {n} phones")
    return None


def _test(incidence: Incidence, resamples: _Resamples) -> float | Undefined:
    """Return p of "generated and real speech are of one source", or why there is none."""
    if isinstance(resamples.labels, Undefined):
        return resamples.labels
    p = p_value(incidence, resamples.labels)
    return Undefined("sides of single clips would have no n-grams") if p is None else p


def _interval(
    value: float, sd: float | None, counts: tuple[Counts, Counts], sides: _Sides, n_windows: Counts, draws: int
) -> tuple[float, float] | Undefined:
    """Return the 95 % interval of the value, or why there is none."""
    n_shared = int(np.minimum(*counts).sum())
    if sd is None:
        return too_few(sides.clusters, n_shared) or Undefined("halves of the sides share no n-gram")
    first = sides.n_utterances[0]
    return interval(value, sd, sides.clusters, (n_windows[:first], n_windows[first:]), n_shared, draws)


def _corrected(
    value: float,
    covered: float,
    incidence: Incidence,
    totals: tuple[int, int],
    sides: _Sides,
    resamples: _Resamples,
    floor_of_real: Floor | None,
) -> float | Undefined:
    """Estimate the divergence of the sources at equal sizes, or say why that would mean nothing."""
    if covered < MIN_CORRECTED_COVERAGE:
        return Undefined(f"coverage is below {MIN_CORRECTED_COVERAGE}")
    equal = min(totals)
    wanted = totals if _same_size(totals) else (equal, equal)
    floors = [
        floor_of_real
        if which == 1 and wanted == totals and floor_of_real is not None
        else floor(incidence, side, sides.clusters[which], wanted, resamples.splits[which])
        for which, side in enumerate(side_ranges(incidence, sides.n_utterances[0]))
    ]
    for estimated in floors:
        if isinstance(estimated, Undefined):
            return estimated
    if wanted != totals:
        rng = np.random.default_rng((resamples.seed, _CUTS))
        value = value_at_equal_sizes(incidence, sides.n_utterances[0], CORRECTION_CUTS, rng)
    first, second = (measured for measured in floors if isinstance(measured, Floor))
    estimate = corrected(value, [first.value, second.value])
    if estimate is None:
        return Undefined("parts of one side share too few n-grams")
    gap = abs(first.value - second.value)
    if gap > max(MAX_FLOOR_GAP * estimate, FLOOR_GAP_SDS * max(first.sd, second.sd)):
        return Undefined("one side is far more varied than the other: it would miss most of a difference")
    return estimate


def _one_side_named(clusters: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]) -> bool:
    """Return whether clips of one side are drawn by speakers (or prompts), those of the other each by itself."""
    grouped = [2 * (int(side.max()) + 1) <= side.size for side in clusters]
    return grouped[0] != grouped[1]


def _same_size(totals: tuple[int, int]) -> bool:
    return abs(totals[0] - totals[1]) <= MAX_SIZE_DIFFERENCE * max(totals)


def _below(excess: float | None, sd: float | None, measured: Floor) -> bool:
    """Return whether generated speech is nearer to the real sample than other real speech is."""
    return excess is not None and excess < -BELOW_FLOOR_SDS * max(sd or 0.0, measured.sd)


def _warnings(
    covered: float,
    totals: tuple[int, int],
    around: tuple[float, float] | Undefined,
    detail: Floor | Undefined,
    estimate: float | Undefined,
    test: float | Undefined,
    *,
    below: bool,
    one_named: bool,
) -> tuple[str, ...]:
    # Without figures, which stand in the fields of the result: equal warnings of several n can then be told as one.
    warnings = []
    if covered < MIN_COVERAGE:
        warnings.append(
            f"coverage is below {MIN_COVERAGE}: the value tells more about sample size than about language; "
            "use more speech, or read a smaller n"
        )
    if not _same_size(totals):
        warnings.append(
            f"the sides differ in size by more than {MAX_SIZE_DIFFERENCE:.0%}: rank systems only at equal sizes"
        )
    if one_named:
        warnings.append(
            "clips of one side are grouped by speakers (or prompts), those of the other are not: if they share some, p "
            "and the interval are too small; name those of both sides"
        )
    if below:
        warnings.append(
            "the value is far below the floor: generated speech is nearer to this real sample than other real speech "
            "would be, as if parts of it had been copied"
        )
    if isinstance(around, Undefined):
        warnings.append(f"there is no interval: {around.reason}")
    if isinstance(estimate, Undefined):
        warnings.append(f"there is no corrected value: {estimate.reason}")
    if isinstance(detail, Undefined):
        warnings.append(f"there is no floor: {detail.reason}")
    if isinstance(test, Undefined):
        warnings.append(f"there is no test against real speech: {test.reason}")
    return tuple(warnings)


def _canonical(
    contents: list[bytes], labels: Sequence[Any] | None, side: str
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return a side's utterances in the order of content, and the cluster of each, numbered by first appearance."""
    if labels is not None and len(labels) != len(contents):
        raise ValueError(f"expected a cluster label for each of {len(contents)} {side} utterances; got {len(labels)}")
    if labels is None:
        order = sorted(range(len(contents)), key=contents.__getitem__)
        return np.array(order, dtype=np.intp), np.arange(len(contents))
    order = sorted(range(len(contents)), key=lambda index: (contents[index], labels[index]))
    number: dict[Any, int] = {}
    clusters = [number.setdefault(labels[index], len(number)) for index in order]
    return np.array(order, dtype=np.intp), np.array(clusters, dtype=np.intp)
