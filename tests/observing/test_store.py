"""The cache: what was put comes back, whole, whoever else writes."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slm_eval.base.digests import content_digest
from slm_eval.base.errors import SlmEvalError
from slm_eval.observing.store import Store


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
        store.put((f"c{number}", "f", {"scores": {"x": float(number)}}) for number in range(2_500))
        assert len(store.get([f"c{number}" for number in range(3_000)], "f")) == 2_500


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
from slm_eval.observing.store import Store
with Store(Path(sys.argv[1])) as store:
    for at in range(100):
        store.put([(f"{sys.argv[2]}-{at}", f"fingerprint {at % 7}", {"scores": {"x": at}})])
"""


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in ("p", "q", "r")]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    with Store(path) as store:
        counts = [
            len(store.get([f"{name}-{number}" for name in "pqr" for number in range(100)], f"fingerprint {kind}"))
            for kind in range(7)
        ]
    assert sum(counts) == 300


def test_a_file_that_is_no_cache_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite"
    path.write_bytes(b"this is no database at all, but long enough to look at" * 10)
    with pytest.raises(SlmEvalError, match=r"cannot be used: file is not a database; it is damaged: delete it"):
        Store(path)
    with pytest.raises(SlmEvalError, match="set SLM_EVAL_CACHE"):
        Store(path / "below" / "a_file.sqlite")


def test_a_full_disk_says_so_and_keeps_what_was_there(tmp_path: Path) -> None:
    with Store(tmp_path / "o.sqlite") as store:
        store.put([("a", "f", {"scores": {"x": 1.0}})])
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(SlmEvalError, match=r"database or disk is full; free space there"):
            store.put((f"c{number}", "f", {"scores": {"x": float(number)}}) for number in range(1_000))
        assert store.get(["a", "c1"], "f") == {"a": {"scores": {"x": 1.0}}}


