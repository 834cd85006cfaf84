"""Means of scores: equal to scipy and to matrices, within the scale, withheld with a reason."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from slm_eval.metrics.means import (
    NOTHING_VARIES,
    OFF_SCALE,
    TOO_FEW_CLIPS,
    TOO_FEW_CLUSTERS,
    Estimate,
    Moments,
    Sample,
    Withheld,
    difference,
    mean,
)
from slm_eval.metrics.scores import ScoreMetric, ScoreSummary
from tests.fakes import LoudnessObserver


def normal(n: int, seed: int = 0, centre: float = 3.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(centre, 0.5, n)


class TestOneMean:
    def test_single_clips_have_the_t_interval(self) -> None:
        scores = normal(37)
        moments = Moments.from_scores(list(scores))
        reference = stats.ttest_1samp(scores, 0).confidence_interval(0.95)
        assert moments.ci95 == pytest.approx((reference.low, reference.high), abs=1e-12)
        assert moments.sd == pytest.approx(scores.std(ddof=1))
        assert Moments.from_scores([2.5]) == Moments(2.5, None, None, 1)

    def test_clusters_of_one_size_have_that_of_their_means(self) -> None:
        scores, clusters = normal(36), np.arange(36) % 9
        means = np.array([scores[clusters == cluster].mean() for cluster in range(9)])
        reference = stats.ttest_1samp(means, 0).confidence_interval(0.95)
        moments = Moments.from_scores(list(scores), clusters)
        assert moments.ci95 == pytest.approx((reference.low, reference.high), abs=1e-12)
        assert (moments.value, moments.sd, moments.n) == pytest.approx((scores.mean(), scores.std(ddof=1), 36))

    def test_a_clip_that_is_there_ten_times_over_tells_as_much_as_once(self) -> None:
        once = [1.0, 2.0, 4.0, 2.0, 3.0, 5.0]
        assert Moments.from_scores(once * 10, np.arange(60) % 6).ci95 == pytest.approx(Moments.from_scores(once).ci95)

    def test_uneven_clusters_by_hand(self) -> None:
        # Sums of deviations -3 and 3, shares 2/3 and 1/3: the squared error is (27 + 13.5) / 9.
        estimate = mean([1.0, 2.0, 6.0], np.array([0, 0, 1]))
        assert (estimate.value, estimate.error, estimate.freedom) == pytest.approx((3.0, math.sqrt(4.5), 1.0))

    def test_uneven_clusters_by_matrices(self) -> None:
        clusters = np.repeat([0, 1, 2, 3], [7, 2, 4, 1])
        scores = normal(14)
        estimate = mean(list(scores), clusters)
        error, freedom = by_matrices(scores, np.zeros(14, dtype=int), clusters, np.array([1.0]), np.ones(14))
        assert (estimate.error, estimate.freedom) == pytest.approx((error, freedom), abs=1e-12)


class TestDifference:
    def test_pairs_have_the_t_test_of_pairs(self) -> None:
        a = normal(20)
        b = a + normal(20, 1, centre=0.2)
        estimate = difference(Sample.from_scores(a), Sample.from_scores(b))
        reference = stats.ttest_rel(a, b)
        assert estimate.interval() == pytest.approx(tuple(reference.confidence_interval(0.95)), abs=1e-12)
        assert estimate.p_value() == pytest.approx(reference.pvalue, abs=1e-12)

    def test_strangers_have_welchs(self) -> None:
        a, b = normal(12), 3 * normal(40, 1, centre=1.1)
        estimate = difference(Sample.from_scores(a), Sample.from_scores(b, np.arange(12, 52)))
        reference = stats.ttest_ind(a, b, equal_var=False)
        assert estimate.interval() == pytest.approx(tuple(reference.confidence_interval(0.95)), abs=1e-12)
        assert estimate.p_value() == pytest.approx(reference.pvalue, abs=1e-12)

    @pytest.mark.parametrize("seed", range(4))
    def test_some_pairs_some_speakers_by_matrices(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        sides = rng.integers(0, 2, 40)
        clusters = rng.integers(0, 12, 40)
        scores = rng.normal(3, np.where(sides == 0, 0.3, 0.9))
        a, b = (scores[sides == side].tolist() for side in (0, 1))
        of_a, of_b = (clusters[sides == side] for side in (0, 1))
        estimate = difference(Sample.from_scores(a, of_a), Sample.from_scores(b, of_b))
        assert estimate.value == pytest.approx(np.mean(a) - np.mean(b))
        # The variance of a clip on each side, as its own standard error says.
        errors = [
            mean(each, np.unique(labels, return_inverse=True)[1]).error for each, labels in ((a, of_a), (b, of_b))
        ]
        spread = np.where(sides == 0, errors[0] ** 2 * len(a), errors[1] ** 2 * len(b))
        error, freedom = by_matrices(scores, sides, clusters, np.array([1.0, -1.0]), spread)
        assert (estimate.error, estimate.freedom) == pytest.approx((error, freedom), abs=1e-12)

    def test_each_side_must_be_large_enough(self) -> None:
        large, small = normal(300), normal(4, 1)
        estimate = difference(Sample.from_scores(large), Sample.from_scores(small, np.arange(300, 304)))
        assert estimate.interval() == Withheld(TOO_FEW_CLIPS)
        assert estimate.p_value() == 1.0

    def test_scores_that_never_vary_show_nothing(self) -> None:
        low, high = Sample.from_scores([0.1] * 8), Sample.from_scores([0.3] * 8)
        assert difference(low, high).interval() == Withheld(NOTHING_VARIES)
        assert difference(low, Sample.from_scores([0.3] * 8, np.arange(8, 16))).p_value() == 1.0
        varied = normal(8)
        assert difference(Sample.from_scores(varied), Sample.from_scores(varied + 0.1)).p_value() == 1.0


def by_matrices(
    scores: np.ndarray, sides: np.ndarray, clusters: np.ndarray, contrast: np.ndarray, spread: np.ndarray
) -> tuple[float, float]:
    """Bell and McCaffrey as they write it: residuals of each cluster times (I - H_cc)^(-1/2), degrees of freedom from
    the eigenvalues of G' Sigma G. ``spread`` is the diagonal of Sigma."""
    design = np.eye(contrast.size)[sides]
    inverse = np.linalg.inv(design.T @ design)
    hat = design @ inverse @ design.T
    residuals = scores - hat @ scores
    columns, variance = [], 0.0
    for cluster in np.unique(clusters):
        member = clusters == cluster
        values, vectors = np.linalg.eigh(np.eye(member.sum()) - hat[np.ix_(member, member)])
        root = vectors @ np.diag(values**-0.5) @ vectors.T
        weights = root @ design[member] @ inverse @ contrast
        variance += (weights @ residuals[member]) ** 2
        columns.append((np.eye(scores.size) - hat)[member].T @ weights)
    covariance = np.array(columns) @ np.diag(spread) @ np.array(columns).T
    eigenvalues = np.linalg.eigvalsh(covariance)
    return math.sqrt(variance), float(eigenvalues.sum() ** 2 / (eigenvalues**2).sum())


