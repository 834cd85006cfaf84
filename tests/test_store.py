"""The cache: what was put comes back, whole, whoever else writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from slm_eval.errors import SlmEvalError
from slm_eval.store import Store, content_digest


def test_observations_come_back_by_content_and_fingerprint(tmp_path: Path) -> None:
    with Store(tmp_path / "new" / "o.sqlite") as store:
        store.put([("a", "f", {"phones": ["ə", "b"]}), ("b", "f", {"scores": {"x": 0.1}}), ("a", "g", {"phones": []})])
        store.put([("b", "f", {"scores": {"x": 0.2}})])
        assert store.get(["a", "b", "c"], "f") == {"a": {"phones": ["ə", "b"]}, "b": {"scores": {"x": 0.2}}}
        assert store.get(["a", "b"], "h") == {}
    with Store(tmp_path / "new" / "o.sqlite") as store:
        assert store.get(["a"], "g") == {"a": {"phones": []}}


def test_floats_come_back_to_the_last_bit(tmp_path: Path) -> None:
    value = {"scores": {"x": 0.1 + 0.2, "y": 1e-310, "z": 3.0000000000000004}}
    with Store(tmp_path / "o.sqlite") as store:
        store.put([("a", "f", value)])
        assert store.get(["a"], "f")["a"] == value


def test_many_contents_at_once(tmp_path: Path) -> None:
    with Store(tmp_path / "o.sqlite") as store:
        store.put((f"c{at}", "f", {"scores": {"x": float(at)}}) for at in range(2_500))
        assert len(store.get([f"c{at}" for at in range(3_000)], "f")) == 2_500


def test_a_batch_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def rows():
        yield "a", "f", {"scores": {"x": 1.0}}
        raise RuntimeError("stopped")

    with Store(tmp_path / "o.sqlite") as store:
        with pytest.raises(RuntimeError):
            store.put(rows())
        assert store.get(["a"], "f") == {}


WRITER = """
import sys
from pathlib import Path
from slm_eval.store import Store
with Store(Path(sys.argv[1])) as store:
    for at in range(100):
        store.put([(f"{sys.argv[2]}-{at}", f"fingerprint {at % 7}", {"scores": {"x": at}})])
"""


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in ("p", "q", "r")]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    with Store(path) as store:
        found = [
            len(store.get([f"{name}-{at}" for name in "pqr" for at in range(100)], f"fingerprint {kind}"))
            for kind in range(7)
        ]
    assert sum(found) == 300


def test_a_file_that_is_no_cache_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite"
    path.write_bytes(b"this is no database at all, but long enough to look at" * 10)
    with pytest.raises(SlmEvalError, match=r"cannot be used: .*delete it"):
        Store(path)
    with pytest.raises(SlmEvalError, match="set SLM_EVAL_CACHE"):
        Store(path / "below" / "a_file.sqlite")


def test_a_full_disk_says_so_and_keeps_what_was_there(tmp_path: Path) -> None:
    with Store(tmp_path / "o.sqlite") as store:
        store.put([("a", "f", {"scores": {"x": 1.0}})])
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(SlmEvalError, match=r"database or disk is full; free space there"):
            store.put((f"c{at}", "f", {"scores": {"x": float(at)}}) for at in range(1_000))
        assert store.get(["a", "c1"], "f") == {"a": {"scores": {"x": 1.0}}}


def test_digest_is_of_the_content_and_the_segment(tmp_path: Path) -> None:
    for name, content in (("a", b"x"), ("b", b"x"), ("c", b"y")):
        (tmp_path / name).write_bytes(content)
    # sha256sum of the one byte "x"
    known = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    assert content_digest(tmp_path / "a") == content_digest(tmp_path / "b") == known
    assert content_digest(tmp_path / "c") != known
    assert content_digest(tmp_path / "a", 0.0, 1.0) not in {known, content_digest(tmp_path / "a", 0.5, 1.0)}
