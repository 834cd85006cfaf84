"""Solvers against closed forms, diffusers and their own definitions; the steps that they take."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from model_zoo.cdslm.schedule import Schedule
from model_zoo.sampling.sampler import SamplerOptions, denoise
from model_zoo.sampling.solvers import coefficients, trailing_indices
from tests.zoo.sampling.formula import Formula, Function, schedule_of


def solve(schedule: Schedule, function: Function, x: Tensor, n: int, solver: str) -> Tensor:
    options = SamplerOptions(steps=n, solver=solver, guidance=1.0)  # type: ignore[arg-type]
    nothing = torch.zeros(1, 1, x.shape[2], dtype=x.dtype)
    return denoise(Formula(schedule, function), x, nothing, nothing[0], schedule, options)


MEAN, SD = 0.7, 2.0


def gaussian(x: Tensor, alpha: float, sigma: float) -> Tensor:
    """Exact E[v | x_t] for x0 ~ N(0.7, 2^2)."""
    centred, variance = x - alpha * MEAN, (alpha * SD) ** 2 + sigma**2
    return alpha * sigma * (1 - SD**2) / variance * centred - sigma * MEAN


@pytest.mark.parametrize(
    ("solver", "n", "sd"),
    [
        ("ddim", 10, 1.714583),
        ("ddim", 13, 1.777096),
        ("ddim", 20, 1.852175),
        ("ddim", 50, 1.939528),
        ("ddim", 100, 1.969520),
        ("dpmpp_2m", 10, 1.985832),
        ("dpmpp_2m", 13, 2.004465),
        ("dpmpp_2m", 20, 2.008213),
        ("dpmpp_2m", 50, 2.002577),
        ("dpmpp_2m", 100, 2.000753),
    ],
)
def test_golden_values_of_a_gaussian(solver: str, n: int, sd: float) -> None:
    """All maps are affine: two points of the start, N(0, 1), give mean and sd of the end."""
    x = torch.tensor([[[0.0, 1.0]]], dtype=torch.float64)
    zero, one = solve(schedule_of(), gaussian, x, n, solver).flatten().tolist()
    assert zero == pytest.approx(MEAN, abs=1e-12)
    assert one - zero == pytest.approx(sd, abs=0.5e-6)
    # and in the precision that sampling has
    assert float(solve(schedule_of(), gaussian, x.float(), n, solver)[0, 0, 1]) == pytest.approx(MEAN + sd, abs=3e-6)


def bent(x: Tensor, alpha: float, sigma: float) -> Tensor:
    """No affine function of x, so that no two solvers agree by accident."""
    return torch.sin(3 * x) + alpha * x**2 / 4 - 0.3 * sigma


# diffusers 0.42.1: num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear",
# prediction_type="v_prediction", timestep_spacing="trailing", alphas_cumprod replaced by the same in float64;
# DDIMScheduler(clip_sample=False), DPMSolverMultistepScheduler(algorithm_type="dpmsolver++", solver_order=2,
# lower_order_final=False, final_sigmas_type="zero"). n divides T, where its previous step is right. Its multistep
# solver takes alpha_bar = 2^-24 instead of zero terminal SNR, and computes in float32.
START = (-1.5, -0.5, 0.0, 0.25, 1.0, 2.0)
DIFFUSERS = [
    ("ddim", False, 10, (-2.324402616, 0.030025684, 0.030019645, 0.030016491, 0.830031378, 1.738162384)),
    ("ddim", False, 50, (-2.471540215, 0.025896921, 0.029499556, 0.031275905, 1.452974093, 1.820688926)),
    ("ddim", True, 10, (-2.323884986, 0.030026884, 0.030019444, 0.03001553, 0.842538299, 1.737792255)),
    ("ddim", True, 50, (-2.471791321, 0.025989425, 0.02951343, 0.031252491, 1.473838449, 1.820628463)),
    ("dpmpp_2m", False, 10, (-2.385954, 0.030601, 0.030082, 0.029933, 1.357644, 1.728463)),
    ("dpmpp_2m", False, 20, (-2.504282, 0.021945, 0.028923, 0.032321, 1.578119, 1.821484)),
    ("dpmpp_2m", False, 50, (-2.522672, 0.023298, 0.029138, 0.032007, 1.596750, 1.840894)),
]


@pytest.mark.parametrize(("solver", "terminal", "n", "expected"), DIFFUSERS)
def test_equal_to_diffusers(solver: str, terminal: bool, n: int, expected: Sequence[float]) -> None:
    x = torch.tensor(START, dtype=torch.float64)[None, None]
    made = solve(schedule_of(terminal=terminal), bent, x, n, solver).flatten()
    np.testing.assert_allclose(made, expected, rtol=0, atol=2e-9 if solver == "ddim" else 1e-5)


@pytest.mark.parametrize(("solver", "order"), [("ddim", 1), ("dpmpp_2m", 2)])
@pytest.mark.parametrize("end", [-3.0, -6.0])
def test_order_of_convergence(solver: str, order: int, end: float) -> None:
    """Against the exact solution, which keeps (x - alpha mean) / sqrt(alpha^2 sd^2 + sigma^2), whatever the path.

    Even steps in lambda down from 14: with the trailing steps of a named schedule, the jump from the last noise level
    to none shrinks as well, with an order of its own.
    """
    counts, errors = (100, 200, 400, 800), []
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[None, None]
    for n in counts:
        schedule = Schedule(1 / (1 + np.exp(-2 * np.linspace(14, end, n))))
        alpha, sigma = schedule.alpha[-1], schedule.sigma[-1]
        exact = MEAN + SD * (x - alpha * MEAN) / math.sqrt((alpha * SD) ** 2 + sigma**2)
        errors.append(float((solve(schedule, gaussian, x, n, solver) - exact).abs().max()))
    slopes = -np.diff(np.log(errors)) / np.log(2)
    np.testing.assert_allclose(slopes, order, atol=0.05)


def test_second_order_only_where_both_steps_are_finite() -> None:
    """Not in the first step, nor the last; with zero terminal SNR not in the second either."""
    for terminal, first in ((False, 1), (True, 2)):
        schedule = schedule_of(terminal=terminal)
        table = coefficients(schedule, trailing_indices(1000, 10), "dpmpp_2m")
        assert np.isfinite(table).all()
        np.testing.assert_array_equal(np.flatnonzero(table[:, 4]), np.arange(first, 9))


def test_2m_by_its_definition() -> None:
    """x' = (sigma' / sigma) x + (alpha' - sigma' alpha / sigma) D, step by step as it is written."""
    schedule, n = schedule_of(), 17
    x = expected = torch.tensor(START, dtype=torch.float64)[None, None]
    indices = trailing_indices(1000, n)
    before, h_before = None, math.inf
    for here, there in zip(indices, [*indices[1:], None], strict=True):
        a, s = schedule.alpha[here], schedule.sigma[here]
        a_next, s_next = (1.0, 0.0) if there is None else (schedule.alpha[there], schedule.sigma[there])
        m = a * expected - s * bent(expected, a, s)
        h = math.inf if a == 0 or s_next == 0 else math.log(a_next / s_next) - math.log(a / s)
        second = before is not None and math.isfinite(h) and math.isfinite(h_before)
        d = m + h / (2 * h_before) * (m - before) if second else m
        expected, before, h_before = s_next / s * expected + (a_next - s_next * a / s) * d, m, h
    np.testing.assert_allclose(solve(schedule, bent, x, n, "dpmpp_2m"), expected, rtol=1e-10)


@pytest.mark.parametrize("solver", ["ddim", "dpmpp_2m"])
def test_one_step_jumps_to_the_estimate_of_x0(solver: str) -> None:
    """From pure noise, where alpha is 0: x0' = -v, with no division by alpha and no NaN."""
    x = torch.tensor(START)[None, None]
    assert torch.equal(solve(schedule_of(), bent, x, 1, solver), -bent(x, 0.0, 1.0))


