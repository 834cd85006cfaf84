"""What gpu_all.sh asks for exists."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks" / "zoo"))
sys.path.insert(0, str(ROOT / "benchmarks" / "recipes"))
import sampling
from reference_run import run as reference_run
from training import main


@pytest.mark.parametrize("part", ["1", "2", "3", "more"])
def test_what_is_asked_of_a_gpu_exists(tmp_path: Path, part: str) -> None:
    python, log, places = tmp_path / "python", tmp_path / "log", tmp_path / "places"
    python.write_text(
        f'#!/usr/bin/env bash\nif [ "$1" = -c ]; then exec "{sys.executable}" "$@"; fi\n'
        f'echo "$*" >>{log}\necho "$PWD" >>{places}\n'
    )
    python.chmod(0o755)
    where = {"OUT": str(tmp_path / "out"), "WORK": str(tmp_path / "work"), "PYTHON": str(python)}
    command = ["bash", str(ROOT / "benchmarks" / "gpu_all.sh"), part]
    subprocess.run(command, env=os.environ | where, check=True, capture_output=True, cwd=tmp_path)
    assert {Path(place) for place in places.read_text().splitlines()} == {ROOT}
    groups = {"benchmarks/zoo/training.py": main, "benchmarks/zoo/sampling.py": sampling.main}
    for line in log.read_text().splitlines():
        script, *arguments = line.split()
        if script in groups:
            command_name, *arguments = arguments
            given = groups[script].commands[command_name].make_context(command_name, arguments).params
            assert given["device"] == "cuda:0"
        elif script == "benchmarks/recipes/reference_run/run.py":
            assert reference_run.main.make_context(script, arguments).params["minutes"] == 10
        else:
            assert script == "-m" or (ROOT / script).is_file()
    assert (tmp_path / "out" / f"results-{part}.tar.gz").is_file()
