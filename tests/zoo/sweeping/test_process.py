"""A training in a process of its own, and how it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model_zoo.sweeping.process import run as run_process
from model_zoo.sweeping.process import train_command
from slm_eval.base import launching
from slm_eval.base.errors import SlmEvalError


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
