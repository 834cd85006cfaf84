"""Plans against the reference's tables, which were made apart from this code, and against torch's own accounts."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner
from torch.distributed._tools.mem_tracker import MemTracker

from model_zoo.cdslm.config import ModelConfig
from model_zoo.cdslm.flops import Tokens, parameter_count
from model_zoo.cdslm.model import MMDiT
from model_zoo.cli.main import main
from model_zoo.planning.gpus import (
    GB,
    Communication,
    Gpu,
    activations,
    dry_run,
    expected_mfu,
    fewest_gpus,
    footprint,
    largest_micro_batch,
)
from model_zoo.planning.ladder import LAYERS, best_frames, duration
from model_zoo.planning.plan import BUDGETS, iso_flop_layers, plan_budgets, plan_memory
from slm_eval.scaling.law import PUBLISHED

H200 = Gpu.of("H200")
# Budget -> N*, layers, D* in frames, hours, D*/N*, true FLOPs, share of the peak, hours on one H200: the table of
# compute-optimal runs in the reference document of the model; D*/N* in that of the scaling laws.
OPTIMA = {
    1e18: (14.4e6, 2.9, 1.15e10, 40e3, 799.597, 7.5e17, 0.20, 1.1),
    1e19: (55.6e6, 4.6, 3.00e10, 104e3, 539.257, 6.1e18, 0.30, 5.7),
    1e20: (214e6, 7.1, 7.79e10, 270e3, 363.680, 5.1e19, 0.40, 36),
    1e21: (824e6, 11.2, 2.02e11, 702e3, 245.270, 4.5e20, 0.45, 280),
}


@pytest.mark.parametrize("budget", OPTIMA)
def test_compute_optimal_runs_are_those_of_the_reference(budget: float) -> None:
    count, layers, frames, hours, ratio, true, share, time = OPTIMA[budget]
    (plan,) = plan_budgets([budget], H200, mfu=share)
    best = plan["optimum"]
    assert best["parameters"] == pytest.approx(count, rel=0.004)
    assert round(best["layers"], 1) == layers
    assert best["tokens"] == pytest.approx(frames, rel=0.004)
    assert best["hours"] == pytest.approx(hours, rel=0.005)
    assert best["ratio"] == pytest.approx(ratio, rel=2e-6)
    (nearest,) = [row for row in plan["sizes"] if row["nearest"]]
    # The nearest rung is not the optimum: a rung above it has fewer operations per 6ND, by up to a layer's worth.
    assert nearest["layers"] == min(LAYERS, key=lambda each: abs(each - layers))
    assert nearest["flops_hw"] == pytest.approx(true, rel=0.045)
    assert nearest["seconds"] / 3600 == pytest.approx(time, rel=0.06)


def test_the_isoflop_of_a_budget() -> None:
    for plan in plan_budgets(BUDGETS, H200, data_hours=512_000):
        rows = plan["sizes"]
        assert [row["layers"] for row in rows] == sorted({row["layers"] for row in rows})
        assert len(rows) == 5
        assert sum(row["nearest"] for row in rows) == 1
        for row in rows:
            assert row["parameters"] == parameter_count(ModelConfig(layers=row["layers"]))
            assert row["flops_6nd"] == pytest.approx(plan["budget"], rel=1e-3)  # whole steps
            assert row["flops_6nd"] == 6 * row["parameters"] * row["tokens"]
            assert row["tokens"] == row["steps"] * 256 * 3200
            assert row["hours"] == pytest.approx(row["tokens"] / 80 / 3600)
            assert row["repeats"] == (row["hours"] > 512_000)
        assert rows[0]["over_optimum"] < 0.6
        assert rows[-1]["over_optimum"] > 2
    assert [plan["budget"] for plan in plan_budgets(BUDGETS, H200)] == list(BUDGETS)
    assert iso_flop_layers(1e20, 1) == [7]
    assert iso_flop_layers(1e12, 3) == [1, 2, 3]  # below the ladder


def test_times_follow_from_peak_share_and_number_of_gpus() -> None:
    (one,) = plan_budgets([1e19], H200, mfu=0.4, sizes=1)
    (four,) = plan_budgets([1e19], Gpu.of("A100"), gpus=4, mfu=0.2, sizes=1)
    assert one["sizes"][0]["seconds"] == pytest.approx(one["sizes"][0]["flops_hw"] / 989e12 / 0.4)
    assert four["sizes"][0]["seconds"] == pytest.approx(four["sizes"][0]["flops_hw"] / 312e12 / 0.2 / 4)
    # The targets of section 9 of the reference.
    assert [expected_mfu(layers) for layers in (2, 4, 5, 6, 8, 27)] == [0.12, 0.28, 0.28, 0.28, 0.40, 0.40]


def test_how_long_a_size_is_trained_is_where_the_law_has_its_optimum() -> None:
    for parameters in (5e5, 3.6e7, 1.1e10):
        frames = best_frames(parameters)
        assert float(PUBLISHED.optimal(6 * parameters * frames).N) == pytest.approx(parameters)
    assert duration(ModelConfig(), 512_000 * 3600 * 80, 256) == (256 * 3200 * 180_000, 180_000, 512_000)
    # Patches of 3 leave 2 of 800 frames of context out.
    assert duration(ModelConfig(patch=3), 256 * 1066, 256) == (256 * 1066, 1, 256 * 40 / 3600)


@pytest.mark.parametrize(("layers", "count"), [(27, 11_542_362_704), (30, 15_842_142_800)])
def test_the_dry_run_of_the_largest_sizes(layers: int, count: int) -> None:
    """Section 9 of the reference: 20 bytes a parameter, 215 GiB at 27 layers."""
    dry = dry_run(ModelConfig(layers=layers))
    assert dry.parameters == count
    assert dry.weights == dry.averages == 4 * count
    assert dry.per_parameter == pytest.approx(20, rel=1e-6)  # one gain of 64 is frozen
    if layers == 27:
        assert dry.per_parameter * count / 2**30 == pytest.approx(215, rel=1e-3)


@pytest.mark.parametrize("layers", [2, 5])
def test_activations_with_checkpointing_are_those_that_torch_tracks(layers: int) -> None:
    config = ModelConfig(layers=layers, width=96, head_dim=16, context_seconds=0.75, target_seconds=1.75)
    samples = 40  # so many that weights hardly count
    model = MMDiT(config).requires_grad_(True)  # the tracker cannot watch frozen parameters
    model.activation_checkpointing = True
    tracker = MemTracker()
    tracker.track_external(model)
    with tracker:
        with torch.autocast("cpu", torch.bfloat16):
            v = model(torch.zeros(samples, 60, 80), torch.zeros(samples, 140, 80), torch.zeros(samples))
        v.square().mean().backward()
    peak = {str(kind): held for kind, held in tracker.get_tracker_snapshot("peak")[torch.device("cpu")].items()}
    tracked = peak["_MemRefType.ACT"] + peak["_MemRefType.TEMP"]
    assert Tokens.of(config) == Tokens(60, 140)
    assert samples * activations(config, True) == pytest.approx(tracked, rel=0.05)


def test_memory_of_one_gpu_of_several() -> None:
    config = ModelConfig(layers=27)
    count = 11_542_362_704
    whole, four = footprint(config, 1, 2, False), footprint(config, 4, 2, True)
    assert whole.states == 20 * count
    assert whole.copies == 2 * count  # autocast; 22 bytes a parameter in all, as `memory` says
    assert whole.in_flight == 0
    assert four.states == 5 * count
    # A block of two streams has 36 d² + 30 d weights and four gains of a head.
    block = 36 * 3456**2 + 30 * 3456 + 4 * 64
    assert four.in_flight == 4 * block * 4
    assert four.copies == 2 * block
    assert footprint(config, 4, 2, False).copies == 2 * count  # kept until the way back, and not sharded
    halves = footprint(config, 4, 2, False, "bfloat16")
    assert halves.in_flight == block * (3 * 2 + 4)  # gradients are added in float32
    assert halves.copies == 0
    assert four.total == four.states + four.in_flight + four.copies + four.activations
    # "L=27 needs two, better four" H200, "up to L=20 on one": section 9 of the reference.
    assert fewest_gpus(config, H200, 1, checkpointing=True) == 2
    assert fewest_gpus(ModelConfig(layers=20), H200, 1, checkpointing=True) == 1
    assert fewest_gpus(config, Gpu.of("L40S"), 100, checkpointing=True) is None


# MB at the peak of a step of one of 4 ranks, without averages, for 6 layers of width 512 and 160 tokens of one sample:
# torch 2.11's FSDPMemTracker on a process group of class "fake", blocks and root under fully_shard as `parallel.build`
# does it. Gradients fill up while activations go, so an estimate that adds both up is above.
TRACKED = {(False, "float32"): 421.5, (True, "float32"): 362.9, (False, "bfloat16"): 308.2, (True, "bfloat16"): 303.2}


@pytest.mark.parametrize(("checkpointing", "communication"), TRACKED)
def test_memory_under_fsdp_is_bounded_and_not_far_from_what_torch_tracks(
    checkpointing: bool, communication: Communication
) -> None:
    config = ModelConfig(layers=6, width=512, context_seconds=0.5, target_seconds=1.5)
    held = footprint(config, 4, 1, checkpointing, communication)
    estimated = (held.total - parameter_count(config)) / 1e6  # averages: 4 bytes of each, a quarter of them
    assert 1.0 <= estimated / TRACKED[checkpointing, communication] <= 1.25


def test_the_largest_micro_batch_fits_and_the_next_does_not() -> None:
    config = ModelConfig(layers=12)
    for gpus, checkpointing in ((1, False), (1, True), (4, False)):
        most = largest_micro_batch(config, H200, gpus, checkpointing)
        assert footprint(config, gpus, most, checkpointing).total <= 0.95 * 141 * GB
        assert footprint(config, gpus, most + 1, checkpointing).total > 0.95 * 141 * GB
        assert fewest_gpus(config, H200, most, checkpointing) is not None
    assert largest_micro_batch(ModelConfig(layers=27), H200, 1, True) == 0


def test_the_command(tmp_path: object) -> None:
    def run(*arguments: str) -> str:
        done = CliRunner().invoke(main, ["plan", *arguments])
        assert done.exit_code == 0, done.output
        return done.output

    (plan,) = json.loads(run("--budget", "1e18", "--sizes", "3", "--json"))
    assert plan["sizes"] == plan_budgets([1e18], H200, sizes=3)[0]["sizes"]
    table = run("--data-hours", "512000")
    assert table.count("C = ") == 10
    assert "C = 1e+21: best 824.3 M (11.2 layers), 2.02e+11 frames, 702,027 h, D/N 245" in table
    assert "747,364!" in table
    (row,) = json.loads(run("--layers", "27", "--gpus", "4", "--gpu-memory", "100", "--json"))
    assert row == plan_memory([27], Gpu.of("H200", 100), 4)[0]
    assert "27 layers, width 3456: 11,542,362,704 parameters" in run("--layers", "27", "--gpus", "4")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--gpu", "H20"], "did you mean 'H200'"),
        (["--budget", "-1"], "budgets are FLOPs above 0"),
        (["--mfu", "40"], "a share of the peak"),
        (["--sizes", "0"], "sizes 1 to 30"),
        (["--data-hours", "0"], "hours of data are above 0"),
        (["--layers", "4", "--gpu-memory", "0"], "memory of a GPU is above 0"),
        (["--layers", "4", "--micro-batch", "0"], "samples at once are at least 1"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: list[str], told: str) -> None:
    done = CliRunner().invoke(main, ["plan", *arguments])
    assert done.exit_code == 2
    assert told in done.output
