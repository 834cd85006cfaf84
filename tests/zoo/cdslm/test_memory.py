"""Estimates of memory against torch's own tracker."""

from __future__ import annotations

import pytest
import torch
from torch.distributed._tools.mem_tracker import MemTracker

from model_zoo.cdslm.config import ModelConfig
from model_zoo.cdslm.flops import Tokens, parameter_count
from model_zoo.cdslm.memory import Precision, largest_batch, memory_estimate
from model_zoo.cdslm.model import MMDiT

SMALL = ModelConfig(layers=3, width=96, head_dim=16)
TOKENS = Tokens(60, 140)
BATCH = 3


def tracked_activations(precision: Precision, training: bool) -> int:
    """The peak of one step on the CPU, without weights and their bfloat16 copies; eager, with fused attention."""
    model = MMDiT(SMALL).requires_grad_(True)  # the tracker cannot watch frozen parameters
    if precision == "bfloat16" and not training:
        model.bfloat16()
    tracker = MemTracker()
    tracker.track_external(model)
    context, noisy, tau = torch.zeros(BATCH, 60, 80), torch.zeros(BATCH, 140, 80), torch.zeros(BATCH)
    with tracker:
        if training:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                v = model(context, noisy, tau)
            v.square().mean().backward()
        else:
            model.prepare(context, tau[:1])(noisy, 0)
    copies = 2 if training and precision == "bfloat16" else 0
    weights = sum(each.numel() * (each.element_size() + copies) for each in model.parameters())
    return tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"] - weights


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("training", [False, True])
def test_activations_are_those_that_torch_tracks(precision: Precision, training: bool) -> None:
    estimated = memory_estimate(SMALL, TOKENS, BATCH, precision, training).activations
    assert estimated == pytest.approx(tracked_activations(precision, training), rel=0.05)


def test_bytes_of_parameters() -> None:
    """Section 9 of the reference: 5.5 GiB at 8 layers, 87 at 20 and 215 at 27 in training, at 20 bytes a parameter."""
    for layers, gibibytes in ((8, 5.5), (20, 87), (27, 215)):
        config = ModelConfig(layers=layers)
        trained = memory_estimate(config, Tokens.from_config(config), 1, training=True).parameters
        assert trained / 2**30 == pytest.approx(gibibytes, rel=0.01)
        for precision, size in (("float32", 4), ("bfloat16", 2)):
            memory = memory_estimate(config, Tokens.from_config(config), 1, precision)  # type: ignore[arg-type]
            assert memory.parameters == size * parameter_count(config)


def test_the_largest_batch_fits_and_the_next_does_not() -> None:
    config = ModelConfig(layers=8)
    tokens, available = Tokens.from_config(config), 10 * 2**30
    batch = largest_batch(config, tokens, available, "bfloat16")
    assert memory_estimate(config, tokens, batch, "bfloat16").total <= available
    assert memory_estimate(config, tokens, batch + 1, "bfloat16").total > available
    assert largest_batch(config, tokens, 2**20) == 0
