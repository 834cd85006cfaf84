"""Download one file over HTTP: whole and right, or not at all.

What has arrived so far lies in ``<target>.part``, from which the next attempt, or the next process, continues (HTTP
Range; the ETag kept in ``<target>.part.etag`` makes sure that it continues the same file). Only a file whose size and
digest are right is moved to ``target``, in one step. The standard library's urllib does the transport: it honours
``http_proxy``, ``https_proxy``, ``no_proxy`` and ``SSL_CERT_FILE``.

One process at a time: the caller holds a lock (``base/lock.py``).
"""

from __future__ import annotations

import errno
import http.client
import os
import re
import shutil
import socket
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any

from slm_eval._version import __version__
from slm_eval.base.digests import content_digest
from slm_eval.base.errors import SlmEvalError

TIMEOUT_SECONDS = 30.0  # without a byte
ATTEMPTS = 4  # in a row without progress
PAUSE_SECONDS = 0.5  # before the second attempt; doubled each time
_BLOCK = 1 << 18
_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Remote:
    """A file that somebody publishes.

    Attributes:
        url: http or https.
        hosts: domains that the publisher serves it from; a redirect to any other is refused.
        sha256: hexadecimal, where the publisher's file is known.
        size: bytes, where known.
        max_size: bytes that are never exceeded, for a size that is not known.
    """

    url: str
    hosts: tuple[str, ...]
    sha256: str | None = None
    size: int | None = None
    max_size: int = 4_000_000_000

    @property
    def host(self) -> str:
        """Return the name of the server in ``url``."""
        return urllib.parse.urlsplit(self.url).hostname or ""


class NotPublished(SlmEvalError):
    """The server answers, and has no such file."""


class _Interrupted(Exception):
    """The connection failed or ended early; what came so far is kept, and another attempt may help."""