@pytest.mark.parametrize(
    "damage",
    [
        """UPDATE observations SET value = '{"scores": {"x": 3.0}}' WHERE content = 'b'""",  # one bit of '1'
        "UPDATE observations SET value = '{\"scores\"' WHERE content = 'b'",
        "UPDATE observations SET value = CAST(value AS BLOB) WHERE content = 'b'",
        "UPDATE observations SET value = CAST(x'ff22' AS TEXT) WHERE content = 'b'",
        "UPDATE observations SET value = 5 WHERE content = 'b'",
        "UPDATE observations SET checksum = NULL, value = 5 WHERE content = 'b'",
        "UPDATE observations SET checksum = (SELECT checksum FROM observations AS o WHERE o.content = 'c')"
        " WHERE content = 'b'",
        "UPDATE OR REPLACE observations SET content = 'b', fingerprint = 1 WHERE content = 'c'",
    ],
)
def test_a_damaged_row_is_not_there_and_can_be_put_again(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "o.sqlite"
    kept, other = {"scores": {"x": 1.0}}, {"scores": {"x": 2.0}}
    with Store(path) as store:
        store.put([("a", "f", kept), ("b", "f", kept), ("c", "g", other)])
    with sqlite3.connect(path) as connection:
        connection.execute(damage)
    with Store(path) as store:
        assert store.get(["a", "b"], "f") == {"a": kept}
        assert store.damaged == 1
        store.put([("b", "f", other)])
        assert store.get(["a", "b"], "f") == {"a": kept, "b": other}
        assert store.damaged == 1


OLD = """
CREATE TABLE fingerprints (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE);
CREATE TABLE observations (
    content TEXT NOT NULL, fingerprint INTEGER NOT NULL REFERENCES fingerprints (id), value TEXT NOT NULL,
    PRIMARY KEY (content, fingerprint)
) WITHOUT ROWID;
INSERT INTO fingerprints VALUES (7, 'f'), (9, 'g');
INSERT INTO observations VALUES ('a', 7, '{"phones": ["ə"]}'), ('a', 9, '{"scores": {"x": 0.1}}'), ('b', 9, '{"sco');
"""


def test_a_cache_from_before_there_were_checksums_is_kept(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "o.sqlite") as connection:
        connection.executescript(OLD)
    for _ in range(2):
        with Store(tmp_path / "o.sqlite") as store:
            assert store.get(["a", "b"], "f") == {"a": {"phones": ["ə"]}}
            assert store.get(["a", "b"], "g") == {"a": {"scores": {"x": 0.1}}}
            assert store.damaged == 1
            store.put([("c", "g", {"scores": {}})])
            assert store.get(["c"], "g") == {"c": {"scores": {}}}


def test_a_cache_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    with Store(tmp_path / "o.sqlite") as store:
        store.put([("a", "f", {})])
    with sqlite3.connect(tmp_path / "o.sqlite") as connection:
        connection.execute("PRAGMA user_version = 2")
    before = (tmp_path / "o.sqlite").read_bytes()
    with pytest.raises(SlmEvalError, match=r"is of a newer slm-eval \(its version is 2, this one knows 1\); update"):
        Store(tmp_path / "o.sqlite")
    assert (tmp_path / "o.sqlite").read_bytes() == before


@contextmanager
def unprivileged() -> Iterator[None]:
    """As a user to whom permissions apply; root may write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def shared() -> Iterator[Path]:
    """Make a folder that every user may enter, as those of pytest are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    folder.chmod(0o777)
    shutil.rmtree(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are other ones there")
@pytest.mark.parametrize(("of_file", "of_folder"), [(0o444, 0o777), (0o666, 0o555), (0o444, 0o555)])
def test_a_cache_that_can_only_be_read_is_read(shared: Path, of_file: int, of_folder: int) -> None:
    path = shared / "o.sqlite"
    with Store(path) as store:
        assert store.writable
        store.put([("a", "f", {"scores": {"x": 1.0}})])
    path.chmod(of_file)
    shared.chmod(of_folder)
    before = path.read_bytes()
    with unprivileged(), Store(path) as store:
        assert not store.writable
        store.put([("a", "f", {"scores": {"x": 2.0}}), ("b", "g", {})])
        assert store.get(["a"], "f") == {"a": {"scores": {"x": 1.0}}}
        assert store.get(["b"], "g") == {}
    assert path.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are other ones there")
def test_an_older_or_absent_cache_that_cannot_be_written_says_what_to_do(shared: Path) -> None:
    with sqlite3.connect(shared / "o.sqlite") as connection:
        connection.executescript(OLD)
    shared.chmod(0o555)
    with unprivileged():
        with pytest.raises(
            SlmEvalError, match="has to be brought up to date, but cannot be written; set SLM_EVAL_CACHE"
        ):
            Store(shared / "o.sqlite")
        with pytest.raises(SlmEvalError, match="unable to open database file; set SLM_EVAL_CACHE to a folder that can"):
            Store(shared / "another.sqlite")
        with pytest.raises(
            SlmEvalError, match="cannot be made: Permission denied; set SLM_EVAL_CACHE to a folder that"
        ):
            Store(shared / "below" / "another.sqlite")


def test_what_is_wrong_decides_what_is_advised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "o.sqlite"
    with Store(path) as store:
        store.put((f"c{number}", "f", {"scores": {"x": float(number)}}) for number in range(1_000))
    whole = path.read_bytes()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr("slm_eval.observing.store._BUSY_SECONDS", 0.1)
    with pytest.raises(SlmEvalError, match="database is locked; another run has been writing to it for 120 s: wait"):
        Store(path)
    holder.close()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SlmEvalError, match=r"malformed; it is damaged: delete it"), Store(path) as store:
        store.get([f"c{number}" for number in range(1_000)], "f")


def test_a_table_whose_name_is_no_text_is_damage(tmp_path: Path) -> None:
    """SQLite quotes it in its message, which Python then cannot decode. Found by tests/fuzz."""
    path = tmp_path / "o.sqlite"
    with Store(path) as store:
        store.put([("a", "f", {})])
    content = path.read_bytes()
    path.write_bytes(
        content.replace(b"(id INTEGER PRIMARY KEY, fingerprint", b"(id INTEGER PRIMARY KEY\xf0 fingerprint")
    )
    with pytest.raises(SlmEvalError, match="is damaged: delete it"), Store(path) as store:
        store.get(["a"], "f")


def test_digest_is_of_the_content_and_the_segment(tmp_path: Path) -> None:
    for name, content in (("a", b"x"), ("b", b"x"), ("c", b"y")):
        (tmp_path / name).write_bytes(content)
    # sha256sum of the one byte "x"
    known = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    assert content_digest(tmp_path / "a") == content_digest(tmp_path / "b") == known
    assert content_digest(tmp_path / "c") != known
    assert content_digest(tmp_path / "a", 0.0, 1.0) not in {known, content_digest(tmp_path / "a", 0.5, 1.0)}
