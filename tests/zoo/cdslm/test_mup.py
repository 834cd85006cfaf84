"""CompleteP's table as numbers of the reference, and what it is for: sizes that stay, a learning rate that transfers.

The two experiments are ``coordinate_check.py`` and ``learning_rate_transfer.py`` of ``benchmarks/completep`` at a small
size, each with the standard parametrisation beside it, which has to fail what CompleteP passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from model_zoo.cdslm.config import ModelConfig
from model_zoo.cdslm.model import MMDiT
from model_zoo.cdslm.mup import group_of, parameter_groups
from slm_eval.base.errors import SlmEvalError
from tests.conftest import ROOT

TUNED = {"learning_rate": 1e-3, "weight_decay": 0.03, "epsilon": 1e-12}
# Three times as wide as the base and half as deep: no two multipliers alike.
ODD = ModelConfig(layers=2, width=1536)
# Learning rate, weight decay and epsilon of section 8's table, worked out by hand at m_N = 3, m_L = 1/2, by row.
INPUT = (1e-3, 0.03, 1e-12 / 3)
HIDDEN = (1e-3 / 3, 0.09, 2e-12 / 3)
OUTSIDE = (1e-3 / 3, 0.09, 1e-12 / 3)
BIAS = (1e-3, 0.0, 2e-12 / 3)
GAIN = (1e-3, 0.0, 2e-12)
BIAS_OUTSIDE = (1e-3, 0.0, 1e-12 / 3)
OUTPUT = (1e-3, 0.03, 1e-12 / 3)
BY_HAND = {
    "ctx_in.weight": INPUT,
    "gen_in.weight": INPUT,
    "t_mlp.0.weight": INPUT,
    "t_mlp.2.weight": OUTSIDE,
    "final_adaln.weight": OUTSIDE,
    "final.weight": OUTPUT,
    **{f"{name}.bias": BIAS_OUTSIDE for name in ("ctx_in", "gen_in", "t_mlp.0", "t_mlp.2", "final_adaln", "final")},
    **{f"{name}.weight": HIDDEN for name in ("adaln", "qkv", "out", "fc1", "fc2")},
    **{f"{name}.bias": BIAS for name in ("adaln", "qkv", "out", "fc1", "fc2")},
    "q_norm.weight": GAIN,
    "k_norm.weight": GAIN,
}


def on_meta(config: ModelConfig) -> MMDiT:
    with torch.device("meta"):
        return MMDiT(config)


def by_name(model: nn.Module) -> dict[str, tuple[float, float, float]]:
    groups = parameter_groups(model, **TUNED)
    return {name: (group["lr"], group["weight_decay"], group["eps"]) for group in groups for name in group["names"]}


# ---- the table ----


def test_every_parameter_gets_what_the_table_says() -> None:
    found = by_name(on_meta(ODD))
    assert len(found) == 12 + 4 * 12 - 7  # outside; two blocks of two streams; the last context goes on to nobody
    for name, options in found.items():
        inside = name.startswith("blocks.")
        expected = BY_HAND[name.split(".", 3)[3] if inside else name]
        assert options == pytest.approx(expected, rel=1e-12), name


# Section 6 of the reference: learning rate and weight decay of hidden weights, to the digits printed there.
@pytest.mark.parametrize(
    ("layers", "rate", "decay"),
    [(1, 4e-3, 0.0075), (3, 1.33e-3, 0.0225), (8, 5e-4, 0.06), (11, 3.64e-4, 0.0825), (27, 1.48e-4, 0.2025)],
)
def test_hidden_weights_along_the_ladder(layers: int, rate: float, decay: float) -> None:
    found = by_name(on_meta(ModelConfig(layers=layers, head_dim=128)))
    assert found["blocks.0.generation.qkv.weight"][:2] == pytest.approx((rate, decay), rel=4e-3)


@pytest.mark.parametrize("form", ["ours", "sd3", "full"])
@pytest.mark.parametrize("qk_norm", [True, False])
@pytest.mark.parametrize(("layers", "width"), [(1, 128), (2, 256), (4, 512), (3, 640), (4, 1024)])
def test_each_parameter_that_learns_is_in_one_of_at_most_6_groups(
    form: Any, qk_norm: bool, layers: int, width: int
) -> None:
    model = on_meta(ModelConfig(layers=layers, width=width, last_context_block=form, qk_norm=qk_norm))
    groups = parameter_groups(model, **TUNED)
    assert 2 <= len(groups) <= 6
    learns = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    names = [name for group in groups for name in group["names"]]
    assert sorted(names) == sorted(learns)
    for group in groups:
        assert all(parameter is learns[name] for name, parameter in zip(group["names"], group["params"], strict=True))
        assert group["name"]
        # torch's AdamW shrinks by lr * weight_decay a step: as fast at every size.
        assert group["lr"] * group["weight_decay"] == pytest.approx(3e-5) or group["weight_decay"] == 0


def test_at_the_base_size_nothing_but_decay_differs() -> None:
    for config in (ModelConfig(), replace(ODD, base_layers=2, base_width=1536)):
        groups = parameter_groups(on_meta(config), **TUNED)
        assert sorted((group["lr"], group["weight_decay"], group["eps"]) for group in groups) == [
            (1e-3, 0.0, 1e-12),
            (1e-3, 0.03, 1e-12),
        ]


def test_initial_weights_are_those_of_the_table() -> None:
    for name, parameter in MMDiT(ModelConfig(layers=2, width=256), seed=3).named_parameters():
        if name.endswith("norm.weight"):
            assert (parameter == 1).all()
        elif name.endswith("bias") or "adaln" in name or name == "final.weight":
            assert (parameter == 0).all()
        else:  # the sd of so many values is known to 1 % or better, no factor 1 / sqrt(2 L) among them
            assert parameter.std().item() * parameter.shape[1] ** 0.5 == pytest.approx(1, rel=0.03), name


def test_multipliers_of_the_forward_pass() -> None:
    """Half as large a base: twice m_N and m_L, half as much of every branch and half the answer."""
    context, noisy, tau = torch.randn(1, 3, 80), torch.randn(1, 4, 80), torch.tensor([300.0])
    seen = []
    for base in (ModelConfig(layers=1, width=64), ModelConfig(layers=1, width=64, base_layers=2, base_width=256)):
        model = MMDiT(base)
        with torch.no_grad():
            model.final.weight.normal_(generator=torch.Generator().manual_seed(1))
            model.blocks[0].generation.adaln.bias[5 * 64 :] = 1.0  # the MLP's gate; attention's stays shut
        streams: list[torch.Tensor] = []
        model.blocks[0].register_forward_hook(lambda _, given, made, to=streams: to.append(made[1] - given[1]))
        model.final.register_forward_pre_hook(lambda _, given, to=streams: to.append(given[0]))
        model(context, noisy, tau)
        seen.append(streams)
    (branch, scaled), (half, _) = seen
    torch.testing.assert_close(half, branch / 2)
    # LN before the last layer leaves a root mean square of 1, so only 1 / m_N = 512 / 64 is left of it.
    torch.testing.assert_close(scaled.square().mean(-1).sqrt(), torch.full((1, 4), 8.0), rtol=1e-3, atol=0)
    torch.testing.assert_close(seen[1][1].square().mean(-1).sqrt(), torch.full((1, 4), 4.0), rtol=1e-3, atol=0)


# ---- names ----


def test_an_unknown_parameter_is_named() -> None:
    model = on_meta(ModelConfig(layers=1))
    model.perceiver = nn.Linear(2, 2)
    with pytest.raises(SlmEvalError, match=r"'perceiver\.weight' is in no group .*mup\.py"):
        parameter_groups(model, **TUNED)
    model.perceiver.requires_grad_(False)  # frozen for now: known to nobody all the same
    with pytest.raises(SlmEvalError, match=r"perceiver\.weight"):
        parameter_groups(model, **TUNED)


@pytest.mark.parametrize("name", ["blocks.0.context.qkv.weights", "blocks.x.context.qkv.weight", "my.final.weight"])
def test_names_have_to_fit_in_whole(name: str) -> None:
    with pytest.raises(SlmEvalError, match=name):
        group_of(name)


def test_compiled_in_place_is_fine_and_a_wrapper_is_refused() -> None:
    model = on_meta(ODD)
    expected = by_name(model)
    assert by_name(model.compile_blocks()) == expected
    with pytest.raises(SlmEvalError, match=r"'_orig_mod\.ctx_in\.weight' .*compile_blocks"):
        parameter_groups(torch.compile(model), **TUNED)


@pytest.fixture
def _one_rank() -> Iterator[None]:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("_one_rank")
def test_sharded_by_fsdp2() -> None:
    config = ModelConfig(layers=2, width=64)
    expected = by_name(on_meta(config))
    model = MMDiT(config)
    mesh = torch.distributed.init_device_mesh("cpu", (1,))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    assert by_name(model) == expected
    optimizer = torch.optim.AdamW(parameter_groups(model, **TUNED))
    model(torch.randn(1, 3, 80), torch.randn(1, 4, 80), torch.tensor([300.0])).square().mean().backward()
    optimizer.step()
    assert all(isinstance(each, DTensor) for group in optimizer.param_groups for each in group["params"])


# ---- what it is for ----


@pytest.fixture
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "completep"))


@pytest.mark.usefixtures("_benchmarks")
@pytest.mark.parametrize("axis", ["width", "depth"])
def test_activations_and_changes_keep_their_size(axis: str) -> None:
    import coordinate_check

    training = coordinate_check.Training(steps=5)
    base = ModelConfig(layers=4, width=64, head_dim=16, base_width=128)
    # Largest over smallest; 2 is what the reference allows. Measured with seeds 0 to 5: CompleteP 1.17 to 1.54 by width
    # and 1.12 to 1.18 by depth, the standard parametrisation 3.2 to 3.6 and 1.77 to 2.03 in what grows most surely.
    if axis == "width":
        ladder = [replace(base, layers=2, width=width) for width in (64, 128, 256)]
        grows, flat, steep = "change of velocity", 1.8, 2.5
    else:  # from 4 layers on: sums over fewer are still far from their limit
        ladder = [replace(base, layers=layers) for layers in (4, 8, 16)]
        grows, flat, steep = "change of generation", 1.4, 1.6
    spread: dict[str, dict[str, float]] = {}
    for kind in coordinate_check.KINDS:
        configs = map(coordinate_check.own_base, ladder) if kind == "standard" else ladder
        courses = [coordinate_check.follow(config, training, seed=0) for config in configs]
        spread[kind] = {
            f"{field} of {name}": coordinate_check.spread(courses, field, name)
            for field in coordinate_check.FIELDS
            for name in coordinate_check.QUANTITIES
        }
    assert max(spread["completep"].values()) < flat, spread["completep"]
    assert spread["standard"][grows] > steep, spread["standard"]


@pytest.mark.usefixtures("_benchmarks")
def test_the_best_learning_rate_does_not_move_between_1_2_and_4_layers() -> None:
    import learning_rate_transfer as transfer

    task = transfer.Task(validation=256)
    rates = tuple(5e-4 * 2**i for i in range(5))
    losses = {
        (layers, kind): np.array([transfer.final_loss(task, layers, kind, rate, seed=0) for rate in rates])
        for layers, kind in [(1, "completep"), (2, "completep"), (4, "completep"), (1, "standard")]
    }
    at_base = int(np.argmin(losses[4, "completep"]))
    for layers in (1, 2, 4):
        best = int(np.argmin(losses[layers, "completep"]))
        assert 0 < best < len(rates) - 1, losses  # an optimum, no edge
        assert abs(best - at_base) <= 1, losses
    # What it costs to take the base's rate rather than one's own best; measured with 3 seeds: 0 and 0.010 to 0.013.
    cost = {kind: losses[1, kind][at_base] - losses[1, kind].min() for kind in ("completep", "standard")}
    assert cost["completep"] < 0.003, losses
    assert cost["standard"] > 0.006, losses
