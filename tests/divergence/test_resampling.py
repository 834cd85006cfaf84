"""Half-sampling against brute force with the same draws, and by simulation where the truth is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from slm_eval.divergence.analysis import Analysis, analyse
from slm_eval.divergence.estimators import LN2, jensen_shannon
from slm_eval.divergence.resampling import (
    Undefined,
    draw_halves,
    effective_clusters,
    half_sampling,
    interval,
    sampling_variance,
    value_at_equal_sizes,
)
from tests.divergence.chains import Corpus, as_counter, brute_force, chain, chosen, incidence_of, sample


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
