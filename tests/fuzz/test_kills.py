"""slm-zoo train, prepare, sample and sweep, killed at random moments (SIGKILL): the same command then gives the same.

Commands run in forked processes, which have everything imported, so that kills meet the work and not the start.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import yaml

import model_zoo.cli.main
from model_zoo.cdslm.checkpoint import save
from model_zoo.cdslm.config import DiffusionConfig, ModelConfig
from model_zoo.cdslm.model import MMDiT
from model_zoo.data.prepare import PrepareOptions, prepare
from model_zoo.features import FeatureSpec, Normalizer
from tests.conftest import noise

TINY: dict[str, Any] = {
    "model": {
        "layers": 1, "width": 16, "head_dim": 8, "patch": 4, "context_seconds": 0.5, "target_seconds": 1.0,
        "base_layers": 1, "base_width": 16,
    },
    "data": {"validation_clips": 2, "threads": 1},
    "optimizer": {"warmup_steps": 2}, "steps": 12, "batch": 2, "ema": 0.9, "precision": "float32", "compile": False,
    "log_every": 3, "validate_every": 6, "checkpoint_every": 3,
}  # fmt: skip
KILLS = 3  # one after the other, before the command may end
# What differs between two runs that were never stopped: the clock.
CLOCK = {"seconds", "scoring_seconds", "commit", "samples_per_second", "tokens_per_second", "hours_seen"}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """A process that is forked may not share its threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speech, shards of it, a configuration, a sweep, and a model that has learnt nothing."""
    folder = tmp_path_factory.mktemp("given")
    for at in range(8):
        (folder / "wavs" / f"s{at % 2}").mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / "wavs" / f"s{at % 2}" / f"{at}.wav", noise(3.2, 24_000, seed=at), 24_000)
    prepare([folder / "wavs"], folder / "shards", PrepareOptions(validation=0.4, workers=0))
    data = {**TINY["data"], "shards": str(folder / "shards")}
    (folder / "config.yaml").write_text(yaml.safe_dump({**TINY, "data": data}))
    sweep = {"config": "config.yaml", "varied": "patch", "settings": {1: {"model.patch": 4}, 2: {"model.patch": 2}}}
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**sweep, "hours": 0.005, "score": {"guidance": []}}))
    config, generator = ModelConfig(**TINY["model"]), torch.Generator().manual_seed(0)
    weights = {
        name: 0.1 * torch.randn(each.shape, generator=generator) for name, each in MMDiT(config).state_dict().items()
    }
    normalizer = Normalizer(torch.full((80,), -1.5), torch.full((80,), 0.5))
    model = folder / "model.safetensors"
    save(model, config, weights, DiffusionConfig(steps=100), FeatureSpec(), normalizer, {}, weights)
    return folder


def arguments(command: str, given: Path, output: Path) -> list[str]:
    told: dict[str, list[object]] = {
        "train": [given / "config.yaml", "--device", "cpu"],
        "prepare": [given / "wavs", "--validation", 0.4, "--workers", 2, "--shard-hours", 0.001],
        "sample": [given / "model.safetensors", given / "wavs", "--steps", 6, "--batch-size", 1, "--device", "cpu"],
        "sweep": [given / "sweep.yaml", "--device", "cpu"],
    }
    return [command, *map(str, told[command]), "-o", str(output)]


def start(command: list[str], said: Path) -> int:
    """Begin a command in a process, and a session, of its own; its id."""
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        os.setsid()
        with said.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        model_zoo.cli.main.main(command, standalone_mode=True)
    except Exception:  # noqa: BLE001 - told to whoever reads the file, as Python does
        traceback.print_exc()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(status)


def to_the_end(command: list[str], said: Path) -> float:
    """Run a command; seconds that it took."""
    begin = time.monotonic()
    _, status = os.waitpid(start(command, said), 0)
    assert os.waitstatus_to_exitcode(status) == 0, said.read_text()
    return time.monotonic() - begin


def processes_of(session: int) -> list[int]:
    """Processes that live in a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ProcessLookupError):
            state = (path / "stat").read_text().rpartition(")")[2].split()
            if int(state[3]) == session and state[0] != "Z":
                found.append(int(path.name))
    return found


def results(folder: Path) -> dict[str, Any]:
    """What a folder holds, without what the clock says of it."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or path.name == ".lock":
            continue
        if path.suffix == ".safetensors" and "checkpoints" in path.parts:
            with_clock = path.stat().st_size
            found[name] = with_clock
        elif path.name == "digests.json":
            found[name] = sorted(json.loads(path.read_text()))
        elif path.suffix == ".jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{key: value for key, value in line.items() if key not in CLOCK} for line in lines]
        elif path.name == "result.json":
            found[name] = {key: value for key, value in json.loads(path.read_text()).items() if key not in CLOCK}
        elif path.suffix == ".csv":
            rows = csv.DictReader(path.read_text().splitlines())
            found[name] = [{key: value for key, value in row.items() if key not in CLOCK} for row in rows]
        elif path.suffix == ".log":
            continue  # what a training said, times included
        else:
            found[name] = hashlib.sha256(path.read_bytes().replace(bytes(folder), b"FOLDER")).hexdigest()
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="sessions are read from /proc")
@pytest.mark.parametrize("name", ["train", "prepare", "sample", "sweep"])
def test_killed_commands_end_as_if_they_never_were(name: str, times: int, given: Path, tmp_path: Path) -> None:
    if name == "sweep" and times == 1:
        pytest.skip("starts a process for each of its trainings: SLM_EVAL_FUZZ=2 or more")
    said = tmp_path / "said"
    took = to_the_end(arguments(name, given, tmp_path / "whole"), said)
    expected = results(tmp_path / "whole")
    done = 0
    for number in range(times):
        rng = random.Random(f"{name} {number}")
        output = tmp_path / "killed"
        shutil.rmtree(output, ignore_errors=True)
        for _ in range(KILLS):
            child = start(arguments(name, given, output), said)
            time.sleep(took * rng.random())
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            killed = os.waitstatus_to_exitcode(status) == -signal.SIGKILL
            done += killed
            if not killed:  # it was faster than the first one: what is finished would leave nothing to kill
                shutil.rmtree(output)
            deadline = time.monotonic() + 60
            while (alive := processes_of(child)) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not alive, [Path(f"/proc/{each}/cmdline").read_bytes() for each in alive]
        to_the_end(arguments(name, given, output), said)
        found = results(output)
        assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
        assert found == expected
    print(f"{name}: {done} kills")
    assert done > 0
