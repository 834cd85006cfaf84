"""Weights: only whole and right ones are ever taken, whatever the network, the disk or an archive does.

The publisher is a local HTTP server that can cut, lie and dawdle.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.server
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.files import cache_folder
from slm_eval.weights import acquire, download, hub, ledger
from slm_eval.weights import locate as weights
from slm_eval.weights.archive import unpack
from slm_eval.weights.download import Remote
from slm_eval.weights.sources import SETS, Hub, Web, WeightSet
from tests.conftest import SHARED

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Publisher:
    """A server, how it misbehaves, and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    etag: str | None = '"v1"'
    ranges: bool = True  # honours Range
    cut_after: list[int] = field(default_factory=list)  # bytes of the body of each answer before the line is cut
    status: list[int] = field(default_factory=list)  # of the first answers, instead of content
    redirect: str | None = None
    announce_size: bool = True
    seconds_per_block: float = 0.0
    asked: list[dict[str, str]] = field(default_factory=list)  # headers of each request

    @property
    def resumed_from(self) -> list[str | None]:
        return [each.get("Range") for each in self.asked]


def _handler(publisher: Publisher) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            publisher.asked.append(dict(self.headers))
            content = publisher.files.get(self.path)
            if publisher.redirect:
                return self._answer(302, {"Location": publisher.redirect})
            if publisher.status:
                return self._answer(publisher.status.pop(0), {})
            if content is None:
                return self._answer(404, {})
            return self._send(content)

        def _send(self, content: bytes) -> None:
            headers = {"ETag": publisher.etag} if publisher.etag else {}
            start = 0
            same = self.headers.get("If-Range") in {None, publisher.etag}
            if publisher.ranges and "Range" in self.headers and same:
                start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    return self._answer(416, {"Content-Range": f"bytes */{len(content)}"})
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            if publisher.announce_size:
                headers["Content-Length"] = str(len(content) - start)
            self._answer(206 if start else 200, headers)
            body = content[start:]
            if publisher.cut_after:
                body = body[: publisher.cut_after.pop(0)]
            with contextlib.suppress(ConnectionError):  # who asked has gone
                for at in range(0, len(body), 1 << 16):
                    self.wfile.write(body[at : at + (1 << 16)])
                    time.sleep(publisher.seconds_per_block)
            return None

        def _answer(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    """The server; the network may be used, and attempts follow each other at once."""
    for variable in ("SLM_EVAL_OFFLINE", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.001)
    publisher = Publisher(files={"/set.bin": CONTENT})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(publisher))
    server.daemon_threads = True
    publisher.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield publisher
    server.shutdown()
    thread.join()
    server.server_close()


Register = Callable[..., Path]


