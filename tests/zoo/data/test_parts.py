"""Parts of recordings that were heard before a stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_zoo.data import parts
from model_zoo.data import prepare as module
from tests.zoo.data.prepared import content, make


class Stop(BaseException):
    """As Ctrl-C would."""


def test_a_damaged_part_is_heard_again(speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"

    def stop(*args: object) -> None:
        raise Stop

    monkeypatch.setattr(module, "write_shard", stop)
    with pytest.raises(Stop):
        make(speech, out)
    monkeypatch.undo()
    first, second, *_ = sorted(out.glob("parts/*.part"))
    first.write_bytes(first.read_bytes()[:-100])
    raw = bytearray(second.read_bytes())
    raw[-1000] ^= 1
    second.write_bytes(raw)
    assert parts.read_part(first) is None
    assert parts.read_part(second) is None
    make(speech, out)
    make(speech, tmp_path / "whole")
    assert content(out) == content(tmp_path / "whole")
