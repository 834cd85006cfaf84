"""The commands of scaling laws: their options, their files, and how they end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from slm_eval.cli.main import main
from tests.scaling.commands import FOUR, QUICK, invoke, noisy_fit
from tests.scaling.made_sweep import add_metrics, sweep, write


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    return noisy_fit(tmp_path_factory.mktemp("noisy"))


class TestExitStatus:
    """0 all asked for was computed; 1 something asked for could not be; 2 bad usage, in one line."""

    def test_a_metric_asked_for_by_name_that_is_not_fitted(self, tmp_path: Path) -> None:
        runs = write(add_metrics(sweep(FOUR, sizes=4), noise=0.01), tmp_path / "runs.csv")
        result = invoke("fit", runs, "-o", tmp_path / "fit", "--metrics", "dnsmos", *QUICK)
        assert result.exit_code == 1
        assert "not fitted: dnsmos.p808@2" in result.output
        assert (tmp_path / "fit" / "fit.json").exists()

    @pytest.mark.parametrize(
        ("rows", "options", "said"),
        [
            (sweep((1e18,), sizes=12), (), "one budget"),
            (sweep((1e18, 1e19), sizes=2), (), "4 different (N, D) came, and the law has 6 free parameters"),
            (sweep(FOUR), ("--metrics", "pjds"), "unknown metric 'pjds'"),
            (sweep(FOUR), ("--hold-out", 3), "--hold-out 3 of 4 budgets leaves fewer than two"),
            (sweep(FOUR), ("--bootstrap", 10), "10 bootstrap fits give no 95 % interval"),
            (sweep(FOUR), ("--gamma", "wide"), "--gamma is 'wide'; expected a number, or free"),
            (sweep(FOUR), ("--gamma", "-1"), "gamma: expected a number from"),
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


def test_the_surface(noisy: tuple[Path, dict[str, Any]]) -> None:
    """Other software relies on these: options of the commands and keys of fit.json."""
    commands = main.commands["scaling"].commands  # type: ignore[attr-defined]
    options = {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in commands.items()
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


def test_help_loads_neither_numpy_nor_scipy() -> None:
    code = "import sys, slm_eval.cli.main; print({'numpy', 'scipy', 'torch', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