@pytest.mark.parametrize("solver", ["ddim", "dpmpp_2m"])
def test_nothing_is_clipped(solver: str) -> None:
    """Digital silence lies 3 sd below the mean: data known to be 9 everywhere come out as 9."""
    x = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    known = solve(schedule_of(), lambda x, alpha, sigma: (alpha * x - 9) / sigma, x, 20, solver)
    np.testing.assert_allclose(known, 9, atol=1e-4)


@pytest.mark.parametrize("n_schedule", [100, 1000])
def test_trailing_indices(n_schedule: int) -> None:
    """For 61, 103, 121 and 59 others, counting down by T / n yields one index too many, -1."""
    for n in range(1, n_schedule + 1):
        indices = trailing_indices(n_schedule, n)
        assert len(indices) == n
        assert indices[0] == n_schedule - 1
        assert indices[-1] >= 0
        gaps = -np.diff([*indices, -1])
        assert gaps.min() >= n_schedule // n
        assert gaps.max() <= -(-n_schedule // n)


def test_trailing_indices_of_numbers_that_do_not_divide() -> None:
    extra = [n for n in range(1, 1001) if len(np.arange(1000, 0, -1000 / n)) != n]
    assert len(extra) == 62
    assert {61, 103, 121} <= set(extra)
    assert trailing_indices(1000, 13)[:4] == [999, 922, 845, 768]
    assert trailing_indices(1000, 61)[-2:] == [32, 15]
