"""The reference run: stages done once, its size, its table."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model_zoo.cdslm.flops import parameter_count
from model_zoo.training.config import load_config
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks" / "recipes"))
from reference_run import run as reference_run

pytestmark = pytest.mark.usefixtures("one_thread")


def test_stages_are_done_once_and_one_that_is_ended_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "stage_of_a_test.py").write_text(
        "import sys, time\n\n\ndef main():\n    exec(sys.argv[1])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "library"))
    monkeypatch.setattr(reference_run, "PROGRAMS", {"a_stage": "stage_of_a_test"})
    stages = reference_run.Stages(tmp_path, time.monotonic() + 60)
    script = f"open({str(tmp_path / 'done')!r}, 'a').write('x')"
    for _ in range(2):
        stages.do("a", "a_stage", script)
    assert (tmp_path / "done").read_text() == "x"
    with pytest.raises(subprocess.CalledProcessError):
        stages.do("b", "a_stage", "sys.exit(2)")
    hurried = reference_run.Stages(tmp_path, time.monotonic() + 0.3)
    with pytest.raises(reference_run.OutOfTime):
        hurried.do("b", "a_stage", "time.sleep(60)")
    with pytest.raises(reference_run.OutOfTime):  # nothing is begun any more
        hurried.do("c", "a_stage", script)
    hurried.do("a", "no.such.module")  # was done
    assert not stages.done("b")
    assert not stages.done("c")
    assert (tmp_path / "done").read_text() == "x"


@pytest.mark.parametrize("module", reference_run.PROGRAMS.values())
def test_the_programs_of_the_stages_are_there(module: str) -> None:
    assert callable(importlib.import_module(module).main)


def test_the_reference_run_is_of_36_million_parameters() -> None:
    model = load_config(ROOT / "benchmarks" / "recipes" / "reference_run" / "L4.yaml").model
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
