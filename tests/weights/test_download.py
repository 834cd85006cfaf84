"""Only whole and right files are taken, whatever the network or the disk does."""

from __future__ import annotations

import errno
import os

import pytest

from slm_eval.base.errors import SlmEvalError
from slm_eval.weights import download
from slm_eval.weights import locate as weights
from slm_eval.weights.download import Remote
from slm_eval.weights.sources import SETS, Web, WeightSet
from tests.weights.publisher import CONTENT, SHA256, Publisher, Register, nothing_taken, one_line


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
    assert [file.name for file in path.parent.iterdir()] == ["set.bin"]  # no part is left


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
