"""Patches, and what of a layer is always float32."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model_zoo.cdslm.layers import time_condition, time_waves
from slm_eval.base.errors import UsageError
from tests.zoo.cdslm.made_networks import TAUS, TINY, clips, randomized


def test_noise_levels_next_to_each_other_are_told_apart() -> None:
    """In bfloat16 they would be one: 256 values are left between 512 and 1000."""
    model = randomized(TINY)
    context, noisy = clips(1, 5, 6)
    taus = torch.tensor([998.0, 999.0])
    v = model(context.expand(2, -1, -1), noisy.expand(2, -1, -1), taus)
    assert (v[0] - v[1]).abs().max() > 1e-3
    with pytest.raises(UsageError, match=r"noise levels are float32, got torch\.bfloat16"):
        model(context, noisy, taus[:1].bfloat16())


def test_what_no_patch_takes_is_the_oldest_of_the_context() -> None:
    model = randomized(replace(TINY, patch=3))
    context, noisy = clips(2, 11, 6)
    assert torch.equal(model(context, noisy, TAUS), model(context[:, 2:], noisy, TAUS))
    with pytest.raises(UsageError, match="patches of 3 frames do not divide 7 frames; take 6 frames"):
        model(context, torch.zeros(2, 7, 80), TAUS)
    with pytest.raises(UsageError, match="the context has 2 frames, a token takes 3"):
        model(context[:, :2], noisy, TAUS)


def test_bfloat16_leaves_the_noise_level_alone() -> None:
    model = randomized(TINY)
    exact = time_condition(model.t_mlp, TAUS)
    assert exact.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(time_condition(model.t_mlp, TAUS), exact)
    assert time_waves(TAUS).dtype == torch.float32
