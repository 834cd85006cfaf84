"""Resampling against brute force with the same draws, and by simulation where the truth is known.

The sources are Markov chains: fresh samples of them say what a sampling sd or a floor should have been.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from slm_eval.divergence.analysis import Analysis, analyse
from slm_eval.divergence.correction import corrected
from slm_eval.divergence.estimators import LN2, jensen_shannon
from slm_eval.divergence.floor import Floor, cut_segments, draw_splits, floor
from slm_eval.divergence.incidence import Incidence, divergences
from slm_eval.divergence.ngrams import encode, window_keys
from slm_eval.divergence.resampling import (
    Undefined,
    draw_halves,
    effective_clusters,
    half_sampling,
    interval,
    sampling_variance,
    value_at_equal_sizes,
)
from slm_eval.functional import pjsd

Corpus = list[list[int]]


def chain(seed: int, n_phones: int = 12) -> npt.NDArray[np.float64]:
    """Transition probabilities of a random order-1 Markov chain."""
    return np.random.default_rng(seed).dirichlet(np.full(n_phones, 0.4), n_phones)


def sample(transitions: npt.NDArray[np.float64], n_utterances: int, length: int, rng: np.random.Generator) -> Corpus:
    """Utterances of exponential-like lengths around ``length``."""
    cumulative = transitions.cumsum(axis=1)
    lengths = rng.integers(length // 2, length * 3 // 2, size=n_utterances)
    states = rng.integers(len(transitions), size=n_utterances)
    steps = []
    for _ in range(lengths.max() + 10):
        states = np.minimum((cumulative[states] < rng.random(n_utterances)[:, None]).sum(axis=1), len(transitions) - 1)
        steps.append(states)
    # The first ten steps forget the uniform start.
    return [row[10 : 10 + size].tolist() for row, size in zip(np.array(steps).T, lengths, strict=True)]


def incidence_of(utterances: Sequence[Sequence[int]], n: int) -> Incidence:
    encoded = encode(utterances)
    ((_, keys),) = window_keys(encoded, (n,))
    return Incidence.build(keys, encoded.n_windows(n))


def as_counter(utterances: Corpus, n: int) -> Counter[tuple[int, ...]]:
    return Counter(tuple(each[i : i + n]) for each in utterances for i in range(len(each) - n + 1))


def brute_force(generated: Corpus, real: Corpus, n: int) -> float:
    a, b = as_counter(generated, n), as_counter(real, n)
    union = sorted({*a, *b})
    return jensen_shannon([a[key] for key in union], [b[key] for key in union])


def chosen(utterances: Corpus, draw: npt.NDArray[np.uint8]) -> Corpus:
    return [each for each, taken in zip(utterances, draw.tolist(), strict=True) if taken]


# ---- incidence ----


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("length", [5, 3000])
def test_divergences_of_draws_equal_brute_force(n: int, length: int) -> None:
    # 3,000 phones per utterance give counts beyond 8 and 16 bits; 70 draws are more than one block.
    rng = np.random.default_rng(n)
    generated, real = sample(chain(1, 4), 30, length, rng), sample(chain(2, 4), 25, length, rng)
    draws = 70 if length < 100 else 3
    masks = (draw_halves(np.arange(30), draws, rng), draw_halves(np.arange(25), draws, rng))
    incidence = incidence_of([*generated, *real], n)
    got = divergences(incidence, (slice(0, 30), slice(30, 55)), masks)
    expected = [
        brute_force(chosen(generated, masks[0][:, draw]), chosen(real, masks[1][:, draw]), n) for draw in range(draws)
    ]
    np.testing.assert_allclose(got, expected, atol=1e-12, rtol=0)


def test_incidence_counts_equal_counter() -> None:
    utterances = sample(chain(1), 20, 30, np.random.default_rng(0))
    incidence = incidence_of(utterances, 3)
    mask = np.arange(20) % 3 == 0
    expected = as_counter([each for each, taken in zip(utterances, mask, strict=True) if taken], 3)
    counts = incidence.counts(mask)
    assert sorted(counts[counts > 0].tolist()) == sorted(expected.values())
    assert incidence.multiplicities.sum() == incidence.n_windows.sum() == incidence.windows.size


def test_incidence_of_keys_too_wide_for_pairs() -> None:
    keys = np.array([2**63, 5, 2**63, 7], dtype=np.uint64)
    incidence = Incidence.build(keys, np.array([1, 3]))
    assert incidence.counts(np.array([True, True])).tolist() == [1, 1, 2]


# ---- half-sampling ----


def test_half_sampling_equals_brute_force_with_the_same_draws() -> None:
    rng = np.random.default_rng(0)
    generated, real = sample(chain(1), 21, 40, rng), sample(chain(2), 34, 40, rng)
    halves = draw_halves(np.arange(21), 20, rng), draw_halves(np.arange(34), 20, rng)
    assert halves[0].sum(axis=0).tolist() == [10] * 20
    assert halves[1].sum(axis=0).tolist() == [17] * 20
    scores, design = [], []
    for masks in ((halves[0].T, halves[1].T), (1 - halves[0].T, 1 - halves[1].T)):
        for a, b in zip(*masks, strict=True):
            parts = chosen(generated, a), chosen(real, b)
            scores.append(brute_force(*parts, 2))
            design.append([1.0, *(math.log(sum(as_counter(part, 2).values())) for part in parts)])
    # What is left of the scores beside a straight line in both logarithms, of 40 - 1 degrees of freedom two gone.
    kept = np.array(scores) - np.array(design) @ np.linalg.solve(
        np.array(design).T @ np.array(design), np.array(design).T @ np.array(scores)
    )
    # (drawn - others)/2 is odd, (drawn + others)/2 even: the difference of their variances is a quarter of -4 cov.
    variance = -np.cov(kept[:20], kept[20:], ddof=1)[0, 1] * 39 / 37
    assert variance > np.var(np.subtract(kept[:20], kept[20:]), ddof=1) / 8
    value = brute_force(generated, real, 2) / LN2
    growth = (1 - value) / (1 - np.mean(scores) / LN2)
    # As many clips of one size as the generated ones are, two of them gone.
    sizes = np.array([len(each) - 1 for each in generated])
    effective = sizes.sum() ** 2 / (sizes**2).sum()
    variance *= effective / (effective - 2)
    got = half_sampling(incidence_of([*generated, *real], 2), 21, (np.arange(21), np.arange(34)), halves)
    assert got == pytest.approx(math.sqrt(variance) * (1 + (growth - 1) * value), rel=1e-9)


def test_sampling_variance_of_a_sum_is_its_variance() -> None:
    # A statistic to which each of 40 units adds v: fresh samples of 40 have the variance 40 var(v), and sizes that do
    # nothing to it change nothing but for the noise of 4,000 draws.
    rng = np.random.default_rng(0)
    values, draws = rng.normal(size=40), draw_halves(np.arange(40), 4000, rng)
    # Of half of the units twice their sum, so that halves and the whole have one expectation.
    drawn = 2 * np.concatenate((values @ draws, values @ (1 - draws)))
    sizes = rng.integers(50, 60, size=8000)
    assert sampling_variance(drawn, [sizes]) == pytest.approx(40 * np.var(values, ddof=1), rel=0.08)


def test_what_sizes_of_halves_do_to_scores_is_no_variance() -> None:
    rng = np.random.default_rng(0)
    sizes, noise = np.exp(rng.normal(size=200)), rng.normal(size=100) * 0.01
    scores = -3 * np.log(sizes) + np.concatenate((noise, -noise))
    assert sampling_variance(scores, [sizes]) == pytest.approx(1e-4, rel=0.3)
    assert sampling_variance(scores, [np.ones(200)]) > 1


@pytest.mark.parametrize("clips", [1, 6])
def test_sd_is_the_sampling_sd_where_clips_and_speakers_are_uneven(clips: int) -> None:
    # Lengths lognormal with a coefficient of variation of 0.9; speakers of one, or of geometrically many, clips.
    # Corpora of 8,000 phones. The former sd, without regard to the sizes of halves, was 1.9 and 4.8 times the true one.
    def draw(rng: np.random.Generator) -> tuple[Corpus, list[int]]:
        lengths: list[int] = []
        speakers: list[int] = []
        while sum(lengths) < 8000:
            for _ in range(rng.geometric(1 / clips)):
                lengths.append(min(max(int(rng.lognormal(3.8, 0.77)), 3), max(8000 - sum(lengths), 3)))
                speakers.append(len(set(speakers)) if not speakers or rng.random() < 1 / clips else speakers[-1])
        pool = sample(chain(1), len(lengths), 2 * max(lengths) + 2, rng)
        return [row[:length] for row, length in zip(pool, lengths, strict=True)], speakers

    values, sds = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        (generated, first), (real, second) = draw(rng), draw(rng)
        result = analyse(
            generated, real, (3,), splits=5, labellings=20, generated_clusters=first, real_clusters=second
        )[3]
        assert isinstance(result, Analysis)
        values.append(result.value)
        sds.append(result.sd)
    assert 0.75 < np.sqrt(np.mean(np.square(sds))) / np.std(values, ddof=1) < 1.5


def test_halves_keep_clusters_together() -> None:
    clusters = np.array([0, 1, 0, 2, 1, 3, 3, 4])
    halves = draw_halves(clusters, 50, np.random.default_rng(0))
    for draw in halves.T:
        taken = set(clusters[draw == 1].tolist())
        assert len(taken) == 2
        assert draw.tolist() == [int(cluster in taken) for cluster in clusters]


@pytest.mark.parametrize(("source", "n"), [(1, 1), (1, 2), (1, 5), (2, 2), (2, 3)])
def test_half_sampling_sd_is_the_sampling_sd(source: int, n: int) -> None:
    # One source (the value is all floor) and two; hardly saturated and nearly so. The sd over 80 fresh pairs of
    # corpora, known to 8 %, against the mean estimate; a plain sd of half-samples is 1.8 times that at (1, 2).
    rng = np.random.default_rng(0)
    values, estimates, covered = [], [], []
    for _ in range(80):
        generated, real = sample(chain(source), 60, 40, rng), sample(chain(1), 60, 40, rng)
        result = analyse(generated, real, (n,), draws=128, splits=5)[n]
        assert isinstance(result, Analysis)
        assert result.sd is not None
        assert result.ci95 is not None
        values.append(result.value)
        estimates.append(result.sd)
        covered.append(result.ci95)
    assert np.mean(estimates) == pytest.approx(np.std(values, ddof=1), rel=0.3)
    # The interval is about the expectation at this size.
    assert np.mean([low <= np.mean(values) <= high for low, high in covered]) >= 0.9


def test_interval_is_that_of_t_and_is_withheld_where_it_would_not_hold() -> None:
    # t(0.975, 24) is 2.0639, of any table; of so many draws that they do not count.
    alone, speakers = np.arange(25), np.arange(100) // 5

    def around(value: float, sd: float, clusters: list[npt.NDArray[np.intp]], n_shared: int = 1000) -> Any:
        return interval(value, sd, clusters, [np.ones(side.size) for side in clusters], n_shared, 10**9)

    for clusters in ([alone, np.arange(30)], [np.arange(100) // 4, np.arange(75) // 3]):
        assert around(0.3, 0.01, clusters) == pytest.approx((0.3 - 0.020639, 0.3 + 0.020639), abs=1e-6)
    # 24 of 50 clips so short that they hardly count: as 26 clips, and a little.
    uneven = interval(0.3, 0.01, [np.arange(50)] * 2, [np.repeat([1, 100], [24, 26])] * 2, 1000, 10**9)
    assert uneven[1] - 0.3 == pytest.approx(0.020589, abs=2e-5)  # type: ignore[operator, index]
    # 26 clips, and 126 draws, are 25 degrees of freedom each: 12.5 together, t between those of 12 and 13.
    both = interval(0.3, 0.01, [np.arange(26)] * 2, [np.ones(26)] * 2, 1000, 126)
    assert 0.02160 < both[1] - 0.3 < 0.02179  # type: ignore[operator, index]
    assert around(0.01, 0.01, [alone, alone])[0] == 0
    assert around(0.69, 0.01, [alone, alone])[1] == LN2
    assert isinstance(around(0.3, 0.01, [np.arange(8), speakers]), tuple)
    few = [
        around(0.3, 0.01, [alone, np.arange(7)]),
        around(0.3, 0.01, [speakers[:95], alone]),
        around(0.69, 0.001, [alone, alone], 49),
    ]
    uneven = np.repeat(np.arange(30), [40, *[1] * 29])
    assert effective_clusters(uneven) == pytest.approx(69**2 / (1600 + 29))
    few.append(around(0.3, 0.01, [uneven, alone]))
    assert few == [
        Undefined("a side has fewer than 8 clips"),
        Undefined("a side has clips of fewer than 20 speakers (or prompts)"),
        Undefined("the sides share fewer than 50 n-grams"),
        Undefined("most clips of a side are of a few speakers (or prompts), worth fewer than 8 equal ones"),
    ]


# ---- floor ----


@pytest.mark.parametrize("ratio", [0.2, 1.0, 1.3])
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_floor_is_the_score_of_fresh_samples(n: int, ratio: float) -> None:
    # Sources of 12 phones, 100 real utterances of 40. The floor varies with the real side that it was measured on:
    # three of them are averaged.
    rng = np.random.default_rng(n)
    n_generated = int(100 * ratio)
    truth, floors = [], []
    for repeat in range(20):
        generated, real = sample(chain(1), n_generated, 40, rng), sample(chain(1), 100, 40, rng)
        incidence = incidence_of([*generated, *real], n)
        truth.append(brute_force(generated, real, n))
        if repeat < 3:
            side, wanted = (
                slice(n_generated, n_generated + 100),
                tuple(
                    int(incidence.n_windows[part].sum()) for part in (slice(0, n_generated), slice(n_generated, None))
                ),
            )
            result = floor(incidence, side, np.arange(100), wanted, draw_splits(np.arange(100), 40, rng))  # type: ignore[arg-type]
            assert isinstance(result, Floor)
            assert result.scale == pytest.approx(1 / (1 + ratio), rel=0.15)
            assert sorted(result.measured, reverse=True) == list(result.measured)
            floors.append(result)
    sd = np.std(truth, ddof=1)
    assert np.mean([each.value for each in floors]) == pytest.approx(np.mean(truth), abs=1.5 * sd)
    assert 0.5 * sd < np.mean([each.sd for each in floors]) < 2.5 * sd


def test_floor_of_a_saturated_order_is_ln2_without_nan() -> None:
    real = [list(range(start, start + 10)) for start in range(0, 200, 10)]
    result = analyse(real[:10], real, (3,))[3]
    assert isinstance(result, Analysis)
    assert result.floor == LN2
    assert result.floor_sd == 0


def test_floor_of_one_phone_is_zero_without_nan() -> None:
    result = analyse([[0] * 20] * 20, [[0] * 20] * 20, (2,))[2]
    assert isinstance(result, Analysis)
    assert (result.value, result.floor, result.floor_sd, result.sd) == (0, 0, 0, 0)


def test_floor_saturated_at_smaller_scales_is_finite() -> None:
    # One n-gram in two utterances only: most splits and all but a few quarters share nothing.
    real = [list(range(start, start + 10)) for start in range(0, 200, 10)]
    real[1][:3] = real[0][:3]
    for seed in range(5):
        result = analyse(real[:10], real, (3,), seed=seed)[3]
        assert isinstance(result, Analysis)
        assert result.floor is not None
        assert result.floor_sd is not None
        assert 0.6 < result.floor <= LN2
        assert math.isfinite(result.floor_sd)


def test_segments_have_the_asked_shares_and_are_never_empty() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(20, 60, size=400)
    segments = cut_segments(sizes, draw_splits(np.arange(400), 10, rng), (0.25, 0.75), 4)
    for split in segments:
        totals = np.bincount(split, weights=sizes, minlength=8) / sizes.sum()
        np.testing.assert_allclose(totals, [0.25 / 4] * 4 + [0.75 / 4] * 4, atol=0.004)
    # Shares that leave a quarter out.
    for split in cut_segments(sizes, draw_splits(np.arange(400), 10, rng), (0.25, 0.5), 4):
        totals = np.bincount(split, weights=sizes, minlength=9) / sizes.sum()
        np.testing.assert_allclose(totals, [0.25 / 4] * 4 + [0.5 / 4] * 4 + [0.25], atol=0.004)
    # Eight clusters, one of them far larger than a segment, and two without n-grams.
    few = cut_segments(np.array([500, 1, 1, 1, 0, 1, 1, 1, 1, 0]), draw_splits(np.arange(10), 30, rng), (0.5, 0.5), 4)
    for split in few:
        assert sorted(split[[0, 1, 2, 3, 5, 6, 7, 8]].tolist()) == list(range(8))


def test_floor_refuses_what_cannot_be_split() -> None:
    real = sample(chain(1), 30, 20, np.random.default_rng(0))
    few = analyse(real[:20], real[20:27], (1,))[1]
    assert isinstance(few, Analysis)
    assert (few.floor, few.floor_sd, few.excess) == (None, None, None)
    assert any(
        "no floor: at least 12 clips (or clusters) with n-grams are needed; there are 7" in line
        for line in few.warnings
    )
    tiny = analyse(real[:1], real[1:], (1,))[1]
    assert isinstance(tiny, Analysis)
    assert isinstance(tiny.floor_detail, Undefined)
    assert "too little speech: this one cannot be split in the same proportion" in tiny.floor_detail.reason
    large = analyse(real[:15] * 4, real[15:], (1,))[1]
    assert isinstance(large, Analysis)
    assert isinstance(large.floor_detail, Undefined)
    assert "more than 1.5 times as much speech" in large.floor_detail.reason


@pytest.mark.parametrize(("n_generated", "n_real"), [(1, 1), (2, 2), (1, 18), (4, 40), (60, 15)])
def test_warnings_of_several_n_are_alike(n_generated: int, n_real: int) -> None:
    # Figures of one n in a warning would make five lines of it where one says the same.
    real = sample(chain(1), 100, 20, np.random.default_rng(0))
    results = analyse(real[:n_generated], real[n_generated : n_generated + n_real], (1, 2, 3, 4, 5))
    warnings = {line for result in results.values() if isinstance(result, Analysis) for line in result.warnings}
    assert len({re.sub(r"\d+", "0", line) for line in warnings}) == len(warnings), sorted(warnings)
    if n_generated < 8:
        reasons = {line for line in warnings if line.startswith("there is no interval")}
        assert reasons == {"there is no interval: a side has fewer than 8 clips"}


# ---- equal sizes, corrected ----


def test_value_at_equal_sizes_is_the_value_where_sizes_are_equal() -> None:
    generated, real = [[0] * 4 + [1] * 2 + [2, 3]], [[0, 0, 1, 1, 3, 4, 4, 4]]
    # a = (4, 2, 1, 1, 0), b = (2, 2, 0, 1, 3): the golden value of test_divergence.
    result = value_at_equal_sizes(incidence_of([*generated, *real], 1), 1, 8, np.random.default_rng(0))
    assert result == pytest.approx(0.19452417473941108, abs=1e-12)


def test_value_at_equal_sizes_cuts_the_larger_side(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    generated, real = sample(chain(1), 10, 30, rng), sample(chain(2), 25, 30, rng)
    seen = []

    def spy(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> float:
        seen.append((a, b))
        return jensen_shannon(a, b)

    monkeypatch.setattr("slm_eval.divergence.resampling.jensen_shannon", spy)
    whole = as_counter(real, 2)
    for sides, n_first in (((generated, real), 10), ((real, generated), 25)):
        value_at_equal_sizes(incidence_of([*sides[0], *sides[1]], 2), n_first, 4, np.random.default_rng(0))
    for a, b in seen:
        assert a.sum() == b.sum() == sum(as_counter(generated, 2).values())
        # A cut takes no n-gram more often than the whole side has it.
        assert sorted(b.tolist())[-1] <= max(whole.values())
    assert len({tuple(b.tolist()) for _, b in seen}) > 1


@pytest.mark.parametrize("floors", [(0.0, 0.0), (0.2, 0.35), (0.35, 0.2), (0.58, 0.58)])
def test_corrected_is_the_cosine_of_what_is_shared(floors: tuple[float, float]) -> None:
    shared = [1 - each / LN2 for each in (0.3, *floors)]
    expected = LN2 * (1 - shared[0] / (shared[1] * shared[2]) ** 0.5)
    assert corrected(0.3, floors) == pytest.approx(expected, abs=1e-12)


def test_corrected_is_withheld_where_samples_of_one_source_share_next_to_nothing() -> None:
    assert corrected(0.69, [0.64, 0.3]) is None
    rng = np.random.default_rng(0)
    sides = [[list(rng.permutation(1000)[:15]) for _ in range(14)] for _ in range(2)]
    result = analyse(*sides, (3,))[3]
    assert isinstance(result, Analysis)
    assert result.corrected is None
    assert "there is no corrected value: coverage is below 0.8" in result.warnings


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("sizes", [(60, 60), (40, 160)])
def test_corrected_is_near_the_truth_where_the_value_is_not(n: int, sizes: tuple[int, int]) -> None:
    # Two order-1 chains of 12 phones, all n-grams listed: the truth. Sizes of 2,400 phones and more; means of 6 runs.
    truth = true_divergence(chain(1), mixed(), n)
    found, values = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        result = analyse(sample(mixed(), sizes[0], 40, rng), sample(chain(1), sizes[1], 40, rng), (n,))[n]
        assert isinstance(result, Analysis)
        found.append(result.corrected)
        values.append(result.value)
    assert np.mean(found) == pytest.approx(truth, rel=0.25)
    if n > 2:
        assert np.mean(values) > 1.5 * truth


def mixed() -> npt.NDArray[np.float64]:
    """Source that differs from ``chain(1)`` by 30 % of another one."""
    return 0.7 * chain(1) + 0.3 * chain(9)


def true_divergence(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64], n: int) -> float:
    """Divergence of the stationary n-gram distributions of two order-1 chains."""
    tables = []
    for transitions in (first, second):
        eigenvalues, vectors = np.linalg.eig(transitions.T)
        stationary = np.real(vectors[:, np.argmax(np.real(eigenvalues))])
        table = stationary / stationary.sum()
        for _ in range(n - 1):
            table = table[..., None] * transitions
        tables.append(table.ravel())
    middle = (tables[0] + tables[1]) / 2
    return float(sum((each[each > 0] * np.log(each[each > 0] / middle[each > 0])).sum() for each in tables) / 2)


# ---- analyse ----


def test_analyse_value_is_pjsd() -> None:
    rng = np.random.default_rng(0)
    generated, real = sample(chain(1), 20, 30, rng), sample(chain(2), 30, 30, rng)
    for n, result in analyse(generated, real, range(1, 6)).items():
        assert isinstance(result, Analysis)
        assert result.value == pytest.approx(pjsd(generated, real, n=n), abs=1e-14)
        assert result.n_ngrams == tuple(sum(as_counter(side, n).values()) for side in (generated, real))
        assert result.n_types == tuple(len(as_counter(side, n)) for side in (generated, real))
        assert result.n_phones == tuple(sum(map(len, side)) for side in (generated, real))
        assert result.n_utterances == (20, 30)
        assert result.floor is not None
        assert result.excess == result.value - result.floor


def test_order_of_utterances_and_of_orders_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    generated, real = sample(chain(1), 25, 20, rng), sample(chain(2), 40, 20, rng)
    generated[3] = generated[7]
    speakers = [index % 9 for index in range(40)]
    expected = analyse(generated, real, (1, 3), real_clusters=speakers)
    first, second = rng.permutation(25), rng.permutation(40)
    shuffled = analyse(
        [generated[index] for index in first],
        [real[index] for index in second],
        (3,),
        real_clusters=[speakers[index] for index in second],
    )
    assert shuffled[3] == expected[3]
    assert analyse(generated, real, (3,), seed=1, real_clusters=speakers) != shuffled


def test_names_of_phones_change_nothing() -> None:
    rng = np.random.default_rng(0)
    generated, real = sample(chain(1), 20, 20, rng), sample(chain(2), 20, 20, rng)
    names = [f"p{index:02}" for index in range(12)]
    renamed = ([[names[phone] for phone in each] for each in side] for side in (generated, real))
    assert analyse(*renamed, (2,)) == analyse(generated, real, (2,))


def test_clusters_widen_the_interval_where_utterances_of_one_are_alike() -> None:
    rng = np.random.default_rng(0)
    real = sample(chain(2), 100, 30, rng)
    generated = [each for each in sample(chain(1), 25, 30, rng) for _ in range(4)]
    alone = analyse(generated, real, (2,))[2]
    together = analyse(generated, real, (2,), generated_clusters=[index // 4 for index in range(100)])[2]
    assert isinstance(alone, Analysis)
    assert isinstance(together, Analysis)
    assert together.sd > 1.3 * alone.sd  # type: ignore[operator]
    assert together.value == alone.value


def test_warnings_of_small_and_unequal_sides() -> None:
    rng = np.random.default_rng(0)
    result = analyse(sample(chain(1), 7, 20, rng), sample(chain(1), 30, 20, rng), (4,))[4]
    assert isinstance(result, Analysis)
    text = "\n".join(result.warnings)
    assert "coverage is below 0.9" in text
    assert "differ in size by more than 1%" in text
    assert "there is no interval: a side has fewer than 8 clips" in text
    plenty = analyse(sample(chain(1), 40, 60, rng), sample(chain(1), 40, 60, rng), (1,))[1]
    assert isinstance(plenty, Analysis)
    assert not [line for line in plenty.warnings if "differ in size" not in line]


def test_one_utterance_has_no_interval() -> None:
    result = analyse([[0, 1, 2]], [[0, 1], [1, 2]], (1,))[1]
    assert isinstance(result, Analysis)
    assert (result.sd, result.ci95) == (None, None)
    assert any("there is no interval" in line for line in result.warnings)


def test_undefined_orders_carry_a_reason() -> None:
    result = analyse(["abba", "a"], ["ababa", "ba"], range(1, 6))
    assert result[5] == Undefined("the generated side has no 5-grams: none of its 2 utterances has 5 phones")
    assert isinstance(result[4], Analysis)
    assert analyse([], [], (1,))[1] == Undefined(
        "the generated side has no 1-grams: none of its 0 utterances has 1 phones"
    )
    assert isinstance(analyse([[], []], [["a"]], (1,))[1], Undefined)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="got 3, 40, 200"):
        analyse(["a"], ["a"], (1,), draws=3)
    with pytest.raises(ValueError, match="2 real utterances need as many cluster labels; got 1"):
        analyse(["a"], ["a", "b"], (1,), real_clusters=[0])
