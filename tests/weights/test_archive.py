"""Archives become a folder whole, or nothing."""

from __future__ import annotations

import errno
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from slm_eval.base.errors import SlmEvalError
from slm_eval.base.files import cache_folder
from slm_eval.weights import acquire
from slm_eval.weights import locate as weights
from slm_eval.weights.archive import unpack
from tests.weights.archives import GOOD, LAYOUT, Member, archive_of, member
from tests.weights.publisher import Publisher, Register, nothing_taken, one_line

EVIL = {
    "traversal": (member("../escaped", b"x"),),
    "traversal inside": (member("latest/../../escaped", b"x"),),
    "absolute": (member("/tmp/slm_eval_escaped", b"x"),),
    "windows": (member("..\\escaped", b"x"), member("C:\\escaped", b"x")),
    "symlink out": (member("latest/link", kind=tarfile.SYMTYPE, link="../.."), member("latest/link/escaped", b"x")),
    "symlink in": (member("latest/link", kind=tarfile.SYMTYPE, link="model.pt"),),
    "hardlink out": (member("latest/link", kind=tarfile.LNKTYPE, link="../../toy.json"),),
    "device": (member("latest/null", kind=tarfile.CHRTYPE),),
    "block device": (member("latest/disk", kind=tarfile.BLKTYPE),),
    "fifo": (member("latest/pipe", kind=tarfile.FIFOTYPE),),
    "twice": (member("latest/model.pt", b"other"),),
}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_becomes_the_set(publisher: Publisher, register: Register, mode: str) -> None:
    path = register("latest.tar.gz", archive=True, layouts=LAYOUT)
    publisher.files["/latest.tar.gz"] = archive_of(*GOOD, mode=mode)
    assert weights.locate("toy") == path
    assert (path / "inventory" / "a.txt").read_text() == "a"
    assert [file.name for file in path.parent.iterdir()] == ["folder"]  # neither the archive nor a temporary folder


@pytest.mark.parametrize("kind", EVIL)
def test_an_archive_that_escapes_is_refused_whole(publisher: Publisher, register: Register, kind: str) -> None:
    path = register("latest.tar.gz", archive=True, layouts=LAYOUT)
    publisher.files["/latest.tar.gz"] = archive_of(*GOOD, *EVIL[kind])
    with pytest.raises(SlmEvalError) as error:
        weights.locate("toy")
    assert "the archive latest.tar.gz was refused: its member" in one_line(error)
    assert list(path.parent.iterdir()) == []
    assert not list(cache_folder().rglob("*escaped*"))
    assert not Path("/tmp/slm_eval_escaped").exists()


@pytest.mark.parametrize("cut", [20, 60, -12])
def test_a_cut_archive_is_one_line(publisher: Publisher, register: Register, cut: int) -> None:
    path = register("latest.tar.gz", archive=True, layouts=LAYOUT)
    publisher.files["/latest.tar.gz"] = archive_of(*GOOD)[:cut]
    with pytest.raises(SlmEvalError, match="damaged or cut"):
        weights.locate("toy")
    assert nothing_taken(path)


@pytest.mark.parametrize("mode", ["gz", "bz2", "xz"])
def test_a_flipped_bit_in_an_archive_is_noticed(tmp_path: Path, mode: str) -> None:
    noise = np.random.default_rng(0).bytes(100_000)
    content = bytearray(archive_of(member("model.pt", noise), mode=f"w:{mode}"))
    content[50_000] ^= 1
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(SlmEvalError, match="damaged or cut"):
        unpack(tmp_path / "a.tar", tmp_path / "out", 1_000_000)


@pytest.mark.parametrize("members", [GOOD[:1], (*GOOD, member("b/model.pt", b"b"), member("b/inventory/b", b"b"))])
def test_an_archive_without_the_one_folder_is_refused(
    publisher: Publisher, register: Register, members: tuple[Member, ...]
) -> None:
    path = register("latest.tar.gz", archive=True, layouts=LAYOUT)
    publisher.files["/latest.tar.gz"] = archive_of(*members)
    with pytest.raises(SlmEvalError, match=r"has [02] folders with model.pt, inventory/\*, expected 1"):
        weights.locate("toy")
    assert nothing_taken(path)


def test_an_archive_that_swells_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bomb.tar.gz").write_bytes(archive_of(member("zeros", bytes(5_000_000))))
    with pytest.raises(SlmEvalError, match="more than 10000 files or 1 MB"):
        unpack(tmp_path / "bomb.tar.gz", tmp_path / "out", 1_000_000)


def test_no_space_to_unpack_is_one_line_and_leaves_nothing(
    publisher: Publisher, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = register("latest.tar.gz", archive=True, layouts=LAYOUT)
    publisher.files["/latest.tar.gz"] = archive_of(*GOOD)

    def full(archive: Path, folder: Path, max_bytes: int) -> None:
        unpack(archive, folder, max_bytes)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(acquire, "unpack", full)
    with pytest.raises(SlmEvalError, match="no space is left there"):
        weights.locate("toy")
    assert list(path.parent.iterdir()) == []


def test_an_archive_of_very_many_files_is_refused_before_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "many.tar").write_bytes(
        archive_of(*[member(f"{number:05d}", b"") for number in range(10_001)], mode="w")
    )
    with pytest.raises(SlmEvalError, match="more than 10000 files"):
        unpack(tmp_path / "many.tar", tmp_path / "out", 1_000_000)


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_name_of_many_megabytes_is_not_read(kind: int, tmp_path: Path) -> None:
    import tracemalloc

    with tarfile.open(tmp_path / "name.tar.gz", "w:gz", format=kind, compresslevel=1) as tar:
        tar.addfile(tarfile.TarInfo("a" * 40_000_000))
    tracemalloc.start()
    with pytest.raises(SlmEvalError, match="a member's header has 400"):
        unpack(tmp_path / "name.tar.gz", tmp_path / "out", 1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize("name", ["a" * 1025, "a/" * 40 + "b"])
def test_a_name_that_no_file_can_have_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(archive_of(member(name, b"x"), mode="w"))
    with pytest.raises(SlmEvalError, match="has a name that is too long"):
        unpack(tmp_path / "a.tar", tmp_path / "out", 1_000_000)


def test_headers_that_announce_headers_without_end_are_refused(tmp_path: Path) -> None:
    """Each long name announces another: tarfile calls itself for every one of them."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2
    block = info.tobuf(tarfile.GNU_FORMAT) + b"a\0".ljust(512, b"\0")
    (tmp_path / "a.tar").write_bytes(block * 5_000)
    with pytest.raises(SlmEvalError, match="is damaged or cut"):
        unpack(tmp_path / "a.tar", tmp_path / "out", 1_000_000)


def test_permissions_of_an_archive_are_not_taken_over(tmp_path: Path) -> None:
    info, content = member("run", b"x")
    info.mode = 0o6777
    (tmp_path / "a.tar").write_bytes(archive_of((info, content), mode="w"))
    unpack(tmp_path / "a.tar", tmp_path / "out", 1000)
    assert (tmp_path / "out" / "run").stat().st_mode & 0o7111 == 0
