"""p-values and corrections for several metrics against their definitions by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slm_eval.compare.labellings import shuffles
from slm_eval.compare.permutation import holm, holm_of_families, omnibus, p_value, p_values, step_down
from slm_eval.compare.welch import UnitScores, welch_statistics
from tests.compare.labelled import false_alarms, rng


def test_rounding_does_not_make_equal_labellings_differ() -> None:
    assert p_value(np.array([0.3, 0.1 + 0.2, -(0.1 + 0.2), 0.0])) == 0.75


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_the_step_down_rule_rejects(p_values: list[float]) -> None:
    """Holm's rule as it was stated: go through ascending p-values, stop at the first above level / (m - rank)."""
    adjusted = holm(p_values)
    level = 0.05
    rejected, order = set(), sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, index in enumerate(order):
        if p_values[index] * (len(p_values) - rank) > level:
            break
        rejected.add(index)
    assert {index for index, p in enumerate(adjusted) if p <= level} == rejected
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))


def test_p_values_are_those_of_each_labelling_by_brute_force() -> None:
    statistics = np.array([0.5, -2.0, 0.5, 1.0, np.nan, -0.5])
    sizes = np.where(np.isnan(statistics), np.inf, np.abs(statistics))
    assert p_values(statistics).tolist() == [float(np.mean(sizes >= size)) for size in sizes]


def test_step_down_rejects_what_comparing_with_the_smallest_left_rejects() -> None:
    """Westfall and Young by brute force: each metric against the smallest p-value of those no more significant."""
    random = rng()
    shared = random.normal(size=100)
    statistics = [shared + random.normal(size=100) for _ in range(4)]
    statistics[2][0] = 6.0
    each = [p_values(of_metric) for of_metric in statistics]
    order = sorted(range(4), key=lambda metric: each[metric][0])
    expected, largest = [0.0] * 4, 0.0
    for rank, metric in enumerate(order):
        as_small = [min(each[other][b] for other in order[rank:]) <= each[metric][0] for b in range(100)]
        largest = max(largest, sum(as_small) / 100)
        expected[metric] = largest
    assert step_down(statistics) == pytest.approx(expected)
    assert omnibus(statistics) == pytest.approx(min(expected))
    assert all(mine <= other for mine, other in zip(step_down(statistics), holm([p[0] for p in each]), strict=True))


def test_false_alarms_of_several_metrics_together_are_as_many_as_the_level_says() -> None:
    random = rng()
    alarms = []
    for seed in range(400):
        shared = random.normal(size=(1, 40))
        values = 3 * shared + random.normal(size=(5, 40))
        drawn = shuffles(20, 20, 99, (seed,))
        scores = [UnitScores.from_scores(of_metric, np.arange(40), 40) for of_metric in values]
        alarms.append(omnibus(list(welch_statistics(scores, drawn))))
    false_alarms(alarms)


def test_families_of_one_are_corrected_as_holm_does() -> None:
    by_family = holm_of_families([[0.02], [0.01], [0.5], [0.011]])
    assert by_family == [[pytest.approx(each)] for each in (0.04, 0.04, 0.5, 0.04)]


def test_a_family_is_tested_at_the_full_level_once_the_others_are_rejected_whole() -> None:
    assert holm_of_families([[0.001, 0.02], [0.04]]) == [[0.002, 0.04], [0.04]]
    # The first family is not rejected whole: the other one is tested at half the level.
    assert holm_of_families([[0.001, 0.2], [0.04]]) == [[0.002, pytest.approx(0.2)], [0.08]]
