"""One training in a process of its own: ``slm-zoo train``, alone or by torchrun."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from slm_eval.base import launching
from slm_eval.base.commands import Terminated
from slm_eval.base.errors import SlmEvalError

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux' prctl
_PATIENCE = 300.0  # seconds in which a training that is asked to stop has saved what it reached


def train_command(config: Path, output: Path, processes: int = 1, device: str = "auto") -> list[str]:
    """Return the command line of a training.

    Args:
        processes: GPUs of this machine that share it, by torchrun where there are several.
    """
    chosen = [] if device == "auto" else ["--device", device]
    train = ["model_zoo.cli.main", "train", str(config), "-o", str(output), *chosen]
    if processes == 1:
        return launching.python(*train)
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return launching.python(*launcher, *launching.script(*train))


def run(command: Sequence[str], log: Path) -> None:
    """Run a command; what it says goes to the end of ``log``. When this process is stopped, it is stopped first.

    Raises:
        SlmEvalError: it failed; its last line and the log are named.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as said:
        begin = said.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env=launching.environment(),
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
        try:
            status = process.wait()
        finally:
            if process.poll() is None:
                _end(process)
    if status != 0:
        raise SlmEvalError(f"{_last_line(log, begin) or f'ended with status {status}'} (all of it: {log})")


def _end_with_parent() -> None:
    """Let the kernel send SIGTERM when a sweep is killed: its training would go on for hours, and keep its folder."""
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGTERM)


@contextmanager
def terminable() -> Iterator[None]:
    """Make SIGTERM as Ctrl-C is inside, so that what runs below is stopped in order too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask, wait, and end it."""
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_line(log: Path, begin: int) -> str | None:
    """Return the last line of what was said since ``begin``; a progress bar's last state counts as a line."""
    with log.open("rb") as said:
        said.seek(begin)
        lines = [line.strip() for line in said.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1] if lines else None
