"""The commands of scaling laws as a user meets them: from runs on the paper's surface back to the paper's numbers."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from slm_eval.cli.main import main
from slm_eval.scaling import PUBLISHED, LossLaw, MetricLaw, bootstrap_loss_law
from tests.scaling.made_sweep import BUDGETS, add_metrics, sweep, write

FOUR = (1e18, 1e19, 1e20, 1e21)
QUICK = ("--bootstrap", "40", "--no-figures")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["scaling", *(str(each) for each in arguments)])


def fit(rows: list[dict[str, object]], folder: Path, *options: object) -> dict[str, Any]:
    """The object of fit.json, of a command that succeeded."""
    result = invoke("fit", write(rows, folder / "runs.csv"), "-o", folder / "fit", "--force", *options)
    assert result.exit_code == 0, result.output
    return json.loads((folder / "fit" / "fit.json").read_text())  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A sweep with seeds, noise and metrics, its largest budget held out."""
    folder = tmp_path_factory.mktemp("noisy")
    (folder / "real.json").write_text('{"pjsd.5": {"value": 0.1, "band": [0.05, 0.24]}, "audiobox.CU": 5.9}')
    rows = add_metrics(sweep(FOUR, sizes=7, seeds=3, noise=0.003), noise=0.005)
    return folder, fit(rows, folder, "--hold-out", 1, "--real", folder / "real.json", *QUICK)


