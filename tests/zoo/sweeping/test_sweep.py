"""Sweeps: which runs a file means, that a stop or a failure loses nothing, and the whole of it at its smallest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import model_zoo
from model_zoo.cdslm.flops import parameter_count
from model_zoo.cli.main import main
from model_zoo.sweeping.spec import read_sweep
from model_zoo.sweeping.sweep import Outcome, sweep
from model_zoo.training.config import to_dict
from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.scaling.findings.ablations import read_ablation
from slm_eval.scaling.runs.table import read_runs
from tests.zoo.sweeping.made_sweeps import SCORE, pretend, rows


@pytest.mark.usefixtures("_quick")
def test_rows_are_what_the_scaling_laws_read(write: Callable[..., Path], speech: Path, tmp_path: Path) -> None:
    path = write(sizes={"a": {}, "b": {"model.width": 32}}, budgets=[{"flops": 1e10, "sizes": ["a", "b"]}], score=SCORE)
    plan = read_sweep(path, [f"data.shards={speech / 'shards'}"], speech / "cut")
    outcome = sweep(plan, tmp_path / "out", pretend)
    assert outcome == Outcome(["1e10-a-seed0", "1e10-b-seed0"], [], {})
    table = rows(tmp_path / "out" / "RUNS.csv")
    metrics = ["loudness.rms@2", "loudness.rms@4.5"]
    assert list(table[0]) == [
        *("N", "D", "C", "seed", "loss"), *metrics, *("hours", "seconds", "scoring_seconds", "run", "commit")
    ]  # fmt: skip
    runs = read_runs(tmp_path / "out" / "RUNS.csv", {"loudness.rms": True})
    for at, run in enumerate(plan.runs):
        assert runs.N[at] == parameter_count(run.config.model)
        assert runs.D[at] == run.tokens
        assert runs.C[at] == 6 * runs.N[at] * runs.D[at]
        assert runs.loss[at] == 1 / run.config.steps
    for guidance in ("2", "4.5"):
        folder = tmp_path / "out" / "runs" / "1e10-b-seed0" / f"guidance-{guidance}"
        summary = json.loads((folder / "run" / "summary.json").read_text())
        assert runs.metrics[f"loudness.rms@{guidance}"][1] == summary["metrics"]["loudness.rms"]["value"]
        made = summary["corpora"]["generated"]["provenance"]
        assert made["sampler"]["guidance"] == float(guidance)
        assert summary["corpora"]["generated"]["n_total"] == 3
    assert not (tmp_path / "out" / "runs" / "1e10-b-seed0" / "train" / "checkpoints").exists()


def test_an_ablation_has_what_it_varies_before_all(write: Callable[..., Path], speech: Path, tmp_path: Path) -> None:
    settings = {2: {"model.patch": 2}, 4: {}, "long": {"hours": 0.1}}
    path = write(varied="patch", settings=settings, hours=0.05, seeds=2)
    plan = read_sweep(path, [f"data.shards={speech / 'shards'}"])
    steps = [round(hours * 3600 / (2 * 1.5)) for hours in (0.05, 0.05, 0.1)]
    assert [run.config.steps for run in plan.runs[::2]] == steps
    sweep(plan, tmp_path / "out", pretend)
    study = read_ablation(tmp_path / "out" / "patch.csv")
    assert (study.name, study.varied, study.settings) == ("patch", "patch", ("2", "4", "long"))
    assert study.mean["loss"] == pytest.approx([1 / each + 0.0005 for each in steps])
    assert study.n_seeds["loss"].tolist() == [2, 2, 2]


def test_failures_are_told_and_stop_no_other(
    write: Callable[..., Path], speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(sizes={name: {} for name in "abcd"}, budgets=[{"flops": 1e10, "sizes": ["a", "b", "c", "d"]}])
    trained: list[str] = []

    def sometimes(config: Path, output: Path, log: Path) -> None:
        name = output.parent.name
        trained.append(name)
        if "-a-" in name:
            raise SlmEvalError("the loss is not\nfinite")
        if "-b-" not in name:  # b is stopped by somebody: no result, no error
            pretend(config, output, log)

    monkeypatch.setattr("model_zoo.sweeping.sweep.by_command", lambda *_: sometimes)
    command = ["sweep", str(path), "-o", str(tmp_path / "out"), f"data.shards={speech / 'shards'}"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 1
    assert "1e10-a-seed0 failed: the loss is not finite\n" in done.stderr
    assert "1e10-b-seed0 failed: the training was stopped before its end; the same command continues" in done.stderr
    assert "2 runs added, 0 were there already" in done.stdout
    assert [row["run"] for row in rows(tmp_path / "out" / "RUNS.csv")] == ["1e10-c-seed0", "1e10-d-seed0"]
    # Again: only what failed is tried.
    trained.clear()
    monkeypatch.setattr(
        "model_zoo.sweeping.sweep.by_command", lambda *_: lambda *a: trained.append(a[1].parent.name) or pretend(*a)
    )
    again = CliRunner().invoke(main, command)
    assert again.exit_code == 0, again.output
    assert trained == ["1e10-a-seed0", "1e10-b-seed0"]
    assert "2 runs added, 2 were there already" in again.stdout
    assert len(rows(tmp_path / "out" / "RUNS.csv")) == 4


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("stop_at", [0, 1, 2])  # after training, speech and scores of the first run
def test_stopped_anywhere_it_ends_with_the_same_table(
    write: Callable[..., Path], speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    """Ctrl-C at the end of one of the steps of a run, before the next has begun."""
    score = SCORE | {"guidance": [2], "clips": 1}
    path = write(sizes={"a": {}, "b": {"model.width": 32}}, budgets=[{"flops": 1e10, "sizes": ["a", "b"]}], score=score)
    plan = read_sweep(path, [f"data.shards={speech / 'shards'}"], speech / "cut")
    sweep(plan, tmp_path / "whole", pretend)
    steps = 0

    def step(function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal steps
            steps += 1
            done = function(*arguments, **options)
            if steps == stop_at + 1:
                raise KeyboardInterrupt
            return done

        return counted

    with monkeypatch.context() as patch:
        patch.setattr("model_zoo.sampling.generate.generate", step(model_zoo.sampling.generate.generate))  # type: ignore[attr-defined]
        patch.setattr("model_zoo.sweeping.scoring.write_run", step(model_zoo.sweeping.scoring.write_run))  # type: ignore[attr-defined]
        with pytest.raises(KeyboardInterrupt):
            sweep(plan, tmp_path / "out", step(pretend))
    sweep(plan, tmp_path / "out", pretend)

    def told(folder: Path) -> list[dict[str, str]]:
        return [{key: row[key] for key in row if key != "scoring_seconds"} for row in rows(folder / "RUNS.csv")]

    assert told(tmp_path / "out") == told(tmp_path / "whole")


def test_runs_of_another_sweep_are_never_mixed(write: Callable[..., Path], speech: Path, tmp_path: Path) -> None:
    path = write(budgets=[{"flops": 1e10, "sizes": ["L1"]}])
    shards = f"data.shards={speech / 'shards'}"
    sweep(read_sweep(path, [shards]), tmp_path / "out", pretend)
    with pytest.raises(UsageError, match=r"1e10-L1-seed0 is of a run with other values \(training\)"):
        sweep(read_sweep(path, [shards, "optimizer.weight_decay=0"]), tmp_path / "out", pretend)
    scored = write("scored.yaml", budgets=[{"flops": 1e10, "sizes": ["L1"]}], score=SCORE)
    with pytest.raises(UsageError, match=r"other values \(score\)"):
        sweep(read_sweep(scored, [shards], speech / "cut"), tmp_path / "out", pretend)
    # How often something is logged decides nothing.
    again = sweep(read_sweep(path, [shards, "log_every=1"]), tmp_path / "out", pretend)
    assert again == Outcome([], ["1e10-L1-seed0"], {})


def test_speech_and_shards_that_are_not_there(write: Callable[..., Path], speech: Path, tmp_path: Path) -> None:
    path = write(budgets=[{"flops": 1e10, "sizes": ["L1"]}], score=SCORE)
    shards = f"data.shards={speech / 'shards'}"
    for overrides, cut_speech, told in (
        ([shards], None, "--speech DIR"),
        ([shards], tmp_path, "has no folder contexts"),
        ([], speech / "cut", "holds no shards"),
    ):
        with pytest.raises(UsageError, match=told):
            sweep(read_sweep(path, overrides, cut_speech), tmp_path / "out", pretend)


def test_end_to_end_by_the_command(write: Callable[..., Path], speech: Path, tmp_path: Path) -> None:
    """Real trainings of a few steps in processes of their own."""
    path = write(
        budgets=[{"flops": 2e8, "sizes": ["a"]}], sizes={"a": {}}, seeds=1, score=SCORE | {"guidance": [2], "clips": 1}
    )
    done = subprocess.run(
        [sys.executable, "-m", "model_zoo", "sweep", str(path), "-o", str(tmp_path / "out"),
         f"data.shards={speech / 'shards'}", "--speech", str(speech / "cut"), "--device", "cpu"],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = rows(tmp_path / "out" / "RUNS.csv")
    result = json.loads((tmp_path / "out" / "runs" / row["run"] / "train" / "result.json").read_text())
    assert float(row["loss"]) == result["loss"]
    assert float(row["dnsmos.ovrl@2"]) > 0
    assert to_dict(read_sweep(path, [f"data.shards={speech / 'shards'}"]).runs[0].config) == result["config"]
