"""Runs become points: seeds averaged as in section 4.2, and what is no run refused by its place."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slm_eval.base.errors import UsageError
from slm_eval.scaling import LossLaw
from slm_eval.scaling.runs.points import budgets, gather, widest_budget


def test_seeds_of_a_point_are_averaged_in_order_of_first_appearance() -> None:
    points = gather([2e6, 1e6, 2e6, 1e6, 3e6], [1e9, 2e9, 1e9, 2e9, 1e9], [0.5, 0.7, 0.3, 0.8, 0.2])
    assert points.N.tolist() == [2e6, 1e6, 3e6]
    assert points.D.tolist() == [1e9, 2e9, 1e9]
    assert points.value == pytest.approx([0.4, 0.75, 0.2])
    assert points.runs.tolist() == [2, 2, 1]
    assert points.weights.tolist() == [1, 1, 1]
    assert points.notes == ()


def test_weights_weigh_runs_within_a_point_and_the_point_by_their_mean() -> None:
    points = gather([1, 1, 2], [1, 1, 1], [0.2, 0.8, 0.5], [3, 1, 0.5])
    assert points.value == pytest.approx([(3 * 0.2 + 0.8) / 4, 0.5])
    assert points.weights == pytest.approx([2, 0.5])


def test_a_weight_of_0_leaves_a_run_out() -> None:
    assert gather([1, 2], [1, 1], [0.2, 0.8], [1, 0]).n == 1


def test_a_row_that_came_twice_counts_once_and_is_said() -> None:
    points = gather([1, 1, 1, 2], [1, 1, 1, 1], [0.2, 0.2, 0.5, 0.5])
    assert points.value == pytest.approx([0.35, 0.5])
    assert points.notes == ("1 of 4 rows repeat N, D and loss of another to the last digit: counted once",)


def test_a_part_is_the_points_of_its_own_runs() -> None:
    points = gather([1, 2, 1, 3], [1, 1, 1, 1], [0.2, 0.4, 0.3, 0.6])
    part = points.part(points.N != 2)
    alone = gather([1, 1, 3], [1, 1, 1], [0.2, 0.3, 0.6])
    for name in ("N", "D", "value", "weights", "runs", "point_of_run", "value_of_run", "weight_of_run"):
        assert getattr(part, name).tolist() == getattr(alone, name).tolist()


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("loss", math.nan, r"loss\[1\] is nan; expected a finite number above 0"),
        ("loss", -0.5, r"loss\[1\] is -0\.5"),
        ("loss", 0.0, r"loss\[1\] is 0"),
        ("N", math.inf, r"N\[1\] is inf"),
        ("D", 0.0, r"D\[1\] is 0"),
        ("weights", -1.0, r"weights\[1\] is -1; expected a finite number not below 0"),
    ],
)
def test_an_impossible_entry_is_refused_by_its_place(column: str, value: float, said: str) -> None:
    columns = {name: np.array([1.0, 2.0, 3.0]) for name in ("N", "D", "loss", "weights")}
    columns[column][1] = value
    with pytest.raises(UsageError, match=said):
        gather(*columns.values())


def test_columns_that_are_none_are_refused() -> None:
    with pytest.raises(UsageError, match="differ in length: 2 N, 1 D, 2 loss"):
        gather([1, 2], [1], [1, 2])
    with pytest.raises(UsageError, match="N has an entry that is not a number"):
        gather(["many", 2], [1, 2], [1, 2])
    with pytest.raises(UsageError, match="no runs"):
        gather([], [], [])
    with pytest.raises(UsageError, match="plain column of numbers, got 2 dimensions"):
        gather(np.ones((2, 2)), [1, 2], [1, 2])


def test_runs_within_a_tenth_share_a_budget() -> None:
    label, centres = budgets([1e18, 3.1e18, 1.02e18, 3e18, 0.97e18])
    assert label.tolist() == [0, 1, 0, 1, 0]
    assert centres == pytest.approx([(1e18 * 1.02e18 * 0.97e18) ** (1 / 3), math.sqrt(3.1e18 * 3e18)])


@given(st.lists(st.floats(1e10, 1e22), min_size=1, max_size=30), st.randoms())
def test_budgets_do_not_depend_on_the_order(C: list[float], random: object) -> None:
    label, centres = budgets(C)
    order = list(range(len(C)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled, same = budgets([C[i] for i in order])
    assert shuffled.tolist() == [label[i] for i in order]
    assert same == pytest.approx(centres)
    # Smallest first, and no budget wider than it may be.
    assert list(np.argsort(centres)) == list(range(centres.size))
    for index in range(centres.size):
        of_budget = np.array(C)[label == index]
        assert of_budget.max() <= 1.21 * of_budget.min() * (1 + 1e-6)


def test_compute_that_is_spread_continuously_is_no_single_budget() -> None:
    """Steps of 1 % over a factor of 9.4: by steps alone they chain."""
    C = np.geomspace(1e20, 9.4e20, 226)
    label, centres = budgets(C)
    assert centres.size >= math.log(9.4) / math.log(1.21)
    assert (np.diff(label) >= 0).all()  # budgets do not overlap
    assert max(np.ptp(np.log(C[label == index])) for index in range(centres.size)) <= math.log(1.21) * (1 + 1e-6)


def test_points_within_a_factor_of_2_are_drawn_together_unless_budgets_have_names() -> None:
    C = np.geomspace(1e20, 9.4e20, 226)
    drawn = gather(C / 6e9, np.full(C.size, 1e9), np.arange(1.0, 227)).budget
    spans = [C[drawn == index].max() / C[drawn == index].min() for index in np.unique(drawn)]
    assert 1.21 < max(spans) <= 2 * (1 + 1e-6)
    assert gather([1, 2, 3], [1, 1, 1], [3, 2, 1], budget=["b", "a", "b"]).budget.tolist() == [1, 0, 1]


def test_a_straggler_leaves_the_budget_that_it_is_far_from() -> None:
    label, _ = budgets([1e18, 1.01e18, 1.02e18, 1.11e18, 1.22e18])
    assert label.tolist() == [0, 0, 0, 0, 1]


def test_how_far_compute_within_a_budget_moves_the_vertex() -> None:
    """The widest budget rests on this: C rising with N all along, over 1.5 decades, on Chinchilla's law."""
    law = LossLaw(E=1.8172, A=477.83, B=2143.4, alpha=0.34731, beta=0.36717, gamma=1.0)
    N = float(law.optimal(1e20).N) * 10 ** np.linspace(-0.75, 0.75, 15)
    level, rising = (np.full(15, 1e20), 1e20 * np.geomspace(1 / 1.1, 1.1, 15))
    vertices = []
    for C in (level, rising):
        bend, slope, _ = np.polyfit(np.log(N), law(N, C / (6 * N)), 2)
        vertices.append(-slope / (2 * bend))
    shift = vertices[1] - vertices[0]
    assert shift == pytest.approx(0.09, abs=0.005)
    assert shift == pytest.approx(math.log(widest_budget()) / ((law.alpha + law.beta) * math.log(10**1.5)), rel=0.2)
