"""The loss in closed form: errors of v, x0 and eps, denoisers known to be ideal; and the validation protocol."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from model_zoo.cdslm.config import SCHEDULES, WEIGHTINGS, DiffusionConfig
from model_zoo.cdslm.loss import LEVEL_EDGES, DiffusionLoss, loss_weights
from model_zoo.cdslm.schedule import Schedule


def config(**values: object) -> DiffusionConfig:
    return DiffusionConfig(**values)  # type: ignore[arg-type]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_loss_is_a_weighted_error_of_x0_and_of_eps(schedule: str, weighting: str) -> None:
    """Off by one in the SNR is the classical mistake of min-SNR with v: it would not survive this."""
    chosen = config(schedule=schedule, weighting=weighting, zero_terminal_snr=False)
    alpha_bar = Schedule.from_config(chosen).alpha_bar
    loss, n = DiffusionLoss.from_config(chosen), 40
    t = torch.arange(n) * 25
    x0, noise, predicted = random(n, 6, 5), random(n, 6, 5, seed=1), random(n, 6, 5, seed=2)
    noisy, target = loss.noised(x0, noise, t)
    bars = alpha_bar[t.numpy()][:, None, None]
    snr = bars / (1 - bars)
    x0_error = np.sqrt(bars) * noisy.numpy() - np.sqrt(1 - bars) * predicted.numpy() - x0.numpy()
    eps_error = np.sqrt(bars) * predicted.numpy() + np.sqrt(1 - bars) * noisy.numpy() - noise.numpy()
    # The weights of the error of x0 are those of the papers, written without a look at v.
    on_x0 = {
        "paper": np.minimum(snr, 5) * (snr + 1),
        "min_snr_v": np.minimum(snr, 5),
        "none": snr + 1,
    }[weighting]
    value = float(loss(predicted, target, t).value)
    assert value == pytest.approx(float((on_x0 * x0_error**2).mean()), rel=2e-4)
    # |eps' - eps|^2 = SNR |x0' - x0|^2
    assert value == pytest.approx(float((on_x0 / snr * eps_error**2).mean()), rel=2e-4)


def test_share_of_weight_on_clean_steps() -> None:
    """On linear, `paper` puts 62 % of its weight on the 13 % of steps with SNR > 5, `min_snr_v` 20 %."""
    shares = {}
    for weighting in WEIGHTINGS:
        chosen = config(weighting=weighting, zero_terminal_snr=False)
        schedule = Schedule.from_config(chosen)
        weight = loss_weights(schedule, chosen)
        shares[weighting] = round(100 * weight[schedule.snr > 5].sum() / weight.sum())
    assert shares == {"paper": 62, "min_snr_v": 20, "none": 13}


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_step_without_signal_is_trained_unless_taken_literally(weighting: str) -> None:
    schedule = Schedule.from_config(config())
    mean = loss_weights(schedule, config(weighting=weighting))
    literal = loss_weights(schedule, config(weighting=weighting, terminal_weight="literal"))
    assert mean[-1] == pytest.approx(mean.mean(), rel=1e-12)
    assert literal[-1] == (1 if weighting == "none" else 0)
    np.testing.assert_array_equal(mean[:-1], literal[:-1])


@pytest.mark.parametrize("psi", [1.0, 5.0, 20.0])
def test_psi_cuts_the_weight(psi: float) -> None:
    weight = loss_weights(Schedule.from_config(config()), config(psi=psi, terminal_weight="literal"))
    assert weight.max() == psi


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("terminal", [False, True])
def test_ideal_denoiser_of_white_data(schedule: str, terminal: bool) -> None:
    """For x0 ~ N(0, 1) the best v is 0, at every level, and its error 1: so the loss is the mean weight."""
    chosen = config(schedule=schedule, zero_terminal_snr=terminal)
    loss = DiffusionLoss.from_config(chosen)
    t = torch.arange(1000)
    _, target = loss.noised(random(1000, 30, 80), random(1000, 30, 80, seed=1), t)
    value, levels = loss(torch.zeros_like(target), target, t)
    assert float(value) == pytest.approx(loss_weights(Schedule.from_config(chosen), chosen).mean(), rel=0.005)
    sums, counts = levels.numpy()
    # 4.5 standard deviations of a mean of 2400 squared normals per step
    assert (abs(sums - counts) <= 4.5 * np.sqrt(2 / 2400 * counts)).all()


def test_ideal_denoiser_of_a_gaussian() -> None:
    """For x0 ~ N(0, s^2) the least error of v is s^2 / (alpha^2 s^2 + sigma^2)."""
    loss, s, t = DiffusionLoss.from_config(config()), 2.0, torch.arange(0, 1000, 9)
    x0 = s * random(len(t), 300, 80)
    noisy, target = loss.noised(x0, random(len(t), 300, 80, seed=1), t)
    alpha, sigma = loss.alpha[t, None, None], loss.sigma[t, None, None]
    variance = alpha**2 * s**2 + sigma**2
    ideal = alpha * sigma * (1 - s**2) / variance * noisy
    errors = loss.errors(ideal, target)
    np.testing.assert_allclose(errors, (s**2 / variance).flatten(), rtol=0.05)


def test_no_nan_without_signal() -> None:
    loss = DiffusionLoss.from_config(config())
    t = torch.tensor([0, 998, 999])
    x0 = random(3, 4, 80)
    noisy, target = loss.noised(x0, random(3, 4, 80, seed=1), t)
    assert torch.equal(target[2], -x0[2])
    assert torch.equal(noisy[2], random(3, 4, 80, seed=1)[2])
    predicted = torch.zeros_like(target, requires_grad=True)
    value, levels = loss(predicted, target, t)
    value.backward()
    assert predicted.grad is not None
    assert torch.isfinite(predicted.grad).all()
    assert predicted.grad[2].abs().max() > 0
    assert torch.isfinite(levels).all()


@pytest.mark.parametrize("stored", [torch.float16, torch.float64])
def test_float32_whatever_the_network_computes_in(stored: torch.dtype) -> None:
    loss, t = DiffusionLoss.from_config(config()), torch.tensor([3, 500])
    x0 = random(2, 8, 80).to(stored)
    noisy, target = loss.noised(x0, random(2, 8, 80, seed=1), t)
    predicted = random(2, 8, 80, seed=2).bfloat16()
    expected = loss(predicted.double().float(), target, t)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, levels = loss(predicted, target, t)
    assert {each.dtype for each in (noisy, target, value, levels, loss.taus(t))} == {torch.float32}
    assert torch.equal(value, expected.value)
    assert torch.equal(levels, expected.levels)


def test_levels_of_ranks_can_be_added() -> None:
    loss, t = DiffusionLoss.from_config(config()), torch.arange(0, 1000, 7)
    errors = random(len(t), 4, 80)
    whole = loss(errors, torch.zeros_like(errors), t).levels
    parts = sum(loss(errors[half], torch.zeros_like(errors[half]), t[half]).levels for half in (t < 400, t >= 400))
    torch.testing.assert_close(whole, parts)
    for bin_, (low, high) in enumerate(zip((-math.inf, *LEVEL_EDGES), (*LEVEL_EDGES, math.inf), strict=True)):
        log_snr = Schedule.from_config(config()).log_snr[t.numpy()]
        inside = (low <= log_snr) & (log_snr < high)
        assert whole[1, bin_] == inside.sum()
        assert float(whole[0, bin_]) == pytest.approx(float(errors[inside].square().mean((1, 2)).sum()), rel=1e-5)
