"""Initial weights: CompleteP's, functions of name and seed alone."""

from __future__ import annotations

import pytest
import torch

from model_zoo.cdslm.config import ModelConfig
from model_zoo.cdslm.init import initial_value, initialize
from model_zoo.cdslm.model import MMDiT
from tests.zoo.cdslm.made_networks import TAUS, TINY, clips


def test_a_new_network_answers_zero() -> None:
    assert torch.equal(MMDiT(TINY)(*clips(2, 5, 6), TAUS), torch.zeros(2, 6, 80))


def test_from_the_meta_device_nothing_is_left_as_it_was() -> None:
    with torch.device("meta"):
        model = MMDiT(TINY, seed=5)
    model.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    initialize(model, seed=5)
    direct = MMDiT(TINY, seed=5).state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.isfinite(tensor).all(), name
        assert torch.equal(tensor, direct[name])
    assert list(model.buffers()) == []


def test_initial_values_are_completep_s() -> None:
    """Standard deviations by the table in section 8 of the reference, within 3 % on 10,000 values and more."""
    fan_in = {"ctx_in": 80, "gen_in": 80, "0": 256, "2": 128, "qkv": 128, "out": 128, "fc1": 128, "fc2": 512}
    seen = set()
    for name, parameter in MMDiT(ModelConfig(layers=1), seed=1).state_dict().items():
        *_, module, kind = name.split(".")
        seen.add(module)
        if kind == "bias" or module in ("adaln", "final_adaln", "final"):
            assert not parameter.any(), name
        elif module in ("q_norm", "k_norm"):
            assert (parameter == 1).all()
        else:
            assert float(parameter.std()) == pytest.approx(fan_in[module] ** -0.5, rel=0.03), name
            assert abs(float(parameter.mean())) < 0.03 * fan_in[module] ** -0.5
    assert seen == {*fan_in, "adaln", "final_adaln", "final", "q_norm", "k_norm"}


def test_initial_values_depend_on_name_and_seed_alone() -> None:
    name = "blocks.1.generation.fc1.weight"
    here = dict(MMDiT(TINY, seed=3).named_parameters())[name]
    assert torch.equal(here, initial_value(name, tuple(here.shape), 3))
    assert not torch.equal(here, initial_value(name, tuple(here.shape), 4))
    assert not torch.equal(here, initial_value("blocks.0.generation.fc1.weight", tuple(here.shape), 3))
