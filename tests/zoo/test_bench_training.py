"""What measures training measures the trainer: ways to carry out a step differ in nothing but what their names say."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor
from torch.distributed.run import get_args_parser

from model_zoo.cdslm.flops import parameter_count, training_flops
from model_zoo.cdslm.model import MMDiT
from model_zoo.cli.training import train as train_command
from model_zoo.training.config import load_config
from model_zoo.training.ranks import Ranks
from model_zoo.training.train import Run
from tests.conftest import ROOT
from tests.zoo.training_runs import TINY, configured, waves

sys.path.insert(0, str(ROOT / "benchmarks"))
import sampling
from reference_run import run as reference_run
from training import _alone, _turns, main, told
from training_variants import Trial, Variant, attention_kernels, ladder

CPU = torch.device("cpu")
SLURM = ROOT / "examples" / "slurm" / "train.sh"
SMALL = [f"model.{key}={value}" for key, value in TINY["model"].items() if key != "layers"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    waves(folder)
    return folder


@pytest.fixture
def _traced_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are traced by torch.compile, but no C++ is made of them: that takes a minute."""
    compiled = MMDiT.compile_blocks
    monkeypatch.setattr(MMDiT, "compile_blocks", lambda self: compiled(self, backend="eager"))


class Waited(Exception):
    """A step asked the device for a number."""


# ---- the step ----


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_a_step_never_waits_for_the_device(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micro_batch: int | None
) -> None:
    config = configured(shards, micro_batch=micro_batch, precision="bfloat16")
    run = Run(config, tmp_path / "run", Ranks(0, 1, CPU))
    with run.feed(0) as feed:
        run.step(next(feed))

        def waits(*_: Any, **__: Any) -> Any:
            raise Waited

        batch = next(feed)
        with monkeypatch.context() as patch:
            for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__", "nonzero"):
                patch.setattr(Tensor, name, waits)
            run.step(batch)
            with pytest.raises(Waited):  # the check itself: reading what was measured does wait
                run.meter.read()
    assert run.measured(2)["loss"] > 0


# ---- ways of doing it ----


def test_the_ladder_changes_one_thing_at_a_time_and_ends_with_the_trainer() -> None:
    steps = ladder()
    for before, after in itertools.pairwise(steps):
        fields = ("attention", "fused", "collected", "ahead")
        options = {key for key in after.config if before.config[key] != after.config[key]}
        assert len(options) + sum(getattr(before, name) != getattr(after, name) for name in fields) == 1, after.name
    last = steps[-1]
    assert (last.attention, last.fused, last.collected, last.ahead) == (None, True, False, True)
    assert last.config == {"precision": "bfloat16", "compile": True}


@pytest.mark.usefixtures("_traced_only")
def test_ways_that_only_change_the_speed_give_the_same_weights(shards: Path, tmp_path: Path) -> None:
    config = configured(shards, precision="float32", compile=False)
    found = []
    for number, variant in enumerate(
        [Variant("as it is"), Variant("slow", {"compile": True}, ("math",), fused=False, collected=True, ahead=False)]
    ):
        trial = Trial(variant, config, tmp_path / str(number), CPU)
        trial.steps(3)
        found.append([each.detach().clone() for each in trial.run.model.parameters()])
        trial.close()
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_the_kernel_that_ran_is_the_one_asked_for(shards: Path, tmp_path: Path) -> None:
    config = configured(shards)
    by_name = {each.attention: each for each in attention_kernels()}
    for name in ("flash", "math"):
        trial = Trial(by_name[name,], config, tmp_path / name, CPU)
        assert trial.attention == {name: config.model.layers}
        trial.close()
    with pytest.raises(RuntimeError, match="No viable backend"):
        Trial(by_name["cudnn",], config, tmp_path / "cudnn", CPU)


def test_parts_take_batches_that_can_be_compared(shards: Path) -> None:
    config = configured(shards, batch=8, micro_batch=4)
    for part, size in (("ladder", 2), ("attention", 4)):
        assert all(each.config["batch"] == each.config["micro_batch"] == size for each in _turns(part, config)[0])
    sizes = [each.config["micro_batch"] for (each,) in _turns("memory", config)]
    assert sizes == [4, 1, 2, 4, 8]
    assert _turns("trained", config) == [[Variant("as trained")]]
    assert _alone(Variant("x", {"batch": 2}), 4).config == {"batch": 2, "micro_batch": 4}