class TestScale:
    def test_the_interval_is_that_of_t_on_the_logit(self) -> None:
        scores = 1 + 4 * np.random.default_rng(0).beta(4, 1.2, 12)
        place = (scores.mean() - 1) / 4
        # The delta method: the logit changes by 1 / (place (1 - place)) times as much as the place.
        error = scores.std(ddof=1) / math.sqrt(12) / 4 / (place * (1 - place))
        half = stats.t.ppf(0.975, 11) * error
        expected = [1 + 4 * special.expit(special.logit(place) + sign * half) for sign in (-1, 1)]
        assert Moments.from_scores(scores.tolist(), None, (1.0, 5.0)).ci95 == pytest.approx(expected, abs=1e-12)

    @given(st.lists(st.floats(1, 5), min_size=5, max_size=30))
    def test_it_stays_within_the_scale_and_contains_the_mean(self, scores: list[float]) -> None:
        interval = mean(scores).interval((1.0, 5.0))
        if isinstance(interval, Withheld):
            assert interval.reason in {NOTHING_VARIES, OFF_SCALE}
            assert np.ptp(scores) < 1e-10
        else:
            assert 1 <= interval[0] <= np.mean(scores) <= interval[1] <= 5

    def test_far_from_the_ends_it_is_the_plain_one(self) -> None:
        scores = normal(400, centre=3.0)
        assert Moments.from_scores(list(scores), None, (1.0, 5.0)).ci95 == pytest.approx(
            Moments.from_scores(list(scores)).ci95, abs=2e-4
        )

    def test_a_mean_outside_the_scale_has_none(self) -> None:
        assert mean([0.5, 0.6, 0.7, 0.8, 0.9, 1.2]).interval((1.0, 5.0)) == Withheld(OFF_SCALE)


