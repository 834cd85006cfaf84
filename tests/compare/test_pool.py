"""Divergences of labelled pools against pjsd of the relabelled corpora, and by simulation: tests hold their level."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from slm_eval.compare.labellings import shuffles, swaps
from slm_eval.compare.permutation import p_value
from slm_eval.compare.pool import Pool
from slm_eval.functional import pjsd
from tests.compare.labelled import all_of, corpus, differences_of, false_alarms, rng, statistics_of, uneven
from tests.divergence.chains import incidence_of


@pytest.mark.parametrize("n", [1, 2, 3])
def test_divergence_differences_are_those_of_the_relabelled_corpora(n: int) -> None:
    random = rng(n)
    transitions = random.dirichlet(np.full(5, 0.5), 5)
    pool, real = corpus(transitions, 12, 15, random), corpus(transitions, 7, 20, random)
    # So often that its counts do not fit 8 bits: the wider integers are tried too.
    pool[0], real[0] = [0] * 300, [0] * 70_000
    pool[3] = [1]  # no bigrams
    members = random.integers(0, 2, (12, 70), dtype=np.uint8)
    both = Pool.from_incidence(incidence_of(pool + real, n), slice(0, 12), slice(12, 19))
    found = differences_of(both, members)
    for draw in range(70):
        mine = [each for each, label in zip(pool, members[:, draw], strict=True) if label]
        other = [each for each, label in zip(pool, members[:, draw], strict=True) if not label]
        assert found[draw] == pytest.approx(pjsd(mine, real, n=n) - pjsd(other, real, n=n), abs=1e-12)


def test_divergences_are_undefined_where_a_label_has_no_ngram() -> None:
    incidence = incidence_of([[0, 1], [1], [0, 1, 1]], 2)
    members = np.array([[1, 0], [0, 1]], dtype=np.uint8)
    pool = Pool.from_incidence(incidence, slice(0, 2), slice(2, 3))
    assert np.isnan(differences_of(pool, members)).all()
    assert np.isnan(statistics_of(pool, members, rng(), centred=True)).all()


def test_false_alarms_of_divergences_are_as_many_as_the_level_says() -> None:
    random = rng()
    transitions = random.dirichlet(np.full(6, 0.5), 6)
    found: dict[str, list[float]] = {"paired": [], "unpaired": []}
    for seed in range(300):
        utterances = corpus(transitions, 48, 10, random)
        incidence = incidence_of(utterances, 2)
        pairs = all_of(swaps(16, 99, (seed,)))
        both = Pool.from_incidence(incidence, slice(0, 32), slice(32, 48))
        whole = np.concatenate((pairs, 1 - pairs))
        found["paired"].append(p_value(statistics_of(both, whole, random, centred=False)))
        groups = all_of(shuffles(16, 16, 99, (seed,)))
        found["unpaired"].append(p_value(statistics_of(both, groups, random, centred=True)))
    for each in found.values():
        false_alarms(each)


def test_another_source_is_told_apart() -> None:
    """A source that is mixed with a third of another one, 40 clips of 30 phones: no experiment of ten misses it."""
    random = rng()
    real, other = (random.dirichlet(np.full(6, 0.5), 6) for _ in range(2))
    for seed in range(10):
        good = corpus(real, 40, 30, random)
        bad = corpus(real * 2 / 3 + other / 3, 40, 30, random)
        incidence = incidence_of(good + bad + corpus(real, 40, 30, random), 2)
        members = all_of(shuffles(40, 40, 99, (seed,)))
        found = statistics_of(
            Pool.from_incidence(incidence, slice(0, 80), slice(80, 120)), members, random, centred=True
        )
        assert found[0] < 0
        assert p_value(found) == 0.01


def test_the_curve_is_what_random_speech_scores_at_each_size() -> None:
    """Mean of 20 curves against fresh samples of the same source, at sizes between those that a curve goes through."""
    random = rng()
    transitions = random.dirichlet(np.full(6, 0.5), 6)
    real = corpus(transitions, 100, 10, random)
    pool = corpus(transitions, 1000, 10, random)
    both = Pool.from_incidence(incidence_of(pool + real, 3), slice(0, 1000), slice(1000, 1100))
    n_grams = 8  # of an utterance
    curves = [both.size_curve(math.log(20 * n_grams), math.log(180 * n_grams), random) for _ in range(20)]
    for size in (30, 60, 120):
        fresh = np.mean([pjsd(corpus(transitions, size, 10, random), real, n=3) for _ in range(200)])
        measured = np.mean([np.polyval(curve, math.log(size * n_grams)) for curve in curves])
        assert measured == pytest.approx(fresh, rel=0.05)
    one = incidence_of([[0, 1, 1], [1, 0, 1]], 2)
    alone = Pool.from_incidence(one, slice(0, 1), slice(1, 2)).size_curve(0.0, 3.0, random)
    assert np.polyval(alone, 0.0) == np.polyval(alone, 3.0)


@pytest.mark.parametrize(
    ("sizes", "means"), [((5000, 1000), (20, 20)), ((800, 8000), (20, 20)), ((2000, 2000), (60, 20))]
)
def test_false_alarms_where_systems_differ_in_size_or_in_length(
    sizes: tuple[int, int], means: tuple[float, float]
) -> None:
    """One source. Labels of what is left of a larger system gave a p of 0.95 and more in 30 of 30 such tests.

    Clips of other length are not exchangeable, so there the test is not exact; it must not cry wolf.
    """
    random = rng()
    transitions = random.dirichlet(np.full(8, 0.3), 8)
    p_of = []
    for seed in range(200):
        mine, other = (uneven(transitions, *each, random) for each in zip(sizes, means, strict=True))
        real = uneven(transitions, 3000, 20, random)
        n_both = len(mine) + len(other)
        pool = Pool.from_incidence(
            incidence_of(mine + other + real, 3), slice(0, n_both), slice(n_both, n_both + len(real))
        )
        members = all_of(shuffles(len(mine), len(other), 99, (seed,)))
        p_of.append(p_value(statistics_of(pool, members, random, centred=True)))
    assert np.mean(np.array(p_of) <= 0.05) <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 200)
    if means[0] == means[1]:
        assert scipy.stats.kstest(p_of, "uniform").pvalue > 0.001


def test_more_speech_of_one_system_costs_no_power() -> None:
    random = rng()
    usual, other = (random.dirichlet(np.full(8, 0.3), 8) for _ in range(2))
    found: dict[int, list[bool]] = {1000: [], 5000: []}
    for seed in range(60):
        real, bad = uneven(usual, 3000, 20, random), uneven(0.8 * usual + 0.2 * other, 1000, 20, random)
        for size, rejected in found.items():
            good = uneven(usual, size, 20, random)
            n_both = len(good) + len(bad)
            pool = Pool.from_incidence(
                incidence_of(good + bad + real, 3), slice(0, n_both), slice(n_both, n_both + len(real))
            )
            members = all_of(shuffles(len(good), len(bad), 99, (seed,)))
            rejected.append(p_value(statistics_of(pool, members, random, centred=True)) <= 0.05)
    equal, more = (np.mean(each) for each in found.values())
    assert 0.2 < equal <= more


def test_utterances_of_very_different_length_leave_the_test_its_power() -> None:
    """Sizes of labellings then differ by a third and more. Of 40 systems 17 are told apart, 30 without its effect."""
    random = rng()
    real, other = (random.dirichlet(np.full(6, 0.5), 6) for _ in range(2))
    lengths = np.r_[np.full(2, 300), np.full(18, 15)]
    found = []
    for seed in range(40):
        good, bad, reference = (
            [corpus(each, 1, length, random)[0] for length in lengths]
            for each in (real, real * 0.8 + other * 0.2, real)
        )
        both = Pool.from_incidence(incidence_of(good + bad + reference, 2), slice(0, 40), slice(40, 60))
        members = all_of(shuffles(20, 20, 99, (seed,)))
        adjusted = statistics_of(both, members, random, centred=True)
        found.append((p_value(differences_of(both, members)) <= 0.05, p_value(adjusted) <= 0.05))
    raw, without_sizes = np.mean(found, axis=0)
    assert raw < 0.5 < 0.65 < without_sizes
