"""Parameters and operations by formula against the network, torch's counter and the published sizes."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner
from torch.utils.flop_counter import FlopCounterMode

from model_zoo.cdslm.config import ModelConfig
from model_zoo.cdslm.flops import (
    LADDER,
    Tokens,
    attention_flops,
    flops_6nd,
    forward_flops,
    parameter_count,
    peak_flops,
    sampling_flops,
    training_flops,
    utilization,
)
from model_zoo.cdslm.model import MMDiT
from model_zoo.cli.main import main
from slm_eval.base.errors import UsageError

# Layers -> parameters, TFLOP of training one sample, operations over 6 N D, share of attention: the ladder's table in
# the reference document of the model, made apart from this code.
TABLE = {
    1: (559_184, 0.0152, 1.42, 0.78),
    2: (4_468_304, 0.0831, 0.97, 0.66),
    3: (15_266_384, 0.226, 0.77, 0.57),
    4: (36_492_368, 0.468, 0.67, 0.50),
    6: (124_383_824, 1.33, 0.56, 0.41),
    8: (296_454_224, 2.87, 0.50, 0.34),
    10: (581_015_120, 5.24, 0.47, 0.29),
    11: (774_326_864, 6.80, 0.46, 0.27),
    12: (1_006_378_064, 8.65, 0.45, 0.26),
    14: (1_600_854_608, 13.3, 0.43, 0.23),
    16: (2_392_756_304, 19.3, 0.42, 0.21),
    20: (4_682_081_360, 36.1, 0.40, 0.17),
    24: (8_100_845_648, 60.8, 0.39, 0.15),
    27: (11_542_362_704, 85.2, 0.38, 0.13),
    30: (15_842_142_800, 115.0, 0.38, 0.12),
}
FORMS = [
    ModelConfig(layers=2, last_context_block="sd3"),
    ModelConfig(layers=2, last_context_block="full"),
    ModelConfig(layers=3, patch=3, qk_norm=False),
    ModelConfig(layers=3, width=64, patch=6, head_dim=16),
]


@pytest.mark.parametrize("layers", LADDER)
def test_the_ladder_is_that_of_the_reference(layers: int) -> None:
    config = ModelConfig(layers=layers)
    tokens = Tokens.from_config(config)
    count, teraflops, ratio, attention = TABLE[layers]
    assert tokens == Tokens(800, 2400)
    assert parameter_count(config) == count
    flops = training_flops(config, tokens)
    assert float(f"{flops / 1e12:.3g}") == teraflops
    assert round(flops / flops_6nd(config, tokens), 2) == ratio
    assert round(attention_flops(config, tokens) / forward_flops(config, tokens), 2) == attention


@pytest.mark.parametrize("config", [ModelConfig(layers=n) for n in (1, 4, 27, 30)] + FORMS)
def test_the_formula_counts_what_the_network_has(config: ModelConfig) -> None:
    with torch.device("meta"):
        model = MMDiT(config)
    assert sum(each.numel() for each in model.parameters()) == parameter_count(config)


@pytest.mark.parametrize("config", [ModelConfig(layers=n) for n in (1, 2, 4)] + FORMS)
def test_operations_are_those_that_torch_counts(config: ModelConfig) -> None:
    tokens = Tokens(5, 8)
    with torch.device("meta"):  # operations are counted by shape
        model = MMDiT(config)
        context, noisy = torch.zeros(2, 5 * config.patch, 80), torch.zeros(2, 8 * config.patch, 80)
        with FlopCounterMode(display=False) as counter:
            model(context, noisy, torch.zeros(2))
        assert counter.get_total_flops() == 2 * forward_flops(config, tokens)
        with FlopCounterMode(display=False) as counter:
            velocity = model.prepare(context, torch.zeros(3))  # one clip, and the context of nobody
            for step in range(3):
                velocity(noisy, step)
        assert counter.get_total_flops() == sampling_flops(config, tokens, conditional=3, unconditional=3)


def test_training_is_three_forward_passes_but_for_the_first_layers_inputs() -> None:
    """The data needs no gradient, nor do noise levels: 3 F counts their products as well, 2 % of so small a model."""
    config = ModelConfig(layers=2, width=32, head_dim=16)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        MMDiT(config)(torch.zeros(1, 40, 80), torch.zeros(1, 60, 80), torch.zeros(1)).sum().backward()
    inputs = 160 * 32 * 100 + 2 * 256 * 32
    assert counter.get_total_flops() == training_flops(config, Tokens(40, 60)) - inputs


def test_frames_that_no_token_takes() -> None:
    assert Tokens.from_config(ModelConfig(patch=3)) == Tokens(266, 800)
    with pytest.raises(UsageError, match="patches of 6 frames do not divide 100 frames"):
        Tokens.from_config(ModelConfig(patch=6), frames=100)
    with pytest.raises(UsageError, match="at least one token, got 2 and 2400 frames"):
        Tokens.from_config(ModelConfig(patch=3), context_frames=2)


def test_utilization_needs_a_known_device() -> None:
    assert utilization(989e12, "NVIDIA H200", devices=2).value == 0.5
    assert peak_flops("NVIDIA H200 MIG 1g.18gb") is None
    value, why = utilization(1e12, "Some GPU")
    assert value is None
    assert why == "the dense bf16 peak of 'Some GPU' is not known"


def test_the_command_prints_parameters_and_both_counts() -> None:
    printed = CliRunner().invoke(main, ["flops", "--layers", "1", "--layers", "4", "--json"])
    assert printed.exit_code == 0, printed.output
    first, second = json.loads(printed.output)
    assert (first["parameters"], second["parameters"]) == (559_184, 36_492_368)
    assert second["flops_6nd"] == 6 * 36_492_368 * 3200
    assert second["flops_hw"] == training_flops(ModelConfig(layers=4), Tokens(800, 2400))
    table = CliRunner().invoke(main, ["flops", "--ladder"])
    assert "11,542,362,704" in table.output
    assert len(table.output.splitlines()) == len(LADDER) + 1


def test_the_command_refuses_what_cannot_be_cut() -> None:
    refused = CliRunner().invoke(main, ["flops", "--patch", "6", "--frames", "100"])
    assert refused.exit_code == 2
    assert "patches of 6 frames do not divide 100 frames" in refused.output
