"""A folder of training that somebody else made: no file in it can make code run, and what is wrong is one line."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from click.testing import CliRunner, Result
from safetensors.torch import save_file

from model_zoo.cli.main import main
from model_zoo.training.ranks import Ranks
from model_zoo.training.train import Run, train
from tests.zoo.training_runs import configured, waves, written

ALONE = Ranks(0, 1, torch.device("cpu"))


class Payload:
    """What an attacker pickles: reading it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shards, the configuration and a run of 5 steps of 10."""
    folder = tmp_path_factory.mktemp("trained")
    waves(folder / "shards")
    config = configured(folder / "shards")
    written(config, folder / "config.yaml")
    run = folder / "run"
    train(config, run, "cpu")
    shutil.rmtree(run / "checkpoints" / "step-10")
    (run / "result.json").unlink()
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained / "run", tmp_path / "run")
    return tmp_path / "run"


def sign(checkpoint: Path) -> None:
    """Digests as a training writes them: an attacker can do that too."""
    files = [path for path in checkpoint.iterdir() if path.name != "digests.json" and path.is_file()]
    digests = {path.name: f"{path.stat().st_size}:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files}
    (checkpoint / "digests.json").write_text(json.dumps(digests))


def slm_zoo(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def commands(trained: Path, run: Path) -> list[list[object]]:
    """What reads checkpoints: exporting and going on."""
    going_on = ["train", trained / "config.yaml", "-o", run, "--device", "cpu"]
    return [["export", run, "-o", run / "exported.safetensors"], going_on]


# ---- checkpoints as versions before this one wrote them, by an attacker ----


def dotted_name(checkpoint: Path, marker: Path, state: dict[str, Any]) -> None:
    """A table of contents that calls exec by a name with dots, which pickle's protocol 4 resolves step by step."""

    def text(value: str) -> bytes:
        return pickle.SHORT_BINUNICODE + bytes([len(value.encode())]) + value.encode()

    def call(function: bytes, argument: str) -> bytes:
        return function + text(argument) + pickle.TUPLE1 + pickle.REDUCE

    module = text("torch.distributed.checkpoint.filesystem")
    get = module + text("FileSystemWriter.__init__.__builtins__.get") + pickle.STACK_GLOBAL
    code = f"__import__('os').mkdir({str(marker)!r})"
    (checkpoint / ".metadata").write_bytes(pickle.PROTO + b"\x04" + call(call(get, "eval"), code) + pickle.STOP)


def bytes_entry(checkpoint: Path, marker: Path, state: dict[str, Any]) -> None:
    """One key is marked as an object rather than a tensor, which DCP unpickles without limits."""
    state["model"][next(iter(state["model"]))] = Payload(marker)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(state, storage_writer=dcp.FileSystemWriter(checkpoint))


@pytest.mark.parametrize("attack", [dotted_name, bytes_entry])
def test_a_pickled_checkpoint_is_not_read(
    attack: Callable[[Path, Path, dict[str, Any]], None], trained: Path, folder: Path, tmp_path: Path
) -> None:
    marker, step = tmp_path / "code-ran", folder / "checkpoints" / "step-5"
    for path in step.iterdir():
        path.unlink()
    attack(step, marker, Run(configured(trained / "shards"), tmp_path / "fresh", ALONE).state())
    sign(step)
    for command in commands(trained, folder):
        result = slm_zoo(*command)
        assert not marker.exists()
        assert result.exit_code == 1
        assert result.output.endswith(
            f"{step} is of an older version, whose checkpoints were pickled: reading them could run code; export it "
            "with the version that wrote it, or train anew in another folder\n"
        )
        assert "Traceback" not in result.output


# ---- checkpoints of this version, by an attacker ----


def headers(rows: str) -> Callable[[Path], None]:
    def attack(path: Path) -> None:
        save_file({"model/x": torch.zeros(3)}, path, {"rows": rows})

    return attack


def pickled(path: Path) -> None:
    torch.save({"model/x": Payload(path.parent / "code-ran")}, path)


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (pickled, "is damaged or no part of a checkpoint"),
        (lambda path: path.write_bytes(pickle.dumps(Payload(path.parent / "code-ran"))), "is damaged or no part"),
        (lambda path: path.write_bytes((2**63).to_bytes(8, "little") + b"{}"), "is damaged or no part"),
        (lambda path: save_file({"x": torch.zeros(3)}, path), "its header must hold an object 'rows'"),
        (headers("[" * 200_000), "it is nested more than 64 deep"),
        (headers('{"model/x": [0, 1e999]}'), "1e999 is not a finite number"),
        (headers('{"model/x": [0, "3"]}'), "rows of 'model/x' must be the first and how many there are"),
        (headers('{"model/x": 3}'), "rows of 'model/x' must be"),
        (headers("{}"), r"does not hold model/\w+"),
    ],
)
def test_files_of_other_content_are_one_line(
    attack: Callable[[Path], Any], said: str, trained: Path, folder: Path
) -> None:
    import re

    step = folder / "checkpoints" / "step-5"
    attack(step / "rank-0-of-1.safetensors")
    sign(step)
    for command in commands(trained, folder):
        result = slm_zoo(*command)
        assert result.exit_code == 1
        assert re.search(said, result.output), result.output
        assert isinstance(result.exception, SystemExit)
    assert not (step / "code-ran").exists()


def test_rows_that_overlap_or_are_missing_are_refused(trained: Path, folder: Path) -> None:
    """Every row has to come from one file: weights are never what happened to be in memory."""
    from safetensors.torch import load_file

    step = folder / "checkpoints" / "step-5"
    tensors = load_file(step / "rank-0-of-1.safetensors")
    name = next(name for name in tensors if name.startswith("model/") and tensors[name].dim() == 2)
    whole = tensors.pop(name)
    save_file(tensors, step / "rank-0-of-1.safetensors", {"rows": "{}"})
    for begin in (-1, 0, 1, 2):  # the second file's first row; the first file holds row 0
        save_file({name: whole[:1].clone()}, step / "a.safetensors", {"rows": json.dumps({name: [0, len(whole)]})})
        rest = {name: whole[1:].clone()}
        save_file(rest, step / "b.safetensors", {"rows": json.dumps({name: [begin, len(whole)]})})
        sign(step)
        result = slm_zoo(*commands(trained, folder)[0])
        if begin == 1:
            assert result.exit_code == 0
            assert torch.equal(load_file(folder / "exported.safetensors")[name.replace("/", ".", 1)], whole)
        else:
            assert f"does not hold every row of {name} exactly once" in result.output


@pytest.mark.parametrize("kind", ["pipe", "endless", "folder"])
def test_no_file_of_a_checkpoint_is_waited_for(kind: str, trained: Path, folder: Path) -> None:
    extra = folder / "checkpoints" / "step-5" / "extra"
    {"pipe": os.mkfifo, "endless": lambda path: path.symlink_to("/dev/zero"), "folder": os.mkdir}[kind](extra)
    result = slm_zoo("export", folder, "-o", folder / "exported.safetensors")
    assert result.exit_code == 1
    assert "is damaged (extra is not a regular file)" in result.output


def test_a_configuration_of_another_size_takes_no_memory(folder: Path) -> None:
    """Terabytes are asked for: refused by the shapes in the file, before any of it is allocated."""
    import yaml

    values = yaml.safe_load((folder / "config.yaml").read_text())
    values["model"]["width"] = 2**19
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    result = slm_zoo("export", folder, "-o", folder / "exported.safetensors")
    assert result.exit_code == 1
    assert "expected F32 [" in result.output
