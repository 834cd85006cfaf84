"""Fitted to the smaller budgets and tested on the largest, by hand once more."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from slm_eval.base.errors import UsageError
from slm_eval.scaling import PUBLISHED, fit_loss_law, fit_metric_law, hold_out
from tests.scaling.known_surface import BUDGETS, METRIC, grid, noise

N, D, C = grid(sizes=7)
LOSS = PUBLISHED(N, D) * noise(N.size, 0)


@pytest.mark.parametrize("held", [1, 3])
def test_the_largest_budgets_are_held_out(held: int) -> None:
    outcome = hold_out(N, D, C, LOSS, fit_loss_law, budgets_held=held)
    train = BUDGETS[-held] * 0.99 > C
    by_hand = fit_loss_law(N[train], D[train], LOSS[train])
    assert outcome.fit == by_hand
    assert outcome.budgets == pytest.approx(BUDGETS[-held:])
    assert (outcome.n_train, outcome.n_held) == (70 - 7 * held, 7 * held)
    assert outcome.mre_train == by_hand.mre
    assert outcome.mre_held == pytest.approx(np.mean(np.abs(by_hand(N[~train], D[~train]) / LOSS[~train] - 1)))


def test_the_law_says_more_of_larger_budgets_than_compute_does() -> None:
    outcome = hold_out(N, D, None, LOSS, fit_loss_law, budgets_held=3)
    assert outcome.mre_held < 0.015
    assert outcome.skill > 0.5
    exact = (C / 1e18) ** -0.05 * 0.007
    assert hold_out(N, D, None, exact, partial(fit_loss_law, gamma=1.0)).mre_held_compute < 1e-6


def test_a_metric_is_held_out_the_same_way() -> None:
    metric = METRIC(N, D) * noise(N.size, 2)
    outcome = hold_out(N, D, C, metric, partial(fit_metric_law, limits=(0, 0.6931)), budgets_held=2)
    assert outcome.mre_held < 0.02
    assert outcome.fit.limits == (0, 0.6931)


@pytest.mark.parametrize("held", [0, 9, 10])
def test_two_budgets_at_least_are_left(held: int) -> None:
    with pytest.raises(UsageError, match=f"{held} of 10 budgets to be held out"):
        hold_out(N, D, C, LOSS, fit_loss_law, budgets_held=held)