class TestThePapersNumbers:
    """From noise-free runs on the published surface; goldens calculated with 50 digits from its coefficients."""

    @pytest.fixture(scope="class")
    @staticmethod
    def exact(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
        folder = tmp_path_factory.mktemp("exact")
        return folder, fit(sweep(BUDGETS, sizes=7), folder, "--bootstrap", 0, "--no-figures")

    def test_coefficients(self, exact: tuple[Path, dict[str, Any]]) -> None:
        for name, value in vars(PUBLISHED).items():
            assert exact[1]["loss"]["coefficients"][name] == {"value": pytest.approx(value, rel=1e-3), "ci95": None}
        assert exact[1]["loss"]["quality"]["converged"]

    def test_optimum_curvature_and_range_of_the_largest_budget(self, exact: tuple[Path, dict[str, Any]]) -> None:
        golden = {
            "N": 824332649.50518424, "D": 202183750415.21208, "r": 245.26961359176462, "loss": 0.0061450922657710169,
            "curvature_log": 1.0255960474104856e-4, "curvature_linear_N": 1.5092853e-22,
            "curvature_linear_D": 2.5089028e-27, "width_N": 3.8844201e10, "width_D": 2.0994389e13, "decades": 3.689758,
        }  # fmt: skip
        largest = exact[1]["loss"]["budgets"][-1]
        assert {name: largest[name]["value"] for name in golden} == pytest.approx(golden, rel=1e-4)
        relative = exact[1]["loss"]["relative_range"]  # 0.1 (L* - E): ln(N/N*) from -1.1547 to 1.0870
        found = {name: relative[name]["value"] for name in ("from", "to", "decades")}
        expected = {"from": np.exp(-1.1546677372057649), "to": np.exp(1.0869601040606476), "decades": 0.97352660194}
        assert found == pytest.approx(expected, rel=1e-4)
        assert exact[1]["loss"]["ratio"]["C"]["value"] == pytest.approx(5.7325837218810346e19, rel=1e-4)

    def test_tables(self, exact: tuple[Path, dict[str, Any]]) -> None:
        """N*, D*, r*, text tokens per parameter (r*/20) and hours (D*/288000) of 1e21, as above."""
        row = "| 1e+21 | 8.24e+08 | - | 2.02e+11 | - | 245 | - | 12.3 | 7.02e+05 | 0.006145 | - |"
        assert row in (exact[0] / "fit" / "table.md").read_text()
        assert row.strip("| ").replace("|", "&") in (exact[0] / "fit" / "table.tex").read_text()
        assert exact[1]["loss"]["budgets"][-1]["hours"]["value"] == pytest.approx(202183750415.21208 / 288000, rel=1e-4)

    def test_predict(self, exact: tuple[Path, dict[str, Any]]) -> None:
        result = invoke("predict", exact[0] / "fit", "--compute", "1e21", "--json")
        (found,) = json.loads(result.output)["predictions"]
        assert found["r"]["value"] == pytest.approx(245.26961359176462, rel=1e-4)
        assert found["hours"] == pytest.approx(202183750415.21208 / 80 / 3600, rel=1e-4)
        assert found["extrapolates"] == []

    def test_a_model_of_optimal_size_is_predicted_its_budget(self, exact: tuple[Path, dict[str, Any]]) -> None:
        for option, value in (("-n", 824332649.50518424), ("-d", 202183750415.21208)):
            result = invoke("predict", exact[0] / "fit" / "fit.json", option, value, "--json")
            (found,) = json.loads(result.output)["predictions"]
            assert found["C"] == pytest.approx(1e21, rel=1e-3)
            assert found["N"]["value"] * found["D"]["value"] * 6 == pytest.approx(found["C"], rel=1e-12)

    def test_a_run_as_given(self, exact: tuple[Path, dict[str, Any]]) -> None:
        result = invoke("predict", exact[0] / "fit", "-n", 1e8, "-d", 1e10, "--json")
        (found,) = json.loads(result.output)["predictions"]
        assert (found["loss"]["value"], found["C"]) == (pytest.approx(0.0070985141734357367, rel=1e-6), 6e18)

    def test_parabolas_are_near(self, exact: tuple[Path, dict[str, Any]]) -> None:
        """At sizes within a decade the vertex is at 0.910 N*, on this surface and noise-free."""
        for minimum, compute in zip(exact[1]["loss"]["isoflop"], BUDGETS, strict=True):
            assert minimum["N"] == pytest.approx(0.91 * float(PUBLISHED.optimal(compute).N), rel=0.02)
        assert exact[1]["loss"]["behaviour"] == {"budgets": 10, "interior": 10, "steps": 9, "improved": 9}


def test_the_order_of_rows_changes_no_byte(tmp_path: Path) -> None:
    rows = add_metrics(sweep(FOUR, sizes=5, seeds=2, noise=0.003), noise=0.005)
    texts = []
    for _ in range(2):
        fit(rows, tmp_path, "--hold-out", 1, "--metrics", "pjsd.5@2", *QUICK)
        texts.append([(tmp_path / "fit" / name).read_bytes() for name in ("fit.json", "table.md", "table.tex")])
        random.Random(1).shuffle(rows)
    assert texts[0] == texts[1]


def test_intervals_are_those_of_the_bootstrap(noisy: tuple[Path, dict[str, Any]]) -> None:
    folder, report = noisy
    with (folder / "runs.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if float(row["C"]) < 1e21]
    rows.sort(key=lambda row: (float(row["N"]) * float(row["D"]), float(row["N"]), row["seed"]))
    table = [[float(row[name]) for row in rows] for name in ("N", "D", "loss")]
    low, high = bootstrap_loss_law(*table, n=40, seed=0).interval(lambda law: law.optimal(1e20).r)
    r = report["loss"]["budgets"][2]["r"]
    assert r["ci95"] == pytest.approx([float(low), float(high)], rel=1e-9)
    # Drawn again from fit.json, which keeps 9 digits of each draw.
    result = invoke("predict", folder / "fit", "-c", 1e20, "--json")
    assert json.loads(result.output)["predictions"][0]["r"]["ci95"] == pytest.approx(r["ci95"], rel=1e-6)


def test_what_was_held_out_is_in_no_fit(noisy: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, report = noisy
    law = report["loss"]["law"]
    rows = [row for row in csv.DictReader((folder / "runs.csv").open()) if float(row["C"]) < 1e21]
    alone = fit(rows, tmp_path, "--bootstrap", 0, "--no-figures")  # type: ignore[arg-type]
    assert alone["loss"]["law"] == law
    held = [each for each in report["points"] if each["held_out"]]
    errors = []
    for each in held:
        fitted = law["E"] + (law["A"] / each["N"] ** law["alpha"] + law["B"] / each["D"] ** law["beta"]) ** law["gamma"]
        errors.append(abs(fitted / each["loss"] - 1))
    assert len(held) == 7
    assert report["loss"]["quality"]["mre_held_out"] == pytest.approx(np.mean(errors), rel=1e-9)
    assert [each["held_out"] for each in report["budgets"]] == [False, False, False, True]


class TestMetrics:
    def test_laws_of_metrics(self, noisy: tuple[Path, dict[str, Any]]) -> None:
        """pJSD-5 is 0.15 + 0.45 sigmoid(900 (L - 0.0075)): at 1e21 0.2526, in the limit 0.2138 (50 digits)."""
        metric = noisy[1]["metrics"]["pjsd.5@2"]
        assert metric["budgets"][-1]["metric"]["value"] == pytest.approx(0.25261758191244654, rel=0.03)
        low, high = metric["limit"]["ci95"]
        assert low < 0.21383297920521951 < high
        assert metric["quality"]["mre_train"] < 0.01
        assert metric["quality"]["mre_held_out"] < 0.03

    def test_a_metric_that_saturates_is_not_fitted(self, noisy: tuple[Path, dict[str, Any]]) -> None:
        report = noisy[1]
        assert "does not follow the loss: rank correlation" in report["not_fitted"]["dnsmos.p808@2"]
        assert set(report["metrics"]) == {"pjsd.1@2", "pjsd.5@2", "audiobox.CU@2", "pjsd.5@4"}
        assert report["columns"]["pjsd.5@2"]["isoflop"] == {"budgets": 4, "interior": 4, "steps": 3, "improved": 3}

    def test_real_speech_is_reached_where_the_curve_crosses(self, noisy: tuple[Path, dict[str, Any]]) -> None:
        metric = noisy[1]["metrics"]["pjsd.5@2"]
        compute = np.geomspace(1e15, 1e30, 200_001)
        inside = MetricLaw(**metric["law"]).optimal(compute).metric <= 0.24
        assert metric["reaches"]["C"] == pytest.approx(compute[inside.argmax()], rel=1e-3)
        assert any("pjsd.5@2 reaches real speech's band [0.05, 0.24] at C" in line for line in noisy[1]["conclusions"])
        assert noisy[1]["metrics"]["audiobox.CU@2"]["reaches"] is None  # a value without a band

    @pytest.mark.parametrize(
        ("values", "why"),
        [
            ([0.3], "measured at 1 of the fitted points"),
            ([0.5] * 12, "it is 0.5 at every point"),
            ([0.0, *np.linspace(0.1, 0.2, 11)], "its errors are relative, and it is 0 at one point"),
            ([*np.linspace(0.5, 0.2, 5)], "5 different"),
        ],
    )
    def test_why_a_metric_is_not_fitted(self, tmp_path: Path, values: list[float], why: str) -> None:
        rows = sorted(sweep((1e18, 1e19, 1e20), sizes=4), key=lambda row: -row["loss"])  # type: ignore[operator]
        for at, row in enumerate(rows):
            row["pjsd.5"] = values[at] if at < len(values) else ""
        report = fit(rows, tmp_path, "--bootstrap", 0, "--no-figures")
        assert why in report["not_fitted"]["pjsd.5"]

    def test_one_that_gets_worse_has_no_optimum(self, tmp_path: Path) -> None:
        """At the optimum of the loss it is worst, and figure 5 called that its optimum."""
        rows = add_metrics(sweep(FOUR, sizes=4))
        for row in rows:
            row["nisqa.mos"] = row["pjsd.5@2"] + 2.0  # type: ignore[operator]
        report = fit(rows, tmp_path, "--bootstrap", 0, "--no-figures")
        assert "nisqa.mos" not in report["metrics"]
        assert "higher is better, but it gets worse as the loss falls" in report["not_fitted"]["nisqa.mos"]
        assert "--metrics nisqa.mos:lower" in report["not_fitted"]["nisqa.mos"]
        turned = fit(rows, tmp_path, "--metrics", "nisqa.mos:lower", "--bootstrap", 0, "--no-figures")
        assert turned["metrics"]["nisqa.mos"]["higher_is_better"] is False

    @pytest.mark.parametrize(
        ("name", "scale", "shift", "said"),
        [
            ("pjsd.5", 1.8, 0.0, "expected values from 0 to 0.6931, got "),
            ("pjsd.5", 1.8, 0.0, "--log-base 2 takes bits"),
            ("pjsd.5", 4.0, 0.0, "expected values from 0 to 0.6931"),
            ("nisqa.mos", -2.0, 6.0, "expected values from 1 to 5, got 5."),
            ("dnsmos.ovrl", -3.0, 2.0, "expected values from 1 to 5, got 0."),
        ],
    )
    def test_values_outside_of_its_scale(
        self, tmp_path: Path, name: str, scale: float, shift: float, said: str
    ) -> None:
        rows = add_metrics(sweep(FOUR, sizes=4))
        rows = [{**row, name: scale * row["pjsd.5@2"] + shift} for row in rows]  # type: ignore[operator]
        report = fit(rows, tmp_path, "--bootstrap", 0, "--no-figures")
        assert said in report["not_fitted"][name]
        if "bits" in said:
            assert name in fit(rows, tmp_path, "--bootstrap", 0, "--no-figures", "--log-base", 2)["metrics"]

    def test_all_ten_parameters_are_determined_where_tied(self, tmp_path: Path) -> None:
        rows = add_metrics(sweep(BUDGETS[::2], sizes=5))
        report = fit(rows, tmp_path, "--tie", "--metrics", "pjsd.5@2", "--bootstrap", 0, "--no-figures")
        paper = report["metrics"]["pjsd.5@2"]["paper"]
        expected = {**vars(PUBLISHED), "low": 0.15, "high": 0.6, "L0": 0.0075, "k": 900.0}
        assert paper.pop("fixed") == []
        assert paper == pytest.approx(expected, rel=0.02)


class TestExitStatus:
    """0 all asked for was computed; 1 something asked for could not be; 2 bad usage, in one line."""

    def test_a_metric_asked_for_by_name_that_is_not_fitted(self, tmp_path: Path) -> None:
        runs = write(add_metrics(sweep(FOUR, sizes=4), noise=0.01), tmp_path / "runs.csv")
        result = invoke("fit", runs, "-o", tmp_path / "fit", "--metrics", "dnsmos", *QUICK)
        assert result.exit_code == 1
        assert "not fitted: dnsmos.p808@2" in result.output
        assert (tmp_path / "fit" / "fit.json").exists()

    def test_without_matplotlib_the_numbers_are_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        runs = write(sweep(FOUR), tmp_path / "runs.csv")
        result = invoke("fit", runs, "-o", tmp_path / "fit", "--bootstrap", "0")
        assert result.exit_code == 1
        assert "no figures: figures need matplotlib; pip install 'slm-eval[scaling]'" in result.output
        assert {path.name for path in (tmp_path / "fit").iterdir()} == {"fit.json", "table.md", "table.tex"}

    def test_another_fit_is_not_replaced_unasked(self, tmp_path: Path) -> None:
        arguments = ["fit", write(sweep(FOUR), tmp_path / "runs.csv"), "-o", tmp_path / "fit", "--no-figures"]
        assert invoke(*arguments, "--bootstrap", "0").exit_code == 0
        before = (tmp_path / "fit" / "fit.json").read_bytes()
        result = invoke(*arguments, "--bootstrap", "0", "--gamma", "1")
        assert result.exit_code == 2
        assert "--force replaces it" in result.output
        assert (tmp_path / "fit" / "fit.json").read_bytes() == before
        assert invoke(*arguments, "--bootstrap", "0", "--gamma", "1", "--force").exit_code == 0
        assert json.loads((tmp_path / "fit" / "fit.json").read_text())["loss"]["law"]["gamma"] == 1.0

    @pytest.mark.parametrize(
        ("rows", "options", "said"),
        [
            (sweep((1e18,), sizes=12), (), "one budget"),
            (sweep((1e18, 1e19), sizes=2), (), "4 different (N, D) came, and the law has 6 free parameters"),
            (sweep(FOUR), ("--metrics", "pjds"), "unknown metric 'pjds'"),
            (sweep(FOUR), ("--hold-out", 3), "--hold-out 3 of 4 budgets leaves fewer than two"),
            (sweep(FOUR), ("--bootstrap", 10), "10 bootstrap fits give no 95 % interval"),
            (sweep(FOUR), ("--gamma", "wide"), "--gamma is 'wide'; expected a number, or free"),
            (sweep(FOUR), ("--gamma", "-1"), "gamma has to lie within"),
            (sweep(FOUR), ("--formats", "gif"), "unknown format 'gif'"),
            (sweep(FOUR), ("--metrics", "x:up"), "after the colon comes higher or lower"),
            (sweep(FOUR), ("--unit", "seed", "--bootstrap", "40"), "seeds"),
        ],
    )
    def test_bad_usage(
        self, tmp_path: Path, rows: list[dict[str, object]], options: tuple[str, ...], said: str
    ) -> None:
        formats = () if "--formats" in options else ("--no-figures",)
        bootstrap = () if "--bootstrap" in options else ("--bootstrap", 0)
        result = invoke(
            "fit", write(rows, tmp_path / "r.csv"), "-o", tmp_path / "fit", *options, *formats, *bootstrap
        )  # fmt: skip
        assert result.exit_code == 2, result.output
        assert said in result.output
        assert not (tmp_path / "fit").exists()

    def test_all_sizes_equal(self, tmp_path: Path) -> None:
        rows = [{"N": 1e8, "D": d, "loss": float(PUBLISHED(1e8, d))} for d in np.geomspace(1e9, 1e12, 12)]
        result = invoke("fit", write(rows, tmp_path / "runs.csv"), "-o", tmp_path / "fit", *QUICK)
        assert result.exit_code == 2
        assert "all runs have the same N (1e+08)" in result.output

    def test_losses_that_follow_no_law(self, tmp_path: Path) -> None:
        """Scatter of 5 % and nothing else. Where the optimum is at no size that is a number, it is an error."""
        for seed, status in ((3, 0), (4, 1)):
            rng = np.random.default_rng(seed)
            rows = [{**row, "loss": float(np.exp(0.05 * rng.normal()))} for row in sweep(FOUR)]
            result = invoke("fit", write(rows, tmp_path / "r.csv"), "-o", tmp_path / f"fit{seed}", *QUICK)
            assert result.exit_code == status
            assert "these runs support no law of the loss" in result.output
            assert "the data do not support the law" in result.output
            assert "r* = D*/N*" not in result.output.partition("these runs support no law")[2]
            assert (tmp_path / f"fit{seed}").exists() == (status == 0)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((), "say either --compute, or --n, --d or both"),
            (("-c", 1e20, "-n", 1e8), "say either --compute, or --n, --d or both"),
            (("-n", 1e8, "-n", 1e9, "-d", 1e9), "2 values of --n and 1 of --d"),
            (("-c", -1), "-1 is no amount"),
        ],
    )
    def test_predictions_of_nothing(
        self, noisy: tuple[Path, dict[str, Any]], arguments: tuple[object, ...], said: str
    ) -> None:
        result = invoke("predict", noisy[0] / "fit", *arguments)
        assert result.exit_code == 2
        assert said in result.output

    @pytest.mark.parametrize("text", [None, "{", "[]", '{"schema": 99}'])
    def test_predictions_from_no_fit(self, tmp_path: Path, text: str | None) -> None:
        if text is not None:
            (tmp_path / "fit.json").write_text(text)
        result = invoke("predict", tmp_path, "-c", 1e20)
        assert result.exit_code == 2
        assert "fit.json" in result.output


def test_the_surface(noisy: tuple[Path, dict[str, Any]]) -> None:
    """What other software relies on: options of the commands and keys of fit.json."""
    commands = main.commands["scaling"].commands  # type: ignore[attr-defined]
    options = {
        name: {each for parameter in command.params for each in parameter.opts} for name, command in commands.items()
    }
    assert options["fit"] >= {
        "--output", "--gamma", "--method", "--hold-out", "--bootstrap", "--unit", "--metrics", "--tie", "--real",
        "--epsilon", "--seed", "--json", "--force", "--formats", "--no-figures",
    }  # fmt: skip
    assert options["predict"] >= {"--compute", "--n", "--d", "--json"}
    assert options["ablations"] >= {"--output", "--metrics", "--real", "--json"}
    report = noisy[1]
    assert report["schema"] == 1
    assert set(report) == {
        "schema", "version", "environment", "source", "options", "budgets", "columns", "points", "loss", "metrics",
        "not_fitted", "warnings", "conclusions", "draws",
    }  # fmt: skip
    assert set(report["loss"]) == {
        "law", "coefficients", "quality", "bootstrap", "budgets", "relative_range", "behaviour", "ratio", "isoflop",
        "curve", "growth",
    }  # fmt: skip
    assert set(report["metrics"]["pjsd.5@2"]) >= {
        "key", "guidance", "higher_is_better", "real", "law", "coefficients", "limit", "quality", "bootstrap",
        "budgets", "reaches", "paper", "warnings",
    }  # fmt: skip


def test_json_is_what_is_written(tmp_path: Path) -> None:
    runs = write(sweep(FOUR), tmp_path / "runs.csv")
    result = CliRunner().invoke(main, ["scaling", "fit", str(runs), "-o", str(tmp_path / "fit"), *QUICK, "--json"])
    assert json.loads(result.stdout) == json.loads((tmp_path / "fit" / "fit.json").read_text())


def test_optima_outside_of_the_sizes_trained_are_told(tmp_path: Path) -> None:
    rows = [row for row in sweep(FOUR, sizes=9) if row["N"] > 1.1 * float(PUBLISHED.optimal(row["C"]).N)]  # type: ignore
    conclusions = fit(rows, tmp_path, "--bootstrap", 0, "--no-figures")["conclusions"]
    assert any("N* is below every size trained at C = 1e+18, 1e+19, 1e+20, 1e+21" in line for line in conclusions)


def test_runs_that_are_in_no_budgets_have_a_law(tmp_path: Path) -> None:
    """Sizes and data drawn at random: nothing but isoFLOPs is missing."""
    rng = np.random.default_rng(0)
    sizes = np.stack([10 ** rng.uniform(6.5, 9.5, 60), 10 ** rng.uniform(9.5, 12.5, 60)], axis=1)
    rows = [{"N": n, "D": d, "loss": float(PUBLISHED(n, d))} for n, d in sizes]
    report = fit(rows, tmp_path, "--bootstrap", 0, "--no-figures")  # type: ignore[arg-type]
    assert report["loss"]["law"] == pytest.approx(vars(PUBLISHED), rel=1e-3)
    assert any("have fewer than 3 sizes" in line for line in report["warnings"])
    assert not any("every size trained" in line for line in report["conclusions"])


class TestBudgets:
    """Of a table in the style of Epoch's points of Hoffmann et al.: nine budgets whose C runs into each other."""

    LAW = LossLaw(E=1.8172, A=477.83, B=2143.4, alpha=0.34731, beta=0.36717, gamma=1.0)
    PLAN = (6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21, 3e21)

    def rows(self, shared: float) -> list[dict[str, object]]:
        rng = np.random.default_rng(0)
        planned = rng.integers(len(self.PLAN), size=240)
        C = np.array(self.PLAN)[planned] * np.exp(0.15 * rng.standard_normal(240))
        N = self.LAW.optimal(C).N * 10 ** rng.uniform(-0.9, 0.9, 240)
        D = C / (6 * N)
        noise = shared * rng.standard_normal(len(self.PLAN))[planned] + 0.004 * rng.standard_t(4, 240)
        loss = self.LAW(N, D) * np.exp(noise)
        return [
            {"N": n, "D": d, "loss": value, "budget": f"{self.PLAN[at]:g}"}
            for n, d, value, at in zip(N, D, loss, planned, strict=True)
        ]

    @pytest.mark.parametrize(("shared", "unit"), [(0.0, "point"), (0.006, "budget")])
    def test_what_is_drawn_follows_from_the_data_and_is_said(self, tmp_path: Path, shared: float, unit: str) -> None:
        rows = self.rows(shared)
        result = invoke(
            "fit",
            write(rows, tmp_path / "r.csv"),
            "-o",
            tmp_path / "fit",
            "--gamma",
            1,
            "--bootstrap",
            100,
            "--no-figures",
        )
        drawn = json.loads((tmp_path / "fit" / "fit.json").read_text())["loss"]["bootstrap"]
        assert drawn["unit"] == unit
        assert drawn["clustering"]["groups"] == 9
        assert (drawn["clustering"]["p"] < 0.2) == (unit == "budget")
        assert f"100 bootstrap fits, by {unit}: {drawn['why']}." in result.output
        assert "C differs by a factor of up to" in result.output  # within the named budgets
        assert "belong to no budget" not in result.output

    def test_without_names_budgets_are_cut_and_single_runs_said(self, tmp_path: Path) -> None:
        rows = [{key: value for key, value in row.items() if key != "budget"} for row in self.rows(0.0)]
        report = fit(rows, tmp_path, "--gamma", 1, "--bootstrap", 0, "--no-figures", "--hold-out", 1)
        alone = sum(each["n_points"] for each in report["budgets"] if not each["isoflop"])
        assert 0 < alone < 60
        assert any(line.startswith(f"{alone} of 240 points belong to no budget") for line in report["warnings"])
        assert any("C is spread without gaps: budgets were cut" in line for line in report["warnings"])
        # What is held out is a budget and not the single run beyond it.
        held = [each for each in report["budgets"] if each["held_out"]]
        assert held[0]["n_points"] >= 3
        assert not any(each["isoflop"] for each in held[1:])

    def test_a_planned_sweep_is_in_budgets(self, noisy: tuple[Path, dict[str, Any]]) -> None:
        assert not any("budget" in line for line in noisy[1]["warnings"])
        assert all(each["isoflop"] for each in noisy[1]["budgets"])


def test_an_extrapolation_says_how_far(noisy: tuple[Path, dict[str, Any]]) -> None:
    """The largest fitted budget is 1e20."""
    text = invoke("predict", noisy[0] / "fit", "-c", 1e20, "-c", 1e22).output
    assert "C = 1e+22 extrapolates: C is above the largest fitted (1e+20), by a factor of 100" in text
    assert "C = 1e+20 extrapolates" not in text


def test_far_beyond_the_runs_nothing_is_predicted_unless_asked_for(noisy: tuple[Path, dict[str, Any]]) -> None:
    """Fitted from 1e18 to 1e20."""
    near = invoke("predict", noisy[0] / "fit", "-c", 1.5e20).output
    assert "no run tells whether the law holds" not in near
    far = invoke("predict", noisy[0] / "fit", "-c", 1e22)
    assert far.exit_code == 0
    assert "Beyond a factor of 10 no run tells whether the law holds" in far.output
    for arguments in (("-c", 1.4e29), ("-c", 1e12), ("-n", 1e15), ("-n", 1e8, "-d", 1e17)):
        result = invoke("predict", noisy[0] / "fit", *arguments)
        assert result.exit_code == 2, result.output
        assert "outside of the fitted runs" in result.output
        assert "expected 1000 at most" in result.output
        assert invoke("predict", noisy[0] / "fit", *arguments, "--farthest", 1e15).exit_code == 0


@pytest.mark.parametrize(("ratio", "way"), [(1e5, "below"), (1, "above")])
def test_a_ratio_that_no_budget_near_the_runs_has(tmp_path: Path, ratio: float, way: str) -> None:
    """By the published law r* is 1e5 at C = 5e5 and 1 at 1e35."""
    result = invoke(
        "fit", write(sweep(FOUR), tmp_path / "r.csv"), "-o", tmp_path / "fit", "--ratio", ratio, "--bootstrap", 0,
        "--no-figures",
    )  # fmt: skip
    found = json.loads((tmp_path / "fit" / "fit.json").read_text())["loss"]["ratio"]
    assert found["C"] is None
    assert f"r* = {ratio:g} ({ratio / 20:g} text tokens per parameter) is not reached within" in result.output
    assert f"within a factor of 1,000 {way} the budgets." in result.output


def test_a_ratio_has_no_interval_that_leaves_all_that_was_seen(tmp_path: Path) -> None:
    """r* hardly changes with compute: such an interval went from C = 6e-78 to 0.003."""
    law = LossLaw(E=1.8172, A=477.83, B=1800, alpha=0.35, beta=0.36, gamma=1.0)
    rows = sweep(FOUR, sizes=9, noise=0.004, law=law)
    ratio = float(law.optimal(1e20).r)
    report = fit(rows, tmp_path, "--gamma", 1, "--ratio", ratio, "--bootstrap", 100, "--no-figures")
    found = report["loss"]["ratio"]
    assert found["C"] is None or found["C"]["ci95"] is None
    assert found["problem"] is not None


def test_a_band_of_real_speech_is_not_reached_far_beyond_the_runs(tmp_path: Path) -> None:
    rows = add_metrics(sweep(FOUR, sizes=6))
    limit = fit(rows, tmp_path, "--metrics", "pjsd.5@2", "--bootstrap", 0, "--no-figures")["metrics"]["pjsd.5@2"]
    edge = limit["limit"]["value"] + 1e-4
    (tmp_path / "real.json").write_text(json.dumps({"pjsd.5": {"band": [0.0, edge]}}))
    report = fit(
        rows, tmp_path, "--metrics", "pjsd.5@2", "--bootstrap", 0, "--no-figures", "--real", tmp_path / "real.json"
    )
    assert report["metrics"]["pjsd.5@2"]["reaches"]["C"] > 1e24
    assert any("within 1,000 times the largest budget" in line for line in report["conclusions"])
    assert "above 1e+24" in (tmp_path / "fit" / "table.md").read_text()


def test_tables_hold_every_budget_and_name_every_axis(noisy: tuple[Path, dict[str, Any]]) -> None:
    for name in ("table.md", "table.tex"):
        text = (noisy[0] / "fit" / name).read_text().replace("\\", "")
        assert all(f"{compute:.3g}" in text for compute in FOUR)
        assert all(axis in text for axis in ("linear_N", "linear_D", "log"))


class TestAblations:
    TABLE = "patch,seed,loss,pjsd.5@2,pjsd.5@4\n10,0,3.0,0.50,0.4\n10,1,3.2,0.54,\n2,0,2.0,0.30,0.3\n2,1,2.2,0.34,0.1\n"

    def test_the_range_of_means_over_seeds(self, tmp_path: Path) -> None:
        (tmp_path / "patch.csv").write_text(self.TABLE)
        (tmp_path / "steps.csv").write_text("T,loss\n100,2.5\n1000,2.4\n")
        result = invoke(
            "ablations", tmp_path / "patch.csv", tmp_path / "steps.csv", "-o", tmp_path / "out", "--no-figures"
        )
        assert result.exit_code == 0, result.output
        patch, steps = json.loads((tmp_path / "out" / "ablations.json").read_text())["ablations"]
        assert (patch["name"], patch["varied"], patch["settings"]) == ("patch", "patch", ["2", "10"])  # 2 before 10
        impact = patch["metrics"]["pjsd.5@2"]["impact"]
        assert (impact["best"], impact["worst"], impact["n"]) == ("2", "10", 2)
        assert impact["range"] == pytest.approx(0.52 - 0.32)
        assert impact["seed_sd"] == pytest.approx(0.04 / np.sqrt(2))
        assert patch["metrics"]["pjsd.5@4"]["mean"] == pytest.approx([0.2, 0.4])
        assert patch["metrics"]["pjsd.5@4"]["sd"][1] is None  # one seed
        assert steps["metrics"]["loss"]["impact"]["seed_sd"] is None
        assert "pjsd.5@2" not in steps["metrics"]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("loss,pjsd.5\n1,2\n", "the first column has to be what was varied, and is 'loss'"),
            ("patch,layers\n1,2\n", "has no column that is a metric"),
            ("patch,loss\n1,x\n", "row 2: loss is 'x', which is no number"),
        ],
    )
    def test_bad_tables(self, tmp_path: Path, text: str, said: str) -> None:
        (tmp_path / "a.csv").write_text(text)
        result = invoke("ablations", tmp_path / "a.csv", "-o", tmp_path / "out")
        assert result.exit_code == 2
        assert said in result.output


