"""A publisher for the tests: a local HTTP server that can cut, lie and dawdle."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from slm_eval.base.errors import SlmEvalError

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
        return [headers.get("Range") for headers in self.asked]


def handler(publisher: Publisher) -> type[http.server.BaseHTTPRequestHandler]:
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
                for begin in range(0, len(body), 1 << 16):
                    self.wfile.write(body[begin : begin + (1 << 16)])
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


Register = Callable[..., Path]


def nothing_taken(path: Path) -> bool:
    """No file of the final name; parts and locks may be there."""
    return not path.exists()


def one_line(error: pytest.ExceptionInfo[SlmEvalError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)
