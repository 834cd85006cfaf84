"""The job script of a cluster: saved and queued again near its limit."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from torch.distributed.run import get_args_parser

from model_zoo.cli.training import train as train_command
from tests.conftest import ROOT

SLURM = ROOT / "examples" / "slurm" / "train.sh"
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