@pytest.fixture
def register(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> Register:
    """register(file, archive=False, layouts=(), **fields of Remote): the set "toy", and where it will lie."""

    def add(file: str = "set.bin", archive: bool = False, layouts: tuple = (), **known: object) -> Path:
        remote = Remote(f"{publisher.url}/{file}", ("127.0.0.1",), **known)  # type: ignore[arg-type]
        path = "toy/folder" if archive else "toy/set.bin"
        monkeypatch.setitem(SETS, "toy", WeightSet("tests", "CC0", Web(remote, archive), path, layouts))
        return cache_folder() / "weights" / path

    return add


def nothing_taken(path: Path) -> bool:
    """No file of the final name; parts and locks may be there."""
    return not path.exists()


def one_line(error: pytest.ExceptionInfo[SlmEvalError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


# --- downloading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [{}, {"sha256": SHA256, "size": len(CONTENT)}, {"sha256": SHA256}])
def test_downloads_once_and_then_uses_what_is_there(publisher: Publisher, register: Register, known: dict) -> None:
    path = register(**known)
    assert weights.missing("toy") is None
    assert weights.at_hand("toy") is None
    assert publisher.asked == []  # neither asks the network
    assert weights.locate("toy") == path == weights.at_hand("toy")
    assert path.read_bytes() == CONTENT
    assert weights.locate("toy") == path
    assert weights.digest("toy") == SHA256
    assert len(publisher.asked) == 1
    assert [each.name for each in path.parent.iterdir()] == ["set.bin"]  # no part is left


@pytest.mark.parametrize("known", [{}, {"sha256": SHA256}])
def test_resumes_where_the_connection_was_cut(publisher: Publisher, register: Register, known: dict) -> None:
    publisher.cut_after = [300_000, 200_000]
    assert weights.locate(register(**known) and "toy").read_bytes() == CONTENT
    assert publisher.resumed_from == [None, "bytes=300000-", "bytes=500000-"]


def test_resumes_in_a_later_process_after_giving_up(publisher: Publisher, register: Register) -> None:
    path = register()
    publisher.cut_after = [400_000]
    publisher.status = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "ATTEMPTS", 0)
        with pytest.raises(SlmEvalError) as error:
            weights.locate("toy")
    assert "0.4 MB are kept and the same command continues" in one_line(error)
    assert nothing_taken(path)
    weights.locate("toy")
    assert path.read_bytes() == CONTENT
    assert publisher.resumed_from == [None, "bytes=400000-"]


def test_starts_over_when_the_file_was_published_anew(publisher: Publisher, register: Register) -> None:
    path = register()
    path.parent.mkdir(parents=True)
    path.with_name("set.bin.part").write_bytes(b"old" * 1000)
    path.with_name("set.bin.part.etag").write_text('"v0"')
    assert weights.locate("toy").read_bytes() == CONTENT
    assert publisher.asked[0]["If-Range"] == '"v0"'


@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
def test_without_a_strong_etag_or_digest_nothing_is_joined(
    publisher: Publisher, register: Register, etag: str | None
) -> None:
    publisher.etag, publisher.cut_after = etag, [300_000]
    assert weights.locate(register() and "toy").read_bytes() == CONTENT
    assert publisher.resumed_from == [None, None]


def test_a_server_without_ranges_is_asked_anew(publisher: Publisher, register: Register) -> None:
    publisher.ranges, publisher.cut_after = False, [300_000]
    assert weights.locate(register() and "toy").read_bytes() == CONTENT


def test_a_part_that_is_whole_already_is_taken(publisher: Publisher, register: Register) -> None:
    path = register(sha256=SHA256)
    path.parent.mkdir(parents=True)
    path.with_name("set.bin.part").write_bytes(CONTENT)
    assert weights.locate("toy").read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(publisher: Publisher, register: Register) -> None:
    publisher.status = [503, 429]
    assert weights.locate(register() and "toy").read_bytes() == CONTENT
    assert len(publisher.asked) == 3


@pytest.mark.parametrize(
    ("trouble", "known", "says"),
    [
        ({"status": [404]}, {}, "is not there any more (HTTP 404)"),
        ({"status": [403]}, {}, "was refused (HTTP 403"),
        ({"status": [500] * 9}, {}, "HTTP 500"),
        ({"cut_after": [0] * 9}, {}, "the connection ended after 0 of 1048576 bytes"),
        ({"redirect": "http://localhost/set.bin"}, {}, "leads to http://localhost, which is not its publisher"),
        ({"redirect": "ftp://127.0.0.1/set.bin"}, {}, "refused"),
        ({"redirect": "file:///etc/passwd"}, {}, "refused"),
        ({"announce_size": False}, {}, "does not say how long the file is"),
        ({}, {"size": 17}, "has 1048576 bytes, expected 17"),
        ({}, {"max_size": 1000}, "has 1048576 bytes, expected at most 1000"),
        ({"announce_size": False}, {"sha256": SHA256, "max_size": 1000}, "sends more than the 1000 bytes"),
        ({"announce_size": False, "cut_after": [9]}, {"sha256": SHA256}, "gave 9 bytes with SHA-256"),
    ],
)
def test_what_cannot_be_right_is_refused_in_one_line(
    publisher: Publisher, register: Register, trouble: dict, known: dict, says: str
) -> None:
    path = register(**known)
    for name, value in trouble.items():
        setattr(publisher, name, value)
    with pytest.raises(SlmEvalError) as error:
        weights.locate("toy")
    assert says in one_line(error)
    assert nothing_taken(path)


def test_from_https_never_down_to_http() -> None:
    remote = Remote("https://github.com/a", ("github.com",))
    download._check_url(remote, "https://objects.github.com/a")
    for url in ("http://github.com/a", "https://github.com.evil.org/a", "https://evilgithub.com/a"):
        with pytest.raises(SlmEvalError, match="refused"):
            download._check_url(remote, url)


def test_no_server_is_one_line(publisher: Publisher, register: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    register()
    remote = Remote("http://127.0.0.1:9/set.bin", ("127.0.0.1",))
    monkeypatch.setitem(SETS, "toy", WeightSet("tests", "CC0", Web(remote), "toy/set.bin"))
    with pytest.raises(SlmEvalError) as error:
        weights.locate("toy")
    assert "Connection refused" in one_line(error)


def test_no_name_resolution_is_one_line_at_once(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = Remote("http://no-such-host.invalid/set.bin", ("no-such-host.invalid",))
    monkeypatch.setitem(SETS, "toy", WeightSet("tests", "CC0", Web(remote), "toy/set.bin"))
    with pytest.raises(SlmEvalError) as error:
        weights.locate("toy")
    assert "cannot reach no-such-host.invalid" in one_line(error)


def test_wrong_digest_names_both_and_keeps_nothing(publisher: Publisher, register: Register) -> None:
    path = register(sha256="0" * 64)
    with pytest.raises(SlmEvalError) as error:
        weights.locate("toy")
    assert SHA256 in one_line(error)
    assert "0" * 64 in one_line(error)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("when", ["before", "while"])
def test_no_space_is_one_line(
    publisher: Publisher, register: Register, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    path = register()
    if when == "before":
        usage = type("Usage", (), {"free": 1000})
        monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    else:

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(download.os, "fsync", full)
    with pytest.raises(SlmEvalError) as error:
        weights.locate("toy")
    assert "no space is left there; free some, or set SLM_EVAL_CACHE" in one_line(error)
    assert nothing_taken(path)


def test_ctrl_c_keeps_the_part_and_takes_nothing(
    publisher: Publisher, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = register()
    read, blocks = download._read, []

    def interrupted(response: object) -> bytes:
        if len(blocks) == 2:
            raise KeyboardInterrupt
        blocks.append(read(response))  # type: ignore[arg-type]
        return blocks[-1]

    with monkeypatch.context() as patch:
        patch.setattr(download, "_read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            weights.locate("toy")
    assert nothing_taken(path)
    kept = path.with_name("set.bin.part").stat().st_size
    assert kept == sum(map(len, blocks)) > 0
    assert weights.locate("toy").read_bytes() == CONTENT
    assert publisher.resumed_from[-1] == f"bytes={kept}-"


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


# --- offline ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["SLM_EVAL_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_says_what_to_do_and_asks_nobody(
    publisher: Publisher, register: Register, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    path = register()
    monkeypatch.setenv(variable, "1")
    line = weights.missing("toy")
    assert line is not None
    assert f"unset {variable} and run `slm-eval download toy`, or put the file at {path}" in line
    with pytest.raises(SlmEvalError, match="the weights toy are missing"):
        weights.locate("toy")
    assert publisher.asked == []
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert weights.missing("toy") is None
    assert weights.digest("toy") == SHA256


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    for function in (weights.locate, weights.missing, weights.digest, weights.at_hand, lambda n: weights.download([n])):
        with pytest.raises(UsageError, match="did you mean 'nisqa'"):
            function("nisqua")


@pytest.mark.parametrize("name", list(SETS))
def test_offline_every_set_is_found_or_says_how_to_get_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(cache_folder() / "hf"))
    path, line = weights.at_hand(name), weights.missing(name)
    assert (path is None) == (line is not None)
    if line is not None:
        assert "\n" not in line
        assert f"slm-eval download {name}" in line or "pip install" in line


# --- what lies on the disk is checked ---------------------------------------------------------------------------------


def test_a_wrong_file_names_both_digests_and_what_to_delete(register: Register) -> None:
    path = register(sha256=SHA256)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(SlmEvalError) as error:
        weights.locate("toy")
    found = hashlib.sha256(CONTENT[:-1]).hexdigest()
    assert one_line(error) == weights.missing("toy")
    for part in (found, SHA256, f"delete {path} and run `slm-eval download toy`"):
        assert part in one_line(error)
    path.unlink()
    assert weights.locate("toy").read_bytes() == CONTENT  # nothing of the wrong one was recorded


def test_the_first_digest_is_recorded_and_enforced(register: Register) -> None:
    path = register()
    weights.locate("toy")
    record = cache_folder() / "weights" / "toy.json"
    assert json.loads(record.read_text())["sha256"] == SHA256
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(SlmEvalError, match=f"if that is meant delete {record}") as error:
        weights.locate("toy")
    assert SHA256 in one_line(error)
    record.unlink()
    assert weights.digest("toy") == hashlib.sha256(CONTENT[::-1]).hexdigest()


def test_an_unchanged_file_is_read_once_a_changed_one_again(
    register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = register()
    weights.locate("toy")
    read: list[Path] = []
    real = ledger.file_digest
    monkeypatch.setattr(ledger, "file_digest", lambda path: read.append(path) or real(path))
    weights.locate("toy")
    assert read == []
    # Same size, same modification time: the time of the last status change tells.
    status = path.stat()
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(SlmEvalError, match="has changed since it was first used"):
        weights.locate("toy")
    assert read == [path]


def test_read_only_weights_are_used_without_a_record(register: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    path = register()
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)

    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(ledger.tempfile, "mkstemp", refuse)
    assert weights.locate("toy") == path
    assert weights.digest("toy") == SHA256
    assert [each.name for each in path.parent.parent.iterdir()] == ["toy"]


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_damaged_record_fails_closed(register: Register, text: str) -> None:
    register()
    weights.locate("toy")
    record = cache_folder() / "weights" / "toy.json"
    record.write_text(text)
    with pytest.raises(SlmEvalError, match=f"{record} cannot be read .*delete it"):
        weights.locate("toy")


def test_a_folder_is_identified_by_the_files_that_belong_to_it(tmp_path: Path) -> None:
    folder = tmp_path / "uni2005"
    for name in ("model.pt", "am_config.json", "pm_config.json", "lm_config.json", "phone.txt", "inventory/eng.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    before = weights.digest_at("allosaurus", folder)
    (folder / "notes.txt").write_text("not part of the set")
    assert weights.digest_at("allosaurus", folder) == before
    (folder / "inventory" / "deu.txt").write_text("a")
    assert weights.digest_at("allosaurus", folder) != before
    (folder / "phone.txt").unlink()
    with pytest.raises(SlmEvalError, match=r"lacks phone\.txt; add them"):
        weights.digest_at("allosaurus", folder)


def test_an_incomplete_folder_names_what_it_lacks() -> None:
    folder = cache_folder() / "weights" / "audiobox"
    folder.mkdir(parents=True)
    assert weights.at_hand("audiobox") is None  # empty: as good as none
    (folder / "config.json").write_text("{}")
    line = weights.missing("audiobox")
    assert line is not None
    assert f"{folder} is not a complete set of the weights audiobox: it lacks model.safetensors" in line
    (folder / "checkpoint.pt").write_bytes(b"x")
    assert weights.locate("audiobox") == folder
    assert weights.digest("audiobox") == hashlib.sha256(b"x").hexdigest()


# --- archives ---------------------------------------------------------------------------------------------------------

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content)
    return info, content


def archive_of(*members: Member, mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


GOOD = (member("latest/model.pt", b"model"), member("latest/inventory/a.txt", b"a"))
LAYOUT = (("model.pt", "inventory/*"),)
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
    assert [each.name for each in path.parent.iterdir()] == ["folder"]  # neither the archive nor a temporary folder


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
    (tmp_path / "many.tar").write_bytes(archive_of(*[member(f"{at:05d}", b"") for at in range(10_001)], mode="w"))
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


# --- the Hugging Face hub ---------------------------------------------------------------------------------------------


@pytest.fixture
def toy_hub(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set "toy" of a hub repository, fetched without the hub's client; where it will lie."""

    class LocalHub(Hub):
        def remote(self, file: str) -> Remote:
            return Remote(f"{publisher.url}/{file}", ("127.0.0.1",))

    layouts = (("model.safetensors", "config.json"), ("checkpoint.pt",))
    weight_set = WeightSet("tests", "CC0", LocalHub("owner/toy"), "toy", layouts, optional=("extra.json",))
    monkeypatch.setitem(SETS, "toy", weight_set)
    monkeypatch.setenv("HF_HOME", str(cache_folder() / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setattr(hub, "client_installed", lambda: False)
    return cache_folder() / "weights" / "toy"


@pytest.mark.parametrize(
    ("published", "taken"),
    [
        (["model.safetensors", "config.json"], ["config.json", "model.safetensors"]),
        (["model.safetensors", "config.json", "extra.json"], ["config.json", "extra.json", "model.safetensors"]),
        (["checkpoint.pt"], ["checkpoint.pt"]),
    ],
)
def test_hub_files_come_all_or_none(
    publisher: Publisher, toy_hub: Path, published: list[str], taken: list[str]
) -> None:
    publisher.files = {f"/{each}": each.encode() for each in published}
    assert weights.locate("toy") == toy_hub
    assert sorted(each.name for each in toy_hub.iterdir()) == taken


def test_a_hub_download_that_stops_between_files_takes_nothing(publisher: Publisher, toy_hub: Path) -> None:
    publisher.files = {"/model.safetensors": CONTENT, "/config.json": b"{}"}
    publisher.cut_after = [len(CONTENT), *[0] * 9]
    with pytest.raises(SlmEvalError, match="failed"):
        weights.locate("toy")
    assert nothing_taken(toy_hub)
    publisher.cut_after, asked = [], len(publisher.asked)
    weights.locate("toy")
    assert len(publisher.asked) == asked + 2  # the optional file, and what was still lacking


def test_a_hub_repository_without_the_files_is_one_line(publisher: Publisher, toy_hub: Path) -> None:
    with pytest.raises(SlmEvalError) as error:
        weights.locate("toy")
    assert "has no model.safetensors, config.json or checkpoint.pt any more" in one_line(error)


def test_the_hub_cache_is_used_where_it_has_the_set(toy_hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLM_EVAL_OFFLINE", "1")
    repository = cache_folder() / "hf" / "hub" / "models--owner--toy"
    snapshot = repository / "snapshots" / "abc"
    for path, text in ((repository / "refs" / "main", "abc"), (snapshot / "config.json", "{}")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    assert weights.at_hand("toy") is None  # not all of it
    (snapshot / "model.safetensors").write_text("x")
    assert weights.locate("toy") == snapshot
    weights.digest("toy")
    (snapshot / "model.safetensors").write_text("y")
    with pytest.raises(SlmEvalError, match="has changed since it was first used"):
        weights.locate("toy")


def test_the_hub_client_is_used_where_it_is_installed(toy_hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    snapshot = cache_folder() / "hf" / "hub" / "models--owner--toy" / "snapshots" / "abc"

    def fake(repo: str, file: str) -> str:
        if file == "extra.json":
            raise huggingface_hub.errors.EntryNotFoundError("no such entry")
        snapshot.mkdir(parents=True, exist_ok=True)
        (snapshot.parent.parent / "refs").mkdir(exist_ok=True)
        (snapshot.parent.parent / "refs" / "main").write_text("abc")
        (snapshot / file).write_text(repo)
        return str(snapshot / file)

    monkeypatch.setattr(hub, "client_installed", lambda: True)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fake)
    assert weights.locate("toy") == snapshot


def test_errors_of_the_hub_client_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")

    def fail(repo: str, file: str) -> str:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(SlmEvalError, match=r"huggingface.co/owner/toy failed \(first line\)") as error:
        hub.fetch_file("owner/toy", "config.json")
    one_line(error)


# --- packages, listing, downloading by name ---------------------------------------------------------------------------


def test_sets_that_come_in_packages_are_found_and_verified() -> None:
    for name, file in (("dnsmos", "dnsmos_models/model_v8.onnx"), ("pocketsphinx", "model/en-us/en-us/mdef")):
        assert (weights.locate(name) / file).is_file()
        assert len(weights.digest(name)) == 64


def test_a_package_with_other_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SETS["dnsmos"].source.digests, "dnsmos_models/model_v8.onnx", "0" * 64)  # type: ignore[union-attr]
    line = weights.missing("dnsmos")
    assert line is not None
    assert "is not the published file" in line
    assert "pip install --force-reinstall speechmos" in line


def test_the_listing_names_every_set_with_its_licence(publisher: Publisher, register: Register) -> None:
    path = register()
    rows = {row.name: row for row in weights.listing()}
    assert list(rows) == list(SETS)
    assert all(row.licence for row in rows.values())
    assert rows["toy"].found == f"not here yet: slm-eval download toy ({publisher.url}/set.bin)"
    assert publisher.asked == []
    weights.locate("toy")
    assert {row.name: row for row in weights.listing()}["toy"].found == str(path)


def test_one_failing_download_does_not_stop_the_others(register: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    path = register()
    monkeypatch.setattr(weights, "SETS", {"toy": SETS["toy"], "bad": WeightSet("t", "CC0", Web(_NOWHERE), "bad")})
    bad, toy = weights.download(["bad", "toy", "bad"])
    assert (toy.path, toy.problem, toy.licence) == (path, None, "CC0")
    assert bad.path is None
    assert "cannot reach" in str(bad.problem)


_NOWHERE = Remote("http://no-such-host.invalid/x", ("no-such-host.invalid",))


def test_without_names_the_sets_of_the_paper_are_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(cache_folder() / "hf"))
    names = [outcome.name for outcome in weights.download()]
    assert names == ["nisqa", "nisqa_tts", "allosaurus", "audiobox", "dnsmos", "pocketsphinx"]


def test_importing_weights_is_light() -> None:
    heavy = {"torch", "requests", "huggingface_hub"}
    code = f"import sys, slm_eval.weights.locate; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


# --- checkpoints ------------------------------------------------------------------------------------------------------


class _Evil:
    """Makes a folder when it is unpickled by a reader that runs code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_tensors_and_plain_values_are_read(tmp_path: Path) -> None:
    import torch

    torch.save({"w": torch.arange(3), "args": {"sr": 48_000, "name": "x"}}, tmp_path / "a.tar")
    content = weights.load_tensors(tmp_path / "a.tar")
    assert content["w"].tolist() == [0, 1, 2]
    assert content["args"] == {"sr": 48_000, "name": "x"}


@pytest.mark.parametrize("writer", ["zip", "legacy", "pickle", "pickle0", "module"])
def test_a_checkpoint_that_holds_code_is_refused_and_not_run(tmp_path: Path, writer: str) -> None:
    import torch

    path, proof = tmp_path / "evil.pt", tmp_path / "was_run"
    content = {"w": _Evil(proof)}
    if writer.startswith("pickle"):
        path.write_bytes(pickle.dumps(content, 0 if writer == "pickle0" else None))
    elif writer == "module":
        torch.save(torch.nn.Linear(2, 2), path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=writer == "zip")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Protocol 0 is nothing that torch ever wrote, and fails before the code in it is named.
        says = "no checkpoint" if writer == "pickle0" else "holds more than tensors; refused"
        with pytest.raises(SlmEvalError, match=says) as error:
            weights.load_tensors(path)
    assert str(path) in one_line(error)
    assert not proof.exists()


def test_the_old_tar_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old.pt").write_bytes(archive_of(member("storages", b"x"), mode="w"))
    with pytest.raises(SlmEvalError, match=r"tar format of before 2018"):
        weights.load_tensors(tmp_path / "old.pt")


def test_damaged_checkpoints_are_one_line(tmp_path: Path) -> None:
    import torch

    torch.save({"w": torch.zeros(10_000)}, tmp_path / "zip.pt")
    torch.save({"w": torch.zeros(10_000)}, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    damaged = {"empty.pt": b"", "text.pt": b"<html>404</html>", "x.safetensors": b"\x08"}
    damaged |= {f"{cut}{name}": content[:cut] for name, content in whole.items() for cut in (1, 50, 400, 20_000)}
    for name, content in damaged.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(SlmEvalError, match="delete it and get it again") as error:
            weights.load_tensors(path)
        one_line(error)


def test_scribbled_checkpoints_raise_nothing_else(tmp_path: Path) -> None:
    import torch

    rng, path = np.random.default_rng(0), tmp_path / "model.pt"
    for zipped in (True, False):
        torch.save({"w": torch.zeros(20), "a": {"b": [1, "x"]}}, path, _use_new_zipfile_serialization=zipped)
        whole = path.read_bytes()
        for at, value in zip(rng.integers(0, min(len(whole), 1000), 300), rng.integers(0, 256, 300), strict=True):
            path.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
            with contextlib.suppress(SlmEvalError):
                weights.load_tensors(path)


def test_a_checkpoint_that_is_missing_or_no_dictionary_is_one_line(tmp_path: Path) -> None:
    import torch

    with pytest.raises(SlmEvalError, match="is missing"):
        weights.load_tensors(tmp_path / "none.pt")
    torch.save(torch.zeros(1), tmp_path / "tensor.pt")
    with pytest.raises(SlmEvalError, match="holds a Tensor, expected a dictionary"):
        weights.load_tensors(tmp_path / "tensor.pt")


def test_safetensors_are_read(tmp_path: Path) -> None:
    import torch

    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file({"w": torch.arange(3)}, tmp_path / "model.safetensors")
    assert weights.load_tensors(tmp_path / "model.safetensors")["w"].tolist() == [0, 1, 2]


# --- the real ones ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nisqa", "nisqa_tts"])
def test_the_published_nisqa_weights_are_accepted(name: str) -> None:
    published = SHARED / "weights" / "nisqa" / f"{name}.tar"
    if not published.is_file():
        pytest.skip("the published weights are not beside the repository (../shared/weights/nisqa)")
    target = cache_folder() / "weights" / "nisqa" / f"{name}.tar"
    target.parent.mkdir(parents=True)
    target.symlink_to(published)
    assert weights.missing(name) is None
    assert weights.digest_at(name, weights.locate(name)) == weights.digest(name)
    source = SETS[name].source
    assert isinstance(source, Web)
    assert source.remote.size == target.stat().st_size
    assert weights.load_tensors(target)["model_state_dict"]


def test_the_published_allosaurus_folder_unpacks_and_lacks_only_its_model(tmp_path: Path) -> None:
    archive = SHARED / "weights" / "allosaurus" / "uni2005-config-and-inventory.tar.gz"
    if not archive.is_file():
        pytest.skip("the published configuration is not beside the repository (../shared/weights/allosaurus)")
    unpack(archive, tmp_path / "out", acquire._MAX_UNPACKED)
    folder = tmp_path / "out" / "uni2005"
    assert SETS["allosaurus"].lacking(folder) == ["model.pt"]
    (folder / "model.pt").write_bytes(b"stand-in")
    files = SETS["allosaurus"].files(folder)
    assert len([each for each in files if each.startswith("inventory/")]) > 2000
    os.makedirs(cache_folder() / "weights" / "allosaurus")
    os.rename(folder, cache_folder() / "weights" / "allosaurus" / "uni2005")
    first = weights.digest("allosaurus")
    start = time.perf_counter()
    assert weights.digest("allosaurus") == first
    assert time.perf_counter() - start < 1.0  # 2,192 files are looked at, none is read
