"""The publisher of the tests, and a weight set that lies with it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from slm_eval.base.files import cache_folder
from slm_eval.weights import download
from slm_eval.weights.download import Remote
from slm_eval.weights.sources import SETS, Web, WeightSet
from tests.weights.publisher import CONTENT, Publisher, Register, handler


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    """Yield the server; the network may be used, and attempts follow each other at once."""
    for variable in ("SLM_EVAL_OFFLINE", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.001)
    publisher = Publisher(files={"/set.bin": CONTENT})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(publisher))
    server.daemon_threads = True
    publisher.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield publisher
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def register(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> Register:
    """Return register(file, archive=False, layouts=(), **fields of Remote): the set "toy", and where it will lie."""

    def add(file: str = "set.bin", archive: bool = False, layouts: tuple = (), **known: object) -> Path:
        remote = Remote(f"{publisher.url}/{file}", ("127.0.0.1",), **known)  # type: ignore[arg-type]
        path = "toy/folder" if archive else "toy/set.bin"
        monkeypatch.setitem(SETS, "toy", WeightSet("tests", "CC0", Web(remote, archive), path, layouts))
        return cache_folder() / "weights" / path

    return add
