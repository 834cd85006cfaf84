"""Sweeps: which runs a file means, that a stop or a failure loses nothing, and the whole of it at its smallest."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner

import model_zoo
from model_zoo.cdslm.checkpoint import save
from model_zoo.cdslm.config import ModelConfig
from model_zoo.cdslm.flops import Tokens, flops_6nd, parameter_count, training_flops
from model_zoo.cdslm.model import MMDiT
from model_zoo.cli.main import main
from model_zoo.data.prepare import PrepareOptions, prepare
from model_zoo.features import FeatureSpec, Normalizer
from model_zoo.planning.gpus import Gpu
from model_zoo.speech.cut import CutOptions, cut
from model_zoo.sweeping.process import run as run_process
from model_zoo.sweeping.process import train_command
from model_zoo.sweeping.spec import PlannedRun, Scoring, Sweep, read_sweep
from model_zoo.sweeping.sweep import Outcome, sweep
from model_zoo.sweeping.table import RunTable
from model_zoo.sweeping.times import Throughput, affordable, true_flops
from model_zoo.training.config import TrainConfig, load_config, to_dict
from slm_eval import launching
from slm_eval.errors import SlmEvalError, UsageError
from slm_eval.scaling.ablations import read_ablation
from slm_eval.scaling.runs import read_runs
from tests.conftest import noise
from tests.fakes import Loudness

CONFIGS = Path(model_zoo.__file__).parent / "configs"
MODEL = ModelConfig(
    layers=1, width=16, head_dim=8, patch=4, context_seconds=0.5, target_seconds=1.0, base_layers=1, base_width=16
)
BASE = {
    "model": {key: value for key, value in vars(MODEL).items() if value != getattr(ModelConfig(), key)},
    "data": {"validation_clips": 2, "threads": 1},
    "optimizer": {"warmup_steps": 2},
    "batch": 2,
    "precision": "float32",
    "compile": False,
}
SCORE = {"guidance": [2, 4.5], "steps": 2, "metrics": "dnsmos", "workers": 0}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """write(name="sweep.yaml", **keys): a sweep over BASE."""
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))

    def write(name: str = "sweep.yaml", **keys: Any) -> Path:
        path = tmp_path / name
        path.write_text(yaml.safe_dump({"config": "base.yaml", "score": {"guidance": []}} | keys, sort_keys=False))
        return path

    return write


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards and clips of a few seconds of noise."""
    import soundfile

    folder = tmp_path_factory.mktemp("speech")
    for at in range(8):
        (folder / "wavs").mkdir(exist_ok=True)
        soundfile.write(folder / "wavs" / f"{at}.wav", noise(3.2, 24_000, seed=at), 24_000)
    prepare([folder / "wavs"], folder / "shards", PrepareOptions(validation=0.4, workers=0))
    cut(folder / "wavs", folder / "cut", CutOptions(0.5, 1.0, clips=3, held_out=folder / "shards"))
    return folder


