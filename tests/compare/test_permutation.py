"""Permutation tests against brute force over the same labellings, and by simulation: they hold their level.

Pairs of scores have an exact distribution by hand (all signs); divergences are counted again with Counters.
"""

from __future__ import annotations

import doctest
import math
from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slm_eval.compare import permutation
from slm_eval.compare.permutation import (
    divergence_of_labels,
    holm,
    label_sizes,
    p_value,
    paired_sums,
    shuffles,
    swaps,
    unpaired_differences,
)
from slm_eval.compare.pool import Pool
from slm_eval.compare.tally import LARGEST
from slm_eval.functional import pjsd
from slm_eval.incidence import Incidence
from slm_eval.ngrams import encode, window_keys

Corpus = list[list[int]]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def incidence_of(utterances: Corpus, n: int) -> Incidence:
    encoded = encode(utterances)
    ((_, keys),) = window_keys(encoded, (n,))
    return Incidence.build(keys, encoded.n_windows(n))


def corpus(transitions: np.ndarray, size: int, length: int, random: np.random.Generator) -> Corpus:
    """Utterances of one length from a Markov chain."""
    cumulative = transitions.cumsum(axis=1)
    states = [random.integers(len(transitions), size=size)]
    for _ in range(length - 1):
        below = cumulative[states[-1]] < random.random(size)[:, None]
        states.append(np.minimum(below.sum(axis=1), len(transitions) - 1))
    return np.array(states).T.tolist()


# ---- labellings ----


def test_swaps_are_all_signs_where_there_are_few_and_the_observed_one_is_first() -> None:
    everything = swaps(3, 99, rng())
    assert {tuple(column) for column in everything.T.tolist()} == set(product((0, 1), repeat=3))
    assert everything.shape == (3, 8)
    assert everything[:, 0].tolist() == [1, 1, 1]
    drawn = swaps(40, 99, rng())
    assert drawn.shape == (40, 100)
    assert drawn[:, 0].all()


def test_shuffles_are_all_choices_where_there_are_few_and_keep_the_sizes() -> None:
    everything = shuffles(2, 3, 99, rng())
    assert {tuple(np.flatnonzero(column)) for column in everything.T} == set(combinations(range(5), 2))
    assert np.flatnonzero(everything[:, 0]).tolist() == [0, 1]
    drawn = shuffles(20, 30, 99, rng())
    assert drawn.shape == (50, 100)
    assert (drawn.sum(axis=0) == 20).all()
    assert np.flatnonzero(drawn[:, 0]).tolist() == list(range(20))


def test_the_largest_enumeration_counts_no_more_labellings_than_were_asked_for() -> None:
    assert swaps(7, 127, rng()).shape == (7, 128)
    assert swaps(7, 126, rng()).shape == (7, 127)
    assert shuffles(4, 4, 69, rng()).shape == (8, 70)
    assert shuffles(4, 4, 68, rng()).shape == (8, 69)


# ---- scores ----


def test_paired_p_is_that_of_all_signs_by_hand() -> None:
    """Differences 1, 2, 3: of the eight signed sums only +6 and -6 are as extreme: p = 2/8."""
    draws = swaps(3, 99, rng())
    assert p_value(paired_sums(np.array([[1.0, 2.0, 3.0]]), draws)[0]) == 0.25
    assert p_value(paired_sums(np.array([[1.0, -1.0, 1.0]]), draws)[0]) == 1.0  # every sum is 1 or 3 in size
    assert p_value(paired_sums(np.zeros((1, 3)), draws)[0]) == 1.0


def test_unpaired_p_is_that_of_all_choices_by_hand() -> None:
    """{1, 2} against {3, 4, 5}: of the ten choices of two only {1, 2} and {4, 5} differ by 2.5 or more."""
    draws = shuffles(2, 3, 99, rng())
    found = unpaired_differences(np.array([[1.0, 2.0, 3.0, 4.0, 5.0]]), np.ones((1, 5)), draws)[0]
    assert found[0] == pytest.approx(1.5 - 4.0)
    assert p_value(found) == 0.2


