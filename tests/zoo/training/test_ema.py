"""Averages of weights: the closed form, and weights that come back to the bit."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from torch import nn

from model_zoo.training.ema import Average


def test_averages_are_the_closed_form() -> None:
    """After n steps: sum of (1 - d_k) w_k times the decays after it; d_k = min(decay, (1 + k) / (10 + k))."""
    layer = nn.Linear(3, 2)
    average = Average(layer, 0.5)
    history = [layer.weight.detach().double().numpy().copy()]
    for step in range(12):
        with torch.no_grad():
            layer.weight.add_(torch.randn(2, 3))
        history.append(layer.weight.detach().double().numpy().copy())
        average.update(layer, step)
    decays = [min(0.5, (1 + step) / (10 + step)) for step in range(12)]
    expected = history[0] * np.prod(decays)
    for step in range(12):
        expected = expected + (1 - decays[step]) * history[step + 1] * np.prod(decays[step + 1 :])
    assert decays[0] == 0.1
    assert decays[-1] == 0.5
    np.testing.assert_allclose(average.weights["weight"].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_small_decay_is_not_lost_to_rounding() -> None:
    """1e-4 of a difference is nothing in bfloat16, which is why averages are float32."""
    layer = nn.Linear(1, 1, bias=False).to(torch.bfloat16)
    average = Average(layer, 0.9999)
    assert average.weights["weight"].dtype == torch.float32
    with torch.no_grad():
        layer.weight.copy_(torch.full((1, 1), 2.0))
        average.weights["weight"].fill_(1.0)
    average.update(layer.float(), step=10**9)
    assert float(average.weights["weight"]) == pytest.approx(1.0001, abs=1e-7)


def test_borrowed_weights_come_back_to_the_bit() -> None:
    layer = nn.Linear(4, 4)
    average = Average(layer, 0.9)
    with torch.no_grad():
        layer.weight.mul_(3)
    mine, averaged = layer.weight.detach().clone(), average.weights["weight"].clone()
    address = layer.weight.data_ptr()
    with contextlib.suppress(InterruptedError), average.applied(layer):
        assert torch.equal(layer.weight, averaged)
        assert layer.weight.data_ptr() == address  # what compiled graphs and FSDP hold on to
        raise InterruptedError
    assert torch.equal(layer.weight, mine)
    assert torch.equal(average.weights["weight"], averaged)


def test_no_average_is_none() -> None:
    average = Average(nn.Linear(2, 2), 0.0)
    average.update(nn.Linear(2, 2), 0)
    assert average.weights == {}