def pretend(config: Path, output: Path, log: Path) -> None:
    """What a training leaves, without any."""
    told = load_config(config)
    tokens, samples = Tokens.of(told.model), told.steps * told.batch
    generator = torch.Generator().manual_seed(told.seed)
    state = MMDiT(told.model).state_dict()
    weights = {name: 0.1 * torch.randn(each.shape, generator=generator) for name, each in state.items()}
    normalizer = Normalizer(torch.full((80,), -1.5), torch.full((80,), 0.5))
    save(output / "model.safetensors", told.model, weights, told.diffusion, FeatureSpec(), normalizer, {}, weights)
    result = {
        "steps": told.steps, "seed": told.seed, "parameters": parameter_count(told.model),
        "loss": 1 / told.steps + 0.001 * told.seed, "tokens_seen": samples * tokens.all,
        "hours_seen": samples * 1.5 / 3600, "flops_6nd": samples * flops_6nd(told.model, tokens),
        "flops_hw": samples * training_flops(told.model, tokens), "seconds": 2.0,
    }  # fmt: skip
    (output / "checkpoints").mkdir()
    (output / "result.json").write_text(json.dumps(result))


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model is scored by how loud it is."""
    monkeypatch.setattr("slm_eval.presets.choose_metrics", lambda *_, **__: [Loudness()])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_isoflop_grid(write: Callable[..., Path]) -> None:
    path = write(
        set={"batch": 4},
        sizes={"wide": {"model": {"width": 32}}},
        budgets=[{"flops": "3e10", "sizes": ["wide"]}, {"flops": 1e10, "sizes": ["wide", "L2"], "seeds": 2}],
        seeds=1,
    )
    plan = read_sweep(path, ["optimizer.learning_rate=3e-4"])
    names = [f"1e10-{size}-seed{seed}" for size in ("wide", "L2") for seed in (0, 1)]
    assert [run.name for run in plan.runs] == [*names, "3e10-wide-seed0"]  # cheap ones first
    assert plan.table == "RUNS.csv"
    assert plan.budgets == [1e10, 3e10]
    for run in plan.runs:
        model = run.config.model
        assert (model.layers, model.d) == ((1, 32) if "wide" in run.name else (2, 16))
        assert run.name.endswith(f"seed{run.config.seed}")
        assert run.config.optimizer.learning_rate == 3e-4
        assert run.config.batch == 4
        # D = C / 6N in whole steps of 4 windows of 30 tokens.
        assert run.tokens == run.config.steps * 4 * 30
        assert run.budget is not None
        assert abs(run.budget / (6 * parameter_count(model)) - run.tokens) <= 4 * 30 / 2
        assert run.config.optimizer.warmup_steps == min(2, run.config.steps // 10)


def test_a_number_of_sizes_is_rungs_around_the_compute_optimal_one(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(f"config: {CONFIGS / 'ladder' / 'L4.yaml'}\nbudgets: [{{flops: 1.0e+20, sizes: 3, seeds: 3}}]")
    plan = read_sweep(path)
    assert {run.config.model.layers for run in plan.runs} == {5, 7, 11}
    assert len(plan.runs) == 9
    assert plan.scoring == Scoring()


def test_the_ablations_of_the_paper() -> None:
    """Section 5: d = 1024, L = 8, 512,000 hours, 0.25 to 1.5 M hours, k 1 to 6, schedules by ZTSNR, T."""
    plans = {path.stem: read_sweep(path, ["data.shards=x"]) for path in (CONFIGS / "ablations").iterdir()}
    assert plans.keys() == {"duration", "patch", "schedule", "timesteps"}
    for name, plan in plans.items():
        assert plan.varied == name
        assert plan.table == f"{name}.csv"
        assert plan.scoring.guidance == (2.0, 4.0)
        for run in plan.runs:
            assert (run.config.model.layers, run.config.model.d) == (8, 1024)
            assert sum(other.setting == run.setting for other in plan.runs) == 3  # seeds
            assert run.config.data.shards == "x"
        if name != "duration":
            assert {run.config.steps for run in plan.runs} == {180_000}  # 512,000 h x 3600 / (256 x 40 s)
    first = {name: [run for run in plan.runs if run.config.seed == 0] for name, plan in plans.items()}
    heard = [run.config.steps * 256 * 40 / 3600 for run in first["duration"]]
    assert heard == pytest.approx([0.25e6, 0.5e6, 0.75e6, 1e6, 1.25e6, 1.5e6], rel=1e-5)
    assert [run.config.model.patch for run in first["patch"]] == [1, 2, 3, 4, 5, 6]
    assert [run.config.diffusion.steps for run in first["timesteps"]] == [100, 500, 1000, 2000, 4000]
    tried = {(run.config.diffusion.schedule, run.config.diffusion.zero_terminal_snr) for run in first["schedule"]}
    kinds = ("linear", "cosine", "exponential", "exponential_beta")
    assert tried == {(kind, zero) for kind in kinds for zero in (True, False)}
    assert {run.setting for run in first["schedule"]} == {f"{kind}{end}" for kind in kinds for end in ("", "+ztsnr")}


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


def test_a_table_keeps_rows_and_columns_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "RUNS.csv"
    row = {"N": 1, "D": 2, "C": 12.0, "seed": 0, "loss": 0.1, "hours": 0.5, "seconds": 1.0, "scoring_seconds": 0.0}
    RunTable(path).append(row | {"run": "a", "commit": "x", "mine@2": 1 / 3})
    RunTable(path).append(row | {"run": "b", "commit": "x", "other@2": 2.0})
    first, second = rows(path)
    assert (float(first["mine@2"]), first["other@2"]) == (1 / 3, "")
    assert (second["mine@2"], second["other@2"]) == ("", "2.0")
    path.write_text("N,D\n1,2\n")
    with pytest.raises(SlmEvalError, match="no column 'C'"):
        RunTable(path)
    RunTable(tmp_path / "x.csv", "patch").append(row | {"run": "a", "commit": "x", "patch": "1"})
    assert (tmp_path / "x.csv").read_text().startswith("patch,N,D,C,seed,loss,hours")


def test_times_are_measured_or_declared_or_expected(write: Callable[..., Path]) -> None:
    sizes = {"a": {}, "b": {"model.width": 32}}
    plan = read_sweep(write(sizes=sizes, budgets=[{"flops": f, "sizes": ["a", "b"]} for f in (1e10, 2e10, 4e10)]))
    gpu = Gpu.of("H200")
    first = plan.runs[0]
    work = true_flops(first)
    assert work == first.config.steps * 2 * training_flops(first.config.model, Tokens(10, 20))
    assert Throughput.of(plan, {}, gpu).seconds(first) == pytest.approx(work / (989e12 * 0.06))  # below one layer
    declared = Throughput.of(plan, {}, gpu, declared=1e9)
    assert declared.seconds(first) == pytest.approx(work / 1e9)
    finished = {first.name: {"seconds": "4.0", "scoring_seconds": "1.5"}}
    measured = Throughput.of(plan, finished, gpu, declared=1e9)
    for run in plan.runs:  # the only size that was measured stands for both
        assert measured.seconds(run) == pytest.approx(true_flops(run) * 4 / work + 1.5)
    each = [sum(declared.seconds(run) for run in plan.runs if run.budget == budget) for budget in plan.budgets]
    assert affordable(plan, declared, each[0] + each[1], {}).budgets == [1e10, 2e10]
    assert affordable(plan, declared, each[0] + each[1] - 1e-3, {}).budgets == [1e10]
    done = {run.name: None for run in plan.runs if run.budget == 1e10}
    assert affordable(plan, declared, each[1], done).budgets == [1e10, 2e10]
    with pytest.raises(UsageError, match="not even the smallest budget fits"):
        affordable(plan, declared, each[0] / 2, {})
    with pytest.raises(UsageError, match="an ablation has none"):
        affordable(Sweep((PlannedRun("x", TrainConfig()),), varied="y"), declared, 1.0, {})
    with pytest.raises(UsageError, match="above 0"):
        Throughput.of(plan, {}, gpu, declared=0.0)


def test_the_dry_run(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(budgets=[{"flops": f, "sizes": ["L1"]} for f in (1e10, 1e13)])
    command = ["sweep", str(path), "-o", str(tmp_path / "out"), "--dry-run", "--flops-per-second", "1e9"]
    whole = CliRunner().invoke(main, command)
    assert whole.exit_code == 0, whole.output
    assert "2 runs, 0 done" in whole.output
    assert "1 runs, 0 done" in CliRunner().invoke(main, [*command, "--hours", "0.1"]).output
    assert not (tmp_path / "out").exists()


def test_the_command_of_a_training_and_its_end(tmp_path: Path) -> None:
    start = launching.script("model_zoo.cli.main")[0]
    command = train_command(Path("c.yaml"), Path("out"), 4, "cuda:0")
    assert command[1:] == [
        *(start, "torch.distributed.run", "--standalone", "--nproc-per-node=4"),
        *(start, "model_zoo.cli.main", "train", "c.yaml", "-o", "out", "--device", "cuda:0"),
    ]
    run_process([sys.executable, "-c", "print('fine')"], tmp_path / "log")
    with pytest.raises(SlmEvalError, match=r"^no luck \(all of it: .*log\)$"):
        run_process([sys.executable, "-c", "print('so'); raise SystemExit('no luck')"], tmp_path / "log")
    with pytest.raises(SlmEvalError, match="ended with status 3"):
        run_process([sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "log")
    assert (tmp_path / "log").read_text() == "fine\nso\nno luck\n"


def test_sigterm_reaches_the_training_first(tmp_path: Path) -> None:
    """A child that notes SIGTERM and takes its time; this process hears of it only when the child has ended."""
    child = (
        "import signal, sys, time\n"
        "def end(*_): time.sleep(0.2); open(sys.argv[1], 'w').write('saved'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\nopen(sys.argv[1] + '.up', 'w').close()\ntime.sleep(30)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", "import os, signal, sys, threading, time\n"
         "from pathlib import Path\n"
         "from model_zoo.sweeping.process import run, terminable\n"
         "child = [sys.executable, '-c', *sys.argv[1:]]\n"
         "try:\n    with terminable(): run(child, Path(sys.argv[2] + '.log'))\n"
         "except KeyboardInterrupt: sys.exit(7)\n", child, str(tmp_path / "state")],
    )  # fmt: skip
    for _ in range(200):
        if (tmp_path / "state.up").exists():
            break
        time.sleep(0.05)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(20) == 7
    assert (tmp_path / "state").read_text() == "saved"


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({}, "give budgets (an isoFLOP grid) or varied and settings"),
        ({"varied": "x", "budgets": [{"flops": 1, "sizes": ["L1"]}]}, "give both or neither"),
        ({"budget": []}, "did you mean 'budgets'"),
        ({"budgets": []}, "budgets: expected a list"),
        ({"budgets": [{"flops": 1e10, "sizes": ["L31"]}]}, "unknown size"),
        ({"budgets": [{"flops": -1, "sizes": ["L1"]}]}, "budget 1: flops: expected a number above 0"),
        ({"budgets": [{"flops": 1e10, "sizes": ["L1"], "seed": 3}]}, "did you mean 'seeds'"),
        ({"budgets": [{"flops": 1e10, "sizes": 31}]}, "1 to 30 rungs"),
        ({"budgets": [{"flops": 1e10, "sizes": ["L1"], "seeds": 1.5}]}, "expected a whole number"),
        ({"budgets": [{"flops": 1e10, "sizes": ["L1"]}] * 2}, "two runs are called 1e10-L1-seed0"),
        (
            {"budgets": [{"flops": 1e10, "sizes": ["L1"]}], "sizes": {"L1": {"seed": 1}}},
            "follows from the sweep's seeds",
        ),
        ({"budgets": [{"flops": 1e10, "sizes": ["L1"]}], "set": {"model.layer": 1}}, "did you mean 'model.layers'"),
        ({"budgets": [{"flops": 1e10, "sizes": ["L1"]}], "score": {"guide": 1}}, "did you mean 'guidance'"),
        ({"budgets": [{"flops": 1e10, "sizes": ["L1"]}], "config": "none.yaml"}, "there is no configuration"),
        ({"varied": "loss", "settings": {"a": {}}}, "that no other column has"),
        ({"varied": "x", "settings": {"a": 3}}, "setting a: expected keys and values"),
        ({"varied": "x", "settings": {"a": {"hours": "many"}}}, "setting a: hours: expected a number"),
    ],
)
def test_a_file_that_means_nothing_is_refused(write: Callable[..., Path], keys: dict[str, Any], told: str) -> None:
    done = CliRunner().invoke(main, ["sweep", str(write(**keys)), "-o", "x", "--dry-run"])
    assert done.exit_code == 2
    assert told in " ".join(done.output.split())


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


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel of Linux")
def test_a_training_ends_with_a_sweep_that_was_killed(tmp_path: Path) -> None:
    wait = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    code = (
        "import sys; from pathlib import Path; from model_zoo.sweeping.process import run\n"
        f"run([sys.executable, '-c', {wait!r}], Path({str(tmp_path / 'log')!r}))"
    )
    sweeping = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    training = Path("/proc", (tmp_path / "pid").read_text())
    sweeping.kill()
    sweeping.wait()
    while training.exists() and "Z" not in (training / "stat").read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not training.exists() or "Z" in (training / "stat").read_text()