class TestRealSpeech:
    SUMMARY = {  # noqa: RUF012
        "schema": 1,
        "metrics": {
            "audiobox.CU": {"value": 4.0, "real": {"value": 5.9, "sd": 0.6, "n": 40}},
            "pjsd.1": {"value": 0.06, "floor": 0.005, "floor_sd": 0.001},
            "pjsd.5": {"value": 0.6, "floor": None},
        },
    }

    @pytest.mark.parametrize(
        ("name", "text", "expected"),
        [
            ("summary.json", json.dumps(SUMMARY), {"audiobox.CU": (5.9, 5.3, 6.5), "pjsd.1": (0.005, 0.004, 0.006)}),
            ("real.json", '{"pjsd.1": {"value": 0.2, "sd": 0.1}}', {"pjsd.1": (0.2, 0.1, 0.3)}),
            ("real.json", '{"pjsd.1": {"band": [0.1, 0.3]}}', {"pjsd.1": (0.2, 0.1, 0.3)}),
            ("real.csv", "metric,value,sd\npjsd.1,0.2,0.1\n", {"pjsd.1": (0.2, 0.1, 0.3)}),
            ("real.csv", "metric,value,low,high\npjsd.1@2,0.2,0.1,0.3\n", {"pjsd.1@2": (0.2, 0.1, 0.3)}),
        ],
    )
    def test_its_forms(self, tmp_path: Path, name: str, text: str, expected: dict[str, tuple[float, ...]]) -> None:
        from slm_eval.scaling.runs.real import read_real

        (tmp_path / name).write_text(text)
        found = {key: (each.value, *(each.band or ())) for key, each in read_real(tmp_path / name).items()}
        assert found == {key: pytest.approx(value) for key, value in expected.items()}

    @pytest.mark.parametrize(
        ("name", "text", "said"),
        [
            ("real.json", "{}", "holds no values of real speech"),
            ("real.json", '{"pjsd.1": "low"}', "'low' is no number"),
            ("real.json", '{"pjsd.1": {"band": 3}}', r"a band is \[lowest, highest\]"),
            ("real.csv", "key,value\npjsd.1,3\n", "needs columns metric and value"),
        ],
    )
    def test_what_is_none(self, tmp_path: Path, name: str, text: str, said: str) -> None:
        from slm_eval.base.errors import UsageError
        from slm_eval.scaling.runs.real import read_real

        (tmp_path / name).write_text(text)
        with pytest.raises(UsageError, match=said):
            read_real(tmp_path / name)


def test_help_loads_neither_numpy_nor_scipy() -> None:
    code = "import sys, slm_eval.cli.main; print({'numpy', 'scipy', 'torch', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
