"""Unpaired scores against scipy's t and the standard errors of means, and by simulation: tests hold their level."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from slm_eval.compare.labellings import shuffles, swaps
from slm_eval.compare.permutation import p_value
from slm_eval.compare.scores import paired_sums
from slm_eval.compare.welch import UnitScores, welch_statistics
from slm_eval.metrics.means import Sample
from tests.compare.labelled import all_of, false_alarms, rng, welch


def test_unpaired_p_is_that_of_all_choices_by_hand() -> None:
    """{1, 2} against {3, 4, 5}: of the ten choices of two only {1, 2} and {4, 5} have a t of 3.27 or more."""
    found = welch(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.arange(5), shuffles(2, 3, 99, (0,)))
    assert found[0] == pytest.approx(-2.5 / math.sqrt(0.5 / 2 + 1 / 3))
    assert p_value(found) == 0.2


@pytest.mark.parametrize("cluster_sizes", [[1] * 14, [2] * 7, [1, 3, 2, 5, 1, 2, 4, 2, 7, 1]])
def test_unpaired_statistics_are_those_of_the_standard_error_of_each_group(cluster_sizes: list[int]) -> None:
    """Welch's t of scipy for single clips; for clusters the standard error of ``means``, labelling by labelling."""
    clusters = np.repeat(np.arange(len(cluster_sizes)), cluster_sizes)
    scores = rng().exponential(1.0, clusters.size) + 1000
    drawn = shuffles(4, len(cluster_sizes) - 4, 99, (0,))
    labels = all_of(drawn)[clusters].astype(bool)
    found = welch(scores, clusters, drawn)
    for column, t in zip(labels.T, found.tolist(), strict=True):
        error = math.sqrt(
            sum(Sample.from_scores(scores[chosen], clusters[chosen]).variance for chosen in (column, ~column))
        )
        assert t == pytest.approx((scores[column].mean() - scores[~column].mean()) / error, rel=1e-8)
        if max(cluster_sizes) == 1:
            expected = scipy.stats.ttest_ind(scores[column], scores[~column], equal_var=False).statistic
            assert t == pytest.approx(expected, rel=1e-8)


def test_statistics_where_nothing_varies() -> None:
    constant = welch(np.full(8, 0.1), np.arange(8), shuffles(4, 4, 99, (0,)))
    assert p_value(constant) == 1.0
    # Within the groups nothing varies: only the observed labelling and its opposite have an infinite t.
    apart = welch(np.repeat([0.1, 0.3], 4), np.arange(8), shuffles(4, 4, 99, (0,)))
    assert p_value(apart) == pytest.approx(2 / 70)


def test_a_single_clip_has_no_variance_and_is_tested_by_the_difference() -> None:
    found = welch(np.array([9.0, 1.0, 2.0, 3.0, 4.0]), np.arange(5), shuffles(1, 4, 99, (0,)))
    assert found[0] == pytest.approx(9 - 2.5)
    assert p_value(found) == 0.2


def test_a_labelling_without_a_score_counts_as_extreme() -> None:
    """A unit of four has no score: labels that leave one side a single score have no t."""
    found = welch(np.array([1.0, 2.0, 4.0, 3.0]), np.array([0, 1, 2, 4]), shuffles(2, 3, 99, (0,)))
    assert np.isnan(found).sum() == 4  # the fourth unit, and one of the others
    assert p_value(np.array([5.0, np.nan, 1.0, 1.0])) == 0.5


def test_false_alarms_of_scores_are_as_many_as_the_level_says() -> None:
    """2,000 experiments at once: each is a metric. Skewed, and pairs share what their prompt does to them."""
    random = rng()
    prompts = random.exponential(1.0, (2000, 30))
    a, b = prompts + random.exponential(1.0, (2, 2000, 30))
    paired = paired_sums(a - b, swaps(30, 199, (0,)))
    false_alarms([p_value(each) for each in paired])
    drawn = shuffles(20, 30, 199, (0,))
    unequal = [UnitScores.from_scores(each, np.arange(50), 50) for each in random.exponential(1.0, (2000, 50))]
    false_alarms([p_value(each) for each in welch_statistics(unequal, drawn)])


@pytest.mark.parametrize("sds", [(0.3, 0.9), (0.9, 0.3)])
@pytest.mark.parametrize("speakers", [False, True])
def test_false_alarms_where_sizes_and_variances_are_unequal(sds: tuple[float, float], speakers: bool) -> None:
    """300 clips against 60. Without a standard error 28 % of the first are false alarms, and none of the others."""
    random = rng()
    sizes = random.geometric(1 / 3, 120) if speakers else np.ones(360, dtype=int)
    first = int(sizes.size * 5 / 6)
    clusters, of_first = np.repeat(np.arange(sizes.size), sizes), np.arange(sizes.size) < first
    sd = np.where(of_first, *sds)
    drawn = shuffles(first, sizes.size - first, 199, (0,))
    experiments = []
    for _ in range(1000):
        scores = (random.normal(0.0, sd) * speakers)[clusters] + random.normal(0.0, sd[clusters])
        experiments.append(UnitScores.from_scores(scores, clusters, sizes.size))
    alarms = np.mean([p_value(each) <= 0.05 for each in welch_statistics(experiments, drawn)])
    assert 0.03 <= alarms <= 0.07


def test_false_alarms_where_clips_of_a_speaker_are_alike_need_whole_speakers() -> None:
    """Ten clips each of ten speakers a side. Shuffled clip by clip, most experiments would raise a false alarm."""
    random = rng()
    of_speaker = random.normal(0.0, 1.0, (1000, 20))
    clips = np.repeat(of_speaker, 10, axis=1) + random.normal(0.0, 0.5, (1000, 200))
    speakers = [UnitScores.from_scores(each, np.repeat(np.arange(20), 10), 20) for each in clips]
    false_alarms([p_value(each) for each in welch_statistics(speakers, shuffles(10, 10, 199, (0,)))])
    alone = [UnitScores.from_scores(each, np.arange(200), 200) for each in clips]
    by_clip = welch_statistics(alone, shuffles(100, 100, 199, (0,)))
    assert np.mean([p_value(each) <= 0.05 for each in by_clip]) > 0.4
