"""Files are written whole; what a killed process left half written goes, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slm_eval.base.errors import UsageError
from slm_eval.base.files import require_writable, write_whole

WRITER = """
import sys, time
from pathlib import Path
from slm_eval.base.files import write_whole

def parts():
    yield "half"
    print("half", flush=True)
    time.sleep(float(sys.argv[2]))
    yield " whole"

write_whole(Path(sys.argv[1]), parts())
"""


def start(path: Path, seconds: float) -> subprocess.Popen[str]:
    """Start a process that has begun to write a file, and takes its time."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, path, str(seconds)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "half\n"
    return writer


@pytest.mark.skipif(sys.platform == "win32", reason="knows no such locks")
def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "[a] summary.json"
    others = {".[a] summary.json.bak", "[a] summary.json.partial", ".other.json.x.partial", ".a summary.json.x.partial"}
    for name in others:
        (tmp_path / name).write_text("mine")
    writer = start(path, 60)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    assert len(list(tmp_path.iterdir())) == len(others) + 1
    write_whole(path, ["new"])
    assert path.read_text() == "new"
    assert {file.name for file in tmp_path.iterdir()} == {*others, path.name}


@pytest.mark.skipif(sys.platform == "win32", reason="knows no such locks")
def test_what_another_process_is_writing_stays(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    writer = start(path, 1.0)
    write_whole(path, ["new"])
    assert path.read_text() == "new"
    assert writer.wait(30) == 0
    assert path.read_text() == "half whole"
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]


def test_an_error_half_way_leaves_what_was_there(tmp_path: Path) -> None:
    def parts() -> Iterator[str]:
        yield "half"
        raise RuntimeError("stopped")

    write_whole(tmp_path / "a", ["old"])
    with pytest.raises(RuntimeError):
        write_whole(tmp_path / "a", parts())
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a", "old")]


def test_names_and_folders_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="File name too long; choose another --output"):
        require_writable(tmp_path / ("a" * 300))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(UsageError, match=r"cannot write .*/a: .* cannot be written; choose another --output"):
        require_writable(tmp_path / "a")
