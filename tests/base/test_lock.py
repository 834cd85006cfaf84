"""One process at a time, and a process that dies leaves no lock behind."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from slm_eval.base.lock import exclusive

_HOLDER = """
import sys
from pathlib import Path
from slm_eval.base.lock import exclusive
with exclusive(Path(sys.argv[1]), lambda: None):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(path: Path) -> subprocess.Popen[str]:
    """Return a process that holds the lock until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_told_once_and_waits(tmp_path: Path) -> None:
    path = tmp_path / "made" / "x.lock"
    with holder(path) as process:
        told = []

        def on_wait() -> None:
            told.append(process.poll())
            assert process.stdin is not None
            process.stdin.close()

        with exclusive(path, on_wait):
            assert process.wait(20) == 0
    assert told == [None]  # it was running when we were told
    assert path.exists()  # a third process may wait for this very file


def test_waiting_may_be_refused(tmp_path: Path) -> None:
    def refuse() -> None:
        raise LookupError

    with exclusive(tmp_path / "x.lock", lambda: None):
        with pytest.raises(LookupError), exclusive(tmp_path / "x.lock", refuse):
            pytest.fail("two hold it")
        with pytest.raises(LookupError), exclusive(tmp_path / "x.lock", refuse):
            pytest.fail("the refused one took it away")
    with exclusive(tmp_path / "x.lock", refuse):
        pass


def test_a_killed_holder_leaves_it_free(tmp_path: Path) -> None:
    with holder(tmp_path / "x.lock") as process:
        process.kill()
    with exclusive(tmp_path / "x.lock", lambda: pytest.fail("nobody holds it")):
        pass


def test_a_file_system_without_locks_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that is a mere file would stay after a kill."""

    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="not implemented"), exclusive(tmp_path / "x.lock", lambda: None):
        pytest.fail("nothing was locked")
