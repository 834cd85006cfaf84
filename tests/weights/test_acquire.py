"""One process fetches a set at a time, and what a user put there serves."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from slm_eval.weights import locate as weights
from tests.weights.archives import GOOD, LAYOUT, archive_of
from tests.weights.publisher import CONTENT, SHA256, Publisher, Register, nothing_taken

_CHILD = """
import sys
from slm_eval.weights import locate as weights
from slm_eval.weights.sources import SETS, Web, WeightSet
from slm_eval.weights.download import Remote
SETS["toy"] = WeightSet("tests", "CC0", Web(Remote(sys.argv[1] + "/set.bin", ("127.0.0.1",))), "toy/set.bin")
print("ready", flush=True)
print(weights.digest("toy"))
"""


def _child(url: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _CHILD, url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_at_once_download_once(publisher: Publisher, register: Register) -> None:
    register()
    publisher.seconds_per_block = 0.1  # 1.6 s in all
    children = [_child(publisher.url) for _ in range(2)]
    results = [child.communicate(timeout=30) for child in children]
    assert [out.split()[-1] for out, _ in results] == [SHA256, SHA256]
    assert len(publisher.asked) == 1
    assert sum("another process downloads toy; waiting" in err for _, err in results) == 1


def test_a_killed_process_leaves_no_stale_lock_and_is_resumed(publisher: Publisher, register: Register) -> None:
    path = register()
    publisher.seconds_per_block = 0.1
    child = _child(publisher.url)
    part = path.with_name("set.bin.part")
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size > 0):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.kill()
    child.communicate()
    assert nothing_taken(path)
    publisher.seconds_per_block = 0.0
    assert weights.locate("toy").read_bytes() == CONTENT
    assert publisher.resumed_from[-1] is not None


def test_an_archive_put_there_by_hand_serves_offline_and_stays(
    register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = register("latest.tar.gz", archive=True, layouts=LAYOUT)
    monkeypatch.setenv("SLM_EVAL_OFFLINE", "1")
    assert weights.missing("toy") is not None
    path.parent.mkdir(parents=True)
    (path.parent / "latest.tar.gz").write_bytes(archive_of(*GOOD))
    assert weights.missing("toy") is None
    assert weights.locate("toy") == path
    assert (path.parent / "latest.tar.gz").exists()