class TestWithheld:
    @pytest.mark.parametrize(("n", "reason"), [(1, TOO_FEW_CLIPS), (4, TOO_FEW_CLIPS), (5, None)])
    def test_few_clips(self, n: int, reason: str | None) -> None:
        estimate = mean(list(normal(n)))
        assert estimate.withheld == (None if reason is None else Withheld(reason))

    @pytest.mark.parametrize(
        ("sizes", "given"),
        [([6] * 4, False), ([6] * 5, True), ([200, 1, 1, 1, 1, 1, 1, 1], False), ([3, 1, 4, 1, 5, 9, 2, 6], True)],
    )
    def test_few_clusters_or_one_that_outweighs_the_others(self, sizes: list[int], given: bool) -> None:
        clusters = np.repeat(np.arange(len(sizes)), sizes)
        estimate = mean(list(normal(clusters.size)), clusters)
        assert estimate.withheld == (None if given else Withheld(TOO_FEW_CLUSTERS))

    def test_a_single_cluster_knows_nothing_of_others(self) -> None:
        estimate = mean(list(normal(9)), np.zeros(9, dtype=int))
        assert (estimate.freedom, estimate.interval()) == (0.0, Withheld(TOO_FEW_CLUSTERS))

    def test_scores_that_never_vary(self) -> None:
        assert mean([0.1] * 30).interval() == Withheld(NOTHING_VARIES)
        assert Estimate(0.1, 0.0, 29.0, Withheld(NOTHING_VARIES)).p_value() == 1.0


class Opinion(ScoreMetric):
    name = "opinion"
    keys = ("opinion.mos",)
    scale = (1.0, 5.0)


def summary(generated: list[dict], real: list[dict]) -> ScoreSummary:
    estimate = Opinion(LoudnessObserver()).summarise(generated, real)["opinion.mos"]
    assert isinstance(estimate, ScoreSummary)
    return estimate


def spoken(scores: np.ndarray, speakers: int | None = None) -> list[dict]:
    return [
        {"scores": {"opinion.mos": float(score)}, "speaker": None if speakers is None else f"s{index % speakers}"}
        for index, score in enumerate(scores)
    ]


class TestSummary:
    def test_two_speakers_have_no_interval_and_the_summary_says_why(self) -> None:
        """Two speakers once gave dnsmos.bak 2.816 [-0.224, 5.855]."""
        estimate = summary(spoken(normal(40), speakers=2), spoken(normal(40, 1), speakers=20))
        assert estimate.ci95 is None
        assert estimate.warnings == (f"there is no interval: {TOO_FEW_CLUSTERS}",)
        assert estimate.real is not None
        assert estimate.real.ci95 is not None

    def test_so_does_that_of_real_speech(self) -> None:
        estimate = summary(spoken(normal(40)), spoken(normal(3)))
        assert estimate.ci95 is not None
        assert estimate.real is not None
        assert estimate.real.ci95 is None
        assert estimate.warnings == (f"there is no interval of real speech: {TOO_FEW_CLIPS}",)

    def test_it_names_the_scale_and_keeps_within_it(self) -> None:
        fields = summary(spoken(np.array([4.9, 5.0, 5.0, 4.95, 5.0, 3.0])), spoken(normal(9))).to_dict()
        assert fields["scale"] == (1.0, 5.0)
        assert fields["ci95"][1] < 5 < fields["value"] + 2.57 * fields["sd"] / math.sqrt(6)
        assert fields["warnings"] == ()