def test_unpaired_differences_of_clusters_are_means_over_clips() -> None:
    sums, counts = np.array([[6.0, 1.0, 4.0]]), np.array([[3.0, 1.0, 2.0]])
    draws = np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1]], dtype=np.uint8)[:, :2]
    expected = [7 / 4 - 4 / 2, 5 / 3 - 6 / 3]
    assert unpaired_differences(sums, counts, draws)[0] == pytest.approx(expected)


def test_a_labelling_without_a_score_counts_as_extreme() -> None:
    """Half of the clips have no score: labels that leave one side empty have no difference."""
    draws = np.array([[1, 1, 0], [0, 1, 1]], dtype=np.uint8)
    found = unpaired_differences(np.array([[1.0, 2.0]]), np.ones((1, 2)), draws)[0]
    assert found[0] == -1.0
    assert math.isnan(found[1])
    assert p_value(found) == 1.0
    assert p_value(np.array([5.0, np.nan, 1.0, 1.0])) == 0.5


def test_rounding_does_not_make_equal_labellings_differ() -> None:
    assert p_value(np.array([0.3, 0.1 + 0.2, -(0.1 + 0.2), 0.0])) == 0.75


# ---- divergences ----


@pytest.mark.parametrize("n", [1, 2, 3])
def test_divergence_differences_are_those_of_the_relabelled_corpora(n: int) -> None:
    random = rng(n)
    transitions = random.dirichlet(np.full(5, 0.5), 5)
    pool, real = corpus(transitions, 12, 15, random), corpus(transitions, 7, 20, random)
    # So often that its counts do not fit 8 bits: the wider integers are tried too.
    pool[0], real[0] = [0] * 300, [0] * 70_000
    pool[3] = [1]  # no bigrams
    members = random.integers(0, 2, (12, 70), dtype=np.uint8)
    found = Pool.of(incidence_of(pool + real, n), slice(0, 12), slice(12, 19)).differences(members)
    for draw in range(70):
        mine = [each for each, label in zip(pool, members[:, draw], strict=True) if label]
        other = [each for each, label in zip(pool, members[:, draw], strict=True) if not label]
        assert found[draw] == pytest.approx(pjsd(mine, real, n=n) - pjsd(other, real, n=n), abs=1e-12)


def test_tallies_hold_more_than_a_byte_of_types() -> None:
    """600 types that occur once on either side are one class: all of them are in a draw, or none."""
    pool, real = [list(range(600)), [0] * 7 + [600], list(range(300)) * 7], [list(range(601))]
    members = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1]], dtype=np.uint8)
    found = Pool.of(incidence_of(pool + real, 1), slice(0, 3), slice(3, 4)).differences(members)
    for draw in range(3):
        chosen = members[:, draw].astype(bool)
        groups = [[each for each, label in zip(pool, chosen, strict=True) if label == side] for side in (True, False)]
        assert found[draw] == pytest.approx(pjsd(groups[0], real, n=1) - pjsd(groups[1], real, n=1), abs=1e-12)


def test_tallied_and_other_types_are_counted_alike() -> None:
    """Types that occur 1 to LARGEST + 3 times on either side: in each draw, both divergences by brute force."""
    random = rng()
    largest = LARGEST + 3
    grid = [(mine, other) for mine in range(1, largest + 1) for other in range(1, largest + 1)]
    pool: Corpus = [[] for _ in range(9)]
    for phone, (mine, _) in enumerate(grid):
        for at in random.integers(0, 9, mine):
            pool[at].append(phone)
    pool.append([len(grid)] * 4)  # only in the pool
    real = [[phone for phone, (_, other) in enumerate(grid) for _ in range(other)], [len(grid) + 1] * 9]
    members = random.integers(0, 2, (10, 300), dtype=np.uint8)
    first, second = Pool.of(incidence_of(pool + real, 1), slice(0, 10), slice(10, 12)).divergences(members)
    for draw in (0, 1, 150, 255, 256, 299):
        for found, label in ((first, 1), (second, 0)):
            chosen = [each for each, mark in zip(pool, members[:, draw], strict=True) if mark == label]
            assert found[draw] == pytest.approx(pjsd(chosen, real, n=1), abs=1e-13)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_divergence_of_labels_is_that_of_both_groups(n: int) -> None:
    random = rng(n)
    pool = corpus(random.dirichlet(np.full(5, 0.5), 5), 12, 15, random)
    pool[0] = [2] * 300
    members = shuffles(5, 7, 70, random)
    found = divergence_of_labels(incidence_of(pool, n), members)
    for draw in range(members.shape[1]):
        chosen = members[:, draw].astype(bool)
        groups = [[each for each, label in zip(pool, chosen, strict=True) if label == side] for side in (True, False)]
        assert found[draw] == pytest.approx(pjsd(*groups, n=n), abs=1e-12)


