"""What was verified is recorded, and enforced from then on."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from slm_eval.base.errors import SlmEvalError
from slm_eval.base.files import cache_folder
from slm_eval.weights import ledger
from slm_eval.weights import locate as weights
from tests.weights.publisher import CONTENT, SHA256, Register, one_line


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

    monkeypatch.setattr("slm_eval.base.files.tempfile.TemporaryDirectory", refuse)
    assert weights.locate("toy") == path
    assert weights.digest("toy") == SHA256
    assert [file.name for file in path.parent.parent.iterdir()] == ["toy"]


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