def fetch(remote: Remote, target: Path) -> None:
    """Download ``remote`` to ``target``; a progress bar goes to stderr.

    Raises:
        NotPublished: the server has no such file.
        SlmEvalError: no network, a cut connection, no space, a wrong size or digest; the line says what to do.
    """
    _check_url(remote, remote.url)
    part = _Part(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _receive_whole(remote, part)
        _check_digest(remote, part)
        os.replace(part.path, target)
        part.etag_path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(target, error) from error


def cannot_write(path: Path, error: OSError) -> SlmEvalError:
    """Return the error for a disk that is full, or a folder that cannot be written."""
    if error.errno in _FULL:
        advice = "no space is left there; free some, or set SLM_EVAL_CACHE to a folder with room"
    else:
        advice = f"{error.strerror or error}; set SLM_EVAL_CACHE to a folder that can be written"
    return SlmEvalError(f"cannot write {path}: {advice}")


class _Part:
    """What has arrived of a file so far."""

    def __init__(self, target: Path) -> None:
        self.name = target.name
        self.path = target.with_name(f"{target.name}.part")
        self.etag_path = target.with_name(f"{target.name}.part.etag")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def etag(self) -> str:
        return self.etag_path.read_text(encoding="utf-8") if self.etag_path.exists() else ""

    def start_over(self, etag: str = "") -> None:
        """Drop what is there. The order matters to a process that is killed: no bytes ever lie beside a wrong ETag."""
        self.path.unlink(missing_ok=True)
        self.etag_path.unlink(missing_ok=True)
        if etag:
            self.etag_path.write_text(etag, encoding="utf-8")


def _receive_whole(remote: Remote, part: _Part) -> None:
    failures = 0
    while True:
        before = part.size
        try:
            _receive(remote, part)
            return
        except _Interrupted as problem:
            failures = 0 if part.size > before else failures + 1
            if failures >= ATTEMPTS:
                kept = f"{part.size / 1e6:.1f} MB are kept and the same command continues from there; " * (
                    part.size > 0
                )
                raise SlmEvalError(
                    f"the download of {remote.url} failed ({problem}); {kept}check the network or the proxy, "
                    f"or put the file at {part.path.with_name(part.name)}"
                ) from problem
            time.sleep(PAUSE_SECONDS * 2**failures)


def _receive(remote: Remote, part: _Part) -> None:
    """Make one request, from where the part ends to the end of the file.

    Raises:
        _Interrupted: another attempt may help.
        SlmEvalError: none will.
    """
    offset = _resume_offset(remote, part)
    try:
        response = _open(remote, offset, part.etag)
    except urllib.error.HTTPError as error:
        with error:
            _refused_request(remote, part, offset, error)
        return
    except (OSError, http.client.HTTPException) as error:
        raise _connection_problem(remote, error) from error
    with response:
        start, total = _span(response, offset)
        if start not in {0, offset}:
            part.start_over()
            raise _Interrupted(f"the server answered from byte {start}, asked from {offset}")
        if start == 0:
            part.start_over(_strong_etag(response.headers))
        _check_size(remote, part, start, total, chunked=bool(response.chunked))
        _copy(remote, response, part, start, total)


def _resume_offset(remote: Remote, part: _Part) -> int:
    """Return where to continue: only if the ETag or a known digest will tell that the halves belong together."""
    return part.size if part.etag or remote.sha256 else 0


def _open(remote: Remote, offset: int, etag: str) -> http.client.HTTPResponse:
    headers = {"User-Agent": f"slm-eval/{__version__}", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if etag:
            headers["If-Range"] = etag
    opener = urllib.request.build_opener(_Redirects(remote))
    response = opener.open(urllib.request.Request(remote.url, headers=headers), timeout=TIMEOUT_SECONDS)
    assert isinstance(response, http.client.HTTPResponse)
    return response


def _refused_request(remote: Remote, part: _Part, offset: int, error: urllib.error.HTTPError) -> None:
    """Return only if the answer means that the part is whole already."""
    if error.code == 416 and offset:
        if error.headers.get("Content-Range", "").endswith(f"/{offset}"):
            return
        part.start_over()
        raise _Interrupted("the file on the server is another one now")
    if error.code in {404, 410}:
        raise NotPublished(f"{remote.url} is not there any more (HTTP {error.code}); {_by_hand(part)}")
    if error.code in {408, 429} or error.code >= 500:
        raise _Interrupted(f"HTTP {error.code} {error.reason}")
    raise SlmEvalError(f"{remote.url} was refused (HTTP {error.code} {error.reason}); {_by_hand(part)}")


def _connection_problem(remote: Remote, error: OSError | http.client.HTTPException) -> Exception:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    # A name that is not known, or a certificate that is not right, will be the same in a second.
    if isinstance(reason, socket.gaierror | ssl.SSLCertVerificationError):
        return SlmEvalError(
            f"cannot reach {remote.host} to download {remote.url} ({reason}); check the network or the proxy, "
            "or set SLM_EVAL_OFFLINE=1 to work with what is there"
        )
    return _Interrupted(str(reason) or type(reason).__name__)


def _span(response: http.client.HTTPResponse, offset: int) -> tuple[int, int | None]:
    """Return the first byte that is sent, and the size of the whole file where the server says it."""
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        if match is None:
            return -1, None
        return int(match[1]), None if match[2] == "*" else int(match[2])
    return 0, None if response.length is None else response.length


def _strong_etag(headers: Message) -> str:
    """Return a strong ETag. A weak one (W/...) may stay while bytes change: HTTP does not allow it in If-Range."""
    etag = str(headers.get("ETag", ""))
    return etag if etag.startswith('"') else ""


def _check_size(remote: Remote, part: _Part, start: int, total: int | None, chunked: bool) -> None:
    """Refuse before a byte is read what cannot be right, or cannot be stored."""
    if total is not None and (total > remote.max_size or (remote.size is not None and total != remote.size)):
        expected = f"{remote.size}" if remote.size is not None else f"at most {remote.max_size}"
        raise SlmEvalError(f"{remote.url} has {total} bytes, expected {expected}; {_by_hand(part)}")
    if total is None and not chunked and remote.size is None and remote.sha256 is None:
        raise SlmEvalError(f"{remote.url}: the server does not say how long the file is; {_by_hand(part)}")
    needed = (total or remote.size or 0) - start
    if shutil.disk_usage(part.path.parent).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _copy(remote: Remote, response: http.client.HTTPResponse, part: _Part, start: int, total: int | None) -> None:
    from tqdm import tqdm

    whole = total if total is not None else remote.size
    bar = tqdm(
        total=whole,
        initial=start,
        unit="B",
        unit_scale=True,
        desc=part.name,
        file=sys.stderr,
        leave=False,
        disable=None,
    )
    received = start
    with bar, part.path.open("ab") as file:
        while block := _read(response):
            received += len(block)
            if received > (whole if whole is not None else remote.max_size):
                raise SlmEvalError(f"{remote.url} sends more than the {whole or remote.max_size} bytes it should have")
            file.write(block)
            bar.update(len(block))
        file.flush()
        os.fsync(file.fileno())
    if whole is not None and received < whole:
        raise _Interrupted(f"the connection ended after {received} of {whole} bytes")


def _read(response: http.client.HTTPResponse) -> bytes:
    """Return a block, as soon as some of it is there: what arrived before the line was cut is not lost."""
    try:
        return response.read1(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _Interrupted(str(error) or type(error).__name__) from error


def _check_digest(remote: Remote, part: _Part) -> None:
    if remote.sha256 is None:
        return
    digest, size = content_digest(part.path), part.size
    if digest != remote.sha256:
        part.start_over()  # nothing to continue from: the next attempt begins anew
        raise SlmEvalError(
            f"{remote.url} gave {size} bytes with SHA-256 {digest}, expected {remote.sha256}: it was cut, changed on "
            f"its way, or published anew; it was thrown away, try again, or put the right file at "
            f"{part.path.with_name(part.name)}"
        )


def _by_hand(part: _Part) -> str:
    return f"get the file by other means and put it at {part.path.with_name(part.name)}"


def _check_url(remote: Remote, url: str) -> None:
    """Allow only http and https, only the publisher's hosts, and never from https down to http."""
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    known = any(host == own or host.endswith(f".{own}") for own in remote.hosts)
    allowed = {"https"} if remote.url.startswith("https:") else {"http", "https"}
    if not known or parts.scheme not in allowed:
        raise SlmEvalError(
            f"{remote.url} leads to {parts.scheme}://{host}, which is not its publisher "
            f"({', '.join(remote.hosts)}); refused"
        )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects within the publisher's hosts."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        _check_url(self._remote, newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
