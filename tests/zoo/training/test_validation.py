"""The validation protocol: the same clips, noise and levels in every run."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from model_zoo.cdslm.config import DiffusionConfig
from model_zoo.cdslm.loss import DiffusionLoss, loss_weights
from model_zoo.cdslm.schedule import Schedule
from model_zoo.data.windows import ValidationClip
from model_zoo.noise import normal
from model_zoo.training.validation import Validation, validate, validation_timesteps
from slm_eval.base.errors import UsageError


def config(**values: object) -> DiffusionConfig:
    return DiffusionConfig(**values)  # type: ignore[arg-type]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def clips(n: int) -> list[ValidationClip]:
    return [ValidationClip(f"clip-{i}", random(5, 80, seed=i), 2 * random(9, 80, seed=100 + i)) for i in range(n)]


def run(n: int = 3, velocity: Callable[..., Tensor] | None = None, **options: int) -> Validation:
    torch.manual_seed(0)
    layer = torch.nn.Linear(80, 80)

    def network(contexts: Tensor, x: Tensor, taus: Tensor) -> Tensor:
        return layer(x) * torch.cos(taus / 300)[:, None, None] + contexts.mean(1, keepdim=True)

    return validate(velocity or network, clips(n), DiffusionLoss.from_config(config()), **options)


def test_validation_timesteps_are_middles() -> None:
    assert validation_timesteps(1000) == [math.floor((j + 0.5) * 1000 / 8) for j in range(8)]
    assert validation_timesteps(100) == [6, 18, 31, 43, 56, 68, 81, 93]


@pytest.mark.parametrize("batch_size", [1, 5, 24, 100])
def test_validation_does_not_depend_on_the_batch(batch_size: int) -> None:
    """Nor on the clips beside: only the network's matrix products may round otherwise."""
    expected, value = run(batch_size=8), run(batch_size=batch_size)
    assert value.ids == ("clip-0", "clip-1", "clip-2")
    np.testing.assert_allclose(value.errors, expected.errors, rtol=1e-5)
    np.testing.assert_allclose(run(2).errors, expected.errors[:2], rtol=1e-5)


def test_validation_is_the_same_in_every_run_and_says_when_it_is_not() -> None:
    torch.manual_seed(5)
    expected = run()
    np.testing.assert_array_equal(run().errors, expected.errors)
    assert run().protocol == expected.protocol
    assert len({expected.protocol, run(2).protocol, run(seed=1).protocol}) == 3


def test_validation_by_hand() -> None:
    """One clip at one level, from the definitions; and the means."""
    value = run(velocity=lambda contexts, x, taus: torch.zeros_like(x))
    noise = normal((8, 9, 80), 0, "validation", "clip-1")[3]
    alpha_bar = float(Schedule.from_config(config()).alpha_bar[437])
    target = math.sqrt(alpha_bar) * noise - math.sqrt(1 - alpha_bar) * clips(2)[1].target
    assert value.errors[1, 3] == pytest.approx(float(target.square().mean()), rel=1e-5)
    weights = loss_weights(Schedule.from_config(config()), config())[validation_timesteps(1000)]
    assert value.loss == pytest.approx(np.mean([row @ weights / 8 for row in value.errors]), rel=1e-6)
    assert value.v_mse == pytest.approx(value.by_level.mean(), rel=1e-12)


def test_validation_is_float32_under_autocast() -> None:
    expected = run()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(run().errors, expected.errors)


def test_validation_of_nothing() -> None:
    with pytest.raises(UsageError, match="at least one clip"):
        run(0)