def test_divergences_are_undefined_where_a_label_has_no_ngram() -> None:
    incidence = incidence_of([[0, 1], [1], [0, 1, 1]], 2)
    members = np.array([[1, 0], [0, 1]], dtype=np.uint8)
    assert np.isnan(Pool.of(incidence, slice(0, 2), slice(2, 3)).differences(members)).all()


def test_the_order_of_labellings_and_their_number_move_no_statistic() -> None:
    random = rng()
    pool = corpus(random.dirichlet(np.full(6, 0.5), 6), 30, 12, random)
    incidence = incidence_of(pool, 2)
    members = shuffles(15, 15, 200, random)
    found = divergence_of_labels(incidence, members)
    assert found[::-1].tolist() == divergence_of_labels(incidence, members[:, ::-1]).tolist()
    assert found[:3].tolist() == divergence_of_labels(incidence, members[:, :3]).tolist()


# ---- levels ----


def false_alarms(p_values: list[float], level: float = 0.05) -> None:
    """No more than chance allows: the number is binomial, and four of its sds are never exceeded by an honest test."""
    allowed = level * len(p_values) + 4 * math.sqrt(level * (1 - level) * len(p_values))
    alarms = sum(p <= level for p in p_values)
    assert 0 < alarms <= allowed


def test_false_alarms_of_scores_are_as_many_as_the_level_says() -> None:
    """2,000 experiments at once: each is a metric. Skewed, and pairs share what their prompt does to them."""
    random = rng()
    prompts = random.exponential(1.0, (2000, 30))
    a, b = prompts + random.exponential(1.0, (2, 2000, 30))
    paired = paired_sums(a - b, swaps(30, 199, random))
    false_alarms([p_value(each) for each in paired])
    unequal = random.exponential(1.0, (2000, 50))
    unpaired = unpaired_differences(unequal, np.ones((2000, 50)), shuffles(20, 30, 199, random))
    false_alarms([p_value(each) for each in unpaired])


def test_false_alarms_where_clips_of_a_speaker_are_alike_need_whole_speakers() -> None:
    """Ten clips each of ten speakers a side. Shuffled clip by clip, most experiments would raise a false alarm."""
    random = rng()
    of_speaker = random.normal(0.0, 1.0, (1000, 20))
    clips = np.repeat(of_speaker, 10, axis=1) + random.normal(0.0, 0.5, (1000, 200))
    sums, counts = clips.reshape(1000, 20, 10).sum(axis=2), np.full((1000, 20), 10.0)
    false_alarms([p_value(each) for each in unpaired_differences(sums, counts, shuffles(10, 10, 199, random))])
    by_clip = unpaired_differences(clips, np.ones_like(clips), shuffles(100, 100, 199, random))
    assert np.mean([p_value(each) <= 0.05 for each in by_clip]) > 0.4


def test_false_alarms_of_divergences_are_as_many_as_the_level_says() -> None:
    random = rng()
    transitions = random.dirichlet(np.full(6, 0.5), 6)
    found: dict[str, list[float]] = {"paired": [], "unpaired": [], "against real": []}
    for _ in range(300):
        utterances = corpus(transitions, 48, 10, random)
        incidence = incidence_of(utterances, 2)
        pairs = swaps(16, 99, random)
        whole = np.concatenate((pairs, 1 - pairs))
        both = Pool.of(incidence, slice(0, 32), slice(32, 48))
        found["paired"].append(p_value(both.differences(whole)))
        groups = shuffles(16, 16, 99, random)
        found["unpaired"].append(p_value(both.differences(groups)))
        found["against real"].append(p_value(divergence_of_labels(incidence, shuffles(24, 24, 99, random))))
    for p_values in found.values():
        false_alarms(p_values)


