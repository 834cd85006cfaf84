"""Plans against the reference's tables, which were made apart from this code, and against torch's own accounts."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from model_zoo.cdslm.config import ModelConfig
from model_zoo.cdslm.flops import parameter_count
from model_zoo.cli.main import main
from model_zoo.planning.gpus import (
    Gpu,
    expected_mfu,
)
from model_zoo.planning.ladder import LAYERS, best_frames, duration
from model_zoo.planning.plan import BUDGETS, iso_flop_layers, plan_budgets, plan_memory
from slm_eval.scaling.law import PUBLISHED

H200 = Gpu.by_name("H200")


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
    (four,) = plan_budgets([1e19], Gpu.by_name("A100"), gpus=4, mfu=0.2, sizes=1)
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
    assert row == plan_memory([27], Gpu.by_name("H200", 100), 4)[0]
    assert "27 layers, width 3456: 11,542,362,704 parameters" in run("--layers", "27", "--gpus", "4")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--gpu", "H20"], "did you mean 'H200'"),
        (["--budget", "-1"], "budgets must be FLOPs above 0"),
        (["--mfu", "40"], "a share of the peak"),
        (["--sizes", "0"], "sizes 1 to 30"),
        (["--data-hours", "0"], "hours of data must be above 0"),
        (["--layers", "4", "--gpu-memory", "0"], "memory of a GPU must be above 0"),
        (["--layers", "4", "--micro-batch", "0"], "samples at once are at least 1"),
    ],
)
def test_what_is_out_of_range_is_refused(arguments: list[str], told: str) -> None:
    done = CliRunner().invoke(main, ["plan", *arguments])
    assert done.exit_code == 2
    assert told in done.output
