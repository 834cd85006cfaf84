"""Schedules against the figures of their table, computed apart from this code, and against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model_zoo.cdslm.config import SCHEDULES, DiffusionConfig
from model_zoo.cdslm.schedule import Schedule
from slm_eval.base.errors import UsageError


def make(name: str, terminal: bool = False, steps: int = 1000) -> Schedule:
    return Schedule.from_config(DiffusionConfig(schedule=name, zero_terminal_snr=terminal, steps=steps))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "first", "last", "share"),
    [
        ("linear", 9999, 4.04e-5, 33),
        ("cosine", 2.42e4, 2.43e-9, 6),
        ("cosine_logsnr", 148, 6.74e-3, 1),
        ("exponential", 82.8, 6.14e-6, 62),
        ("exponential_beta", 9999, 2.33e-2, 0),
    ],
)
def test_table_of_signal_to_noise_ratios(name: str, first: float, last: float, share: int) -> None:
    snr = make(name).snr
    assert snr[0] == pytest.approx(first, rel=0.5e-2)
    assert float(f"{snr[-1]:.3g}") == last
    assert round(100 * (snr < 0.01).mean()) == share


@pytest.mark.parametrize(
    ("steps", "unscaled", "scaled"), [(100, 0.57, 2.0e-5), (500, 6.4e-3, 3.8e-5), (4000, 2.7e-18, 4.2e-5)]
)
def test_betas_are_scaled_with_the_number_of_steps(steps: int, unscaled: float, scaled: float) -> None:
    """Unscaled, the noise at the end would depend on T."""
    assert float(f"{make('linear', steps=steps).snr[-1]:.2g}") == scaled
    alpha_bar = math.prod(1 - beta for beta in np.linspace(1e-4, 0.02, steps))
    assert float(f"{alpha_bar / (1 - alpha_bar):.2g}") == unscaled


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("steps", [21, 100, 500, 1000, 2000, 4000])
def test_any_number_of_steps(name: str, terminal: bool, steps: int) -> None:
    schedule = make(name, terminal, steps)
    assert schedule.steps == steps
    assert schedule.alpha_bar.dtype == np.float64
    assert 0 < schedule.alpha_bar[0] < 1
    assert (np.diff(schedule.alpha_bar) < 0).all()
    assert (schedule.alpha_bar[-1] == 0) == terminal
    np.testing.assert_allclose(schedule.alpha**2 + schedule.sigma**2, 1, rtol=1e-15)
    np.testing.assert_allclose(np.exp(schedule.log_snr), schedule.snr, rtol=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_zero_terminal_snr(name: str) -> None:
    """The last is 0 exactly, the first stays, and sqrt(alpha_bar) is an affine function of what it was."""
    before, after = make(name), make(name, terminal=True)
    assert after.alpha_bar[-1] == 0
    assert after.log_snr[-1] == -math.inf
    assert after.sigma[-1] == 1
    assert after.alpha[0] == pytest.approx(before.alpha[0], rel=1e-15)
    slope = np.diff(after.alpha) / np.diff(before.alpha)
    np.testing.assert_allclose(slope, slope[0], rtol=1e-9)


def test_last_signal_before_the_zero() -> None:
    assert float(f"{make('linear', terminal=True).alpha_bar[-2]:.2g}") == 4.2e-9


def test_betas_reach_one_with_too_few_steps() -> None:
    with pytest.raises(UsageError, match="more than 20 steps, not 20"):
        make("linear", steps=20)


def test_taus_do_not_depend_on_the_number_of_steps() -> None:
    """And stay float32: in bfloat16, half of the steps of T = 1000 would be told as another one."""
    taus = make("cosine").taus(np.arange(1000))
    assert taus.dtype == np.float32
    np.testing.assert_array_equal(taus, np.arange(1000))
    np.testing.assert_array_equal(make("cosine", steps=500).taus([0, 1, 499]), [0, 2, 998])
    np.testing.assert_array_equal(make("cosine", steps=4000).taus([1, 3999]), np.float32([0.25, 999.75]))
