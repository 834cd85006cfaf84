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
from slm_eval.base.files import replacing, require_writable, write_whole

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


def test_what_a_library_writes_by_name_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "made" / "[a] weights.bin"
    for content in (b"old", b"new"):
        with replacing(path) as partial:
            assert (partial.name, partial.exists()) == (path.name, False)
            partial.write_bytes(content)
            assert not path.exists() or path.read_bytes() == b"old"
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_nothing_takes_its_place_where_the_library_fails(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"

    def fail() -> None:
        with replacing(path) as partial:
            partial.write_bytes(b"half")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fail()
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="stopped"):
        fail()
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("weights.bin", b"old")]


@pytest.mark.skipif(sys.platform == "win32", reason="knows no such permissions")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        with replacing(tmp_path / "weights.bin") as partial:
            partial.touch(mode=0o400)
        write_whole(tmp_path / "summary.json", ["{}"])
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {mode}


def test_names_and_folders_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="File name too long; choose another --output"):
        require_writable(tmp_path / ("a" * 300))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(UsageError, match=r"cannot write .*/a: .* cannot be written; choose another --output"):
        require_writable(tmp_path / "a")
