"""Checkpoints are read without running what may be in them."""

from __future__ import annotations

import contextlib
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest

from slm_eval.base.errors import SlmEvalError
from slm_eval.base.tensors import load_tensors
from tests.weights.archives import archive_of, member
from tests.weights.publisher import one_line


class _Evil:
    """Makes a folder when it is unpickled by a reader that runs code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_tensors_and_plain_values_are_read(tmp_path: Path) -> None:
    import torch

    torch.save({"w": torch.arange(3), "args": {"sr": 48_000, "name": "x"}}, tmp_path / "a.tar")
    content = load_tensors(tmp_path / "a.tar")
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
        says = "got a damaged or another file" if writer == "pickle0" else "holds more than tensors; refused"
        with pytest.raises(SlmEvalError, match=says) as error:
            load_tensors(path)
    assert str(path) in one_line(error)
    assert not proof.exists()


def test_the_old_tar_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old.pt").write_bytes(archive_of(member("storages", b"x"), mode="w"))
    with pytest.raises(SlmEvalError, match=r"tar format of before 2018"):
        load_tensors(tmp_path / "old.pt")


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
            load_tensors(path)
        one_line(error)


def test_scribbled_checkpoints_raise_nothing_else(tmp_path: Path) -> None:
    import torch

    rng, path = np.random.default_rng(0), tmp_path / "model.pt"
    for zipped in (True, False):
        torch.save({"w": torch.zeros(20), "a": {"b": [1, "x"]}}, path, _use_new_zipfile_serialization=zipped)
        whole = path.read_bytes()
        for position, value in zip(rng.integers(0, min(len(whole), 1000), 300), rng.integers(0, 256, 300), strict=True):
            path.write_bytes(whole[:position] + bytes([value]) + whole[position + 1 :])
            with contextlib.suppress(SlmEvalError):
                load_tensors(path)


def test_a_checkpoint_that_is_missing_or_no_dictionary_is_one_line(tmp_path: Path) -> None:
    import torch

    with pytest.raises(SlmEvalError, match="is missing"):
        load_tensors(tmp_path / "none.pt")
    torch.save(torch.zeros(1), tmp_path / "tensor.pt")
    with pytest.raises(SlmEvalError, match="holds a Tensor, expected a dictionary"):
        load_tensors(tmp_path / "tensor.pt")


def test_safetensors_are_read(tmp_path: Path) -> None:
    import torch

    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file({"w": torch.arange(3)}, tmp_path / "model.safetensors")
    assert load_tensors(tmp_path / "model.safetensors")["w"].tolist() == [0, 1, 2]