def test_another_source_is_told_apart() -> None:
    """A source that is mixed with a third of another one, 40 clips of 30 phones: no experiment of ten misses it."""
    random = rng()
    real, other = (random.dirichlet(np.full(6, 0.5), 6) for _ in range(2))
    for _ in range(10):
        good = corpus(real, 40, 30, random)
        bad = corpus(real * 2 / 3 + other / 3, 40, 30, random)
        incidence = incidence_of(good + bad + corpus(real, 40, 30, random), 2)
        found = Pool.of(incidence, slice(0, 80), slice(80, 120)).differences(shuffles(40, 40, 99, random))
        assert found[0] < 0
        assert p_value(found) == 0.01


# ---- Holm ----


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_the_step_down_rule_rejects(p_values: list[float]) -> None:
    """Holm's rule as it was stated: go through ascending p-values, stop at the first above level / (m - rank)."""
    adjusted = holm(p_values)
    level = 0.05
    rejected, order = set(), sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, at in enumerate(order):
        if p_values[at] * (len(p_values) - rank) > level:
            break
        rejected.add(at)
    assert {at for at, p in enumerate(adjusted) if p <= level} == rejected
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))


def test_examples_in_the_documentation() -> None:
    assert doctest.testmod(permutation).failed == 0


def test_the_generator_of_labels_is_fair() -> None:
    """Each unit is labelled as of the first as often as any other: 2,000 draws, five sds."""
    drawn = shuffles(6, 10, 2000, rng())[:, 1:]
    assert np.abs(drawn.mean(axis=1) - 6 / 16).max() < 5 * math.sqrt(6 / 16 * 10 / 16 / 2000)
    assert Counter(swaps(20, 2000, rng())[:, 1:].ravel().tolist())[1] == pytest.approx(20_000, abs=5 * 100)


def test_slope_is_the_change_of_the_divergence_with_size() -> None:
    """Against fresh samples of the same source at both sizes."""
    random = rng()
    transitions = random.dirichlet(np.full(6, 0.5), 6)
    real = corpus(transitions, 100, 10, random)
    means = [np.mean([pjsd(corpus(transitions, size, 10, random), real, n=3) for _ in range(60)]) for size in (40, 60)]
    pool = corpus(transitions, 100, 10, random)
    found = Pool.of(incidence_of(pool + real, 3), slice(0, 100), slice(100, 200)).size_slope(random)
    assert found == pytest.approx((means[1] - means[0]) / math.log(60 / 40), rel=0.15)
    one = incidence_of([[0, 1, 1], [1, 0, 1]], 2)
    assert Pool.of(one, slice(0, 1), slice(1, 2)).size_slope(random) == 0.0


def test_utterances_of_very_different_length_leave_the_test_its_power() -> None:
    """Sizes of labellings then differ by a third and more. Of 40 systems 17 are told apart, 30 without its effect."""
    random = rng()
    real, other = (random.dirichlet(np.full(6, 0.5), 6) for _ in range(2))
    lengths = np.r_[np.full(2, 300), np.full(18, 15)]
    found = []
    for _ in range(40):
        good, bad, reference = (
            [corpus(each, 1, length, random)[0] for length in lengths]
            for each in (real, real * 0.8 + other * 0.2, real)
        )
        both = Pool.of(incidence_of(good + bad + reference, 2), slice(0, 40), slice(40, 60))
        members = shuffles(20, 20, 99, random)
        plain = both.differences(members)
        slope = both.size_slope(random)
        n_first, n_second = label_sizes(both.n_windows, members)
        found.append((p_value(plain) <= 0.05, p_value(plain - slope * np.log(n_first / n_second)) <= 0.05))
    raw, adjusted = np.mean(found, axis=0)
    assert raw < 0.5 < 0.65 < adjusted