def test_speed_writes_a_row_for_each_and_says_what_could_not_be(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MMDiT, "compile_blocks", lambda self: self)  # compiling takes minutes
    file = tmp_path / "speed.json"
    options = ["--layers", "2", "--shards", str(shards), "--rounds", "2", "--seconds", "0.01", "--output", str(file)]
    parts = ["--part", "ladder", "--part", "attention"]
    done = CliRunner().invoke(main, ["speed", *options, *parts, *SMALL, "batch=4", "micro_batch=2"])
    assert done.exit_code == 0, done.output
    rows = {row["name"]: row for row in json.loads(file.read_text())["rows"]}
    assert [name for name in rows if not name.startswith("attention")] == [each.name for each in ladder()]
    row = rows["feed ahead"]
    model = configured(shards, model={"layers": 2}).model
    tokens = (16 + 32) // 4
    assert row["tokens_per_sample"] == tokens
    assert row["samples_per_second"] == pytest.approx(1 / row["seconds_per_step"])
    assert row["tokens_per_second"] == pytest.approx(tokens * row["samples_per_second"])
    assert row["times_real_time"] == pytest.approx(0.6 * row["samples_per_second"])
    true = training_flops(model, Run(configured(shards), tmp_path / "run", Ranks(0, 1, CPU)).tokens)
    assert row["flops_per_second"] == pytest.approx(true * row["samples_per_second"])
    assert row["mfu"] is None
    assert row["mfu_accepted"] == 0.12
    assert row["times_first"] > 0
    assert "times_first" not in rows["eager float32"]
    assert "No viable backend" in rows["attention: cudnn"]["failed"]

    done = CliRunner().invoke(main, ["speed", *options, "--part", "trained", "--minutes", "0", *SMALL])
    assert json.loads(file.read_text())["rows"][0]["left_out"] == "no time was left"
    assert "no time was left" in done.output


def test_a_row_is_told_beside_its_target() -> None:
    row = {"layers": 8, "part": "trained", "name": "as trained", "samples_per_second": 140.0, "times_real_time": 5600.0,
           "mfu": 0.406, "mfu_accepted": 0.4, "peak_gib": 40.0, "host_share": 0.1, "feed_share": 0.01}  # fmt: skip
    assert "MFU  40.6% (accepted: 40%)  40.0 GiB" in told(row)


def test_profile_writes_what_a_step_is_made_of(shards: Path, tmp_path: Path) -> None:
    options = ["--layers", "2", "--shards", str(shards), "--steps", "2", "--output", str(tmp_path / "profile.txt")]
    done = CliRunner().invoke(main, ["profile", *options, *SMALL, "batch=2", "compile=false"])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "profile.txt").read_text()
    assert "2 layers, a batch of 2 in parts of 2, attention {'flash': 2}" in text
    assert "of it the host waited for the feed" in text
    assert "aten::mm" in text


# ---- the reference run, and all of it ----


def test_stages_are_done_once_and_one_that_is_ended_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = tmp_path / "library" / "stage_of_a_test"
    stage.mkdir(parents=True)
    (stage / "cli.py").write_text("import sys, time\n\n\ndef main():\n    exec(sys.argv[1])\n")
    monkeypatch.syspath_prepend(str(stage.parent))
    stages = reference_run.Stages(tmp_path, time.monotonic() + 60)
    script = f"open({str(tmp_path / 'done')!r}, 'a').write('x')"
    for _ in range(2):
        stages.do("a", "stage_of_a_test", script)
    assert (tmp_path / "done").read_text() == "x"
    with pytest.raises(subprocess.CalledProcessError):
        stages.do("b", "stage_of_a_test", "sys.exit(2)")
    hurried = reference_run.Stages(tmp_path, time.monotonic() + 0.3)
    with pytest.raises(reference_run.OutOfTime):
        hurried.do("b", "stage_of_a_test", "time.sleep(60)")
    with pytest.raises(reference_run.OutOfTime):  # nothing is begun any more
        hurried.do("c", "stage_of_a_test", script)
    hurried.do("a", "no.such.module")  # was done
    assert not stages.done("b")
    assert not stages.done("c")
    assert (tmp_path / "done").read_text() == "x"


def test_the_reference_run_is_of_36_million_parameters() -> None:
    model = load_config(ROOT / "benchmarks" / "reference_run" / "L4.yaml").model
    assert parameter_count(model) == 36_492_368
    assert (model.context_frames, model.target_frames) == (800, 2400)


def test_the_table_of_the_reference_run() -> None:
    plain = {"value": 2.5, "ci95": [2.25, 2.75], "real": {"value": 3.5}}
    scores = {"guidance-2": {"dnsmos.p808": plain, "pjsd.2": {"value": 0.5, "ci95": None, "floor": 0.125}},
              "vocoded": {"dnsmos.p808": plain}}  # fmt: skip
    done = {"parameters": 36_492_368, "steps": 9000, "hours_seen": 6400.0, "seconds": 600.0, "loss": 0.25}
    lines = reference_run.table(scores, done).splitlines()
    assert "| dnsmos.p808 | 2.500 [2.250, 2.750] | 2.500 [2.250, 2.750] | 3.500 |" in lines
    assert "| pjsd.2 | 0.500 | - | 0.125 |" in lines
    assert lines[0].startswith("36,492,368 parameters, 9000 steps, 6,400 h heard in 10.0 minutes")


@pytest.mark.parametrize("part", ["1", "2", "3", "more"])
def test_what_is_asked_of_a_gpu_exists(tmp_path: Path, part: str) -> None:
    python, log = tmp_path / "python", tmp_path / "log"
    python.write_text(
        f'#!/usr/bin/env bash\nif [ "$1" = -c ]; then exec "{sys.executable}" "$@"; fi\necho "$*" >>{log}\n'
    )
    python.chmod(0o755)
    where = {"OUT": str(tmp_path / "out"), "WORK": str(tmp_path / "work"), "PYTHON": str(python)}
    command = ["bash", str(ROOT / "benchmarks" / "gpu_all.sh"), part]
    subprocess.run(command, env=os.environ | where, check=True, capture_output=True)
    groups = {"benchmarks/training.py": main, "benchmarks/sampling.py": sampling.main}
    for line in log.read_text().splitlines():
        script, *arguments = line.split()
        if script in groups:
            command_name, *arguments = arguments
            given = groups[script].commands[command_name].make_context(command_name, arguments).params
            assert given["device"] == "cuda:0"
        elif script == "benchmarks/reference_run/run.py":
            assert reference_run.main.make_context(script, arguments).params["minutes"] == 10
        else:
            assert script == "-m" or (ROOT / script).is_file()
    assert (tmp_path / "out" / f"results-{part}.tar.gz").is_file()


# ---- on a cluster ----

STUBS = {
    "scontrol": 'if [ "$1" = show ]; then echo node-1; echo node-2; else echo "$@" >>"$LOG"; fi',
    "srun": 'echo $$ >"$LOG.pid"; shift; exec "$@"',
    "scancel": 'kill -s "${1#--signal=}" "$(cat "$LOG.pid")"',
    # Ends its processes at SIGTERM, as torchrun does; a process saves and ends, and one that is left alone finishes.
    "torchrun": """
        echo "$@" >>"$LOG"
        trap 'echo killed >>"$LOG"; exit 1' TERM
        ( trap 'echo saved >>"$LOG"; exit 0' TERM
          echo begun >>"$LOG"
          for turn in $(seq "$TURNS"); do sleep 0.1; done
          echo finished >>"$LOG"; touch "$RUN/result.json" ) &
        wait $!""",
}


def job(folder: Path, turns: int) -> tuple[subprocess.Popen[bytes], Path]:
    """The script as a job of two nodes, of which one is here, and where all that it calls tells of itself."""
    programs, log = folder / "bin", folder / "log"
    programs.mkdir()
    (folder / "run").mkdir()
    for name, body in STUBS.items():
        (programs / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (programs / name).chmod(0o755)
    slurm = {
        "SLURM_JOB_ID": "12345",
        "SLURM_JOB_NODELIST": "node-[1-2]",
        "SLURM_NNODES": "2",
        "SLURM_GPUS_ON_NODE": "8",
    }
    told = {"LOG": str(log), "RUN": str(folder / "run"), "TURNS": str(turns)}
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", str(SLURM), "L16.yaml", str(folder / "run"), "data.shards=shards"]
    return subprocess.Popen(command, env=os.environ | slurm | told | {"PATH": path}), log


def until(log: Path, word: str) -> None:
    give_up = time.monotonic() + 20
    while word not in (log.read_text() if log.exists() else ""):
        assert time.monotonic() < give_up, f"no {word}"
        time.sleep(0.02)


@pytest.mark.skipif(shutil.which("pkill") is None, reason="the script ends processes by pkill")
def test_a_job_near_its_limit_saves_and_is_queued_again(tmp_path: Path) -> None:
    process, log = job(tmp_path, turns=300)
    until(log, "begun")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(20) == 0
    options, *happened = log.read_text().splitlines()
    assert happened == ["begun", "saved", "requeue 12345"]
    asked = get_args_parser().parse_args(options.split())
    assert (asked.nnodes, asked.nproc_per_node, asked.rdzv_backend) == ("2", "8", "c10d")
    assert (asked.rdzv_endpoint, asked.rdzv_id) == ("node-1:22345", "12345")
    assert (asked.module, asked.training_script) == (True, "model_zoo")
    command, *rest = asked.training_script_args
    given = train_command.make_context(command, rest).params
    assert (given["config"], given["output"]) == (Path("L16.yaml"), tmp_path / "run")
    assert given["overrides"] == ("data.shards=shards",)


def test_a_job_that_finished_is_not_queued_again(tmp_path: Path) -> None:
    process, log = job(tmp_path, turns=1)
    assert process.wait(20) == 0
    assert log.read_text().splitlines()[1:] == ["begun", "finished"]


def test_signals_come_early_enough_and_the_log_is_kept() -> None:
    text = SLURM.read_text()
    for line in ("--signal=B:USR1@300", "--requeue", "--open-mode=append", "--ntasks-per-node=1"):
        assert re.search(rf"^#SBATCH {line}$", text, re.MULTILINE)
