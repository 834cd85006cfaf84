"""Tensors written by some ranks and read by any others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model_zoo.training.sharded import HeldRows, read_into, read_like
from slm_eval.base.errors import SlmEvalError
from tests.conftest import ROOT

# Saves an uneven tensor, one of fewer rows than ranks, and what all hold alike, or reads them and compares with what
# they are by definition.
RANKS = """
import sys
from pathlib import Path
import torch, torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor, empty
from model_zoo.training.sharded import HeldRows, read_into

dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
mesh = init_device_mesh("cpu", (world,))
full = {
    "uneven": torch.arange(35.).reshape(7, 5), "few": torch.arange(3.).reshape(1, 3),
    "half": torch.arange(8).reshape(4, 2).to(torch.bfloat16),
}
alike = {"step": torch.tensor(7.0), "sums": torch.arange(5, dtype=torch.float64)}
folder = Path(sys.argv[2])
if sys.argv[1] == "write":
    state = {"model": {name: distribute_tensor(value, mesh, [Shard(0)]) for name, value in full.items()}, **alike}
    HeldRows.copy(state, rank == 0).write(folder / f"rank-{rank}.safetensors")
else:
    blank = {name: torch.zeros_like(value) for name, value in full.items()}
    state = {"model": {name: distribute_tensor(value, mesh, [Shard(0)]) for name, value in blank.items()}}
    state |= {name: torch.zeros_like(value) for name, value in alike.items()}
    read_into(folder, state)
    for name, value in full.items():
        assert torch.equal(state["model"][name].full_tensor(), value), name
    assert all(torch.equal(state[name], value) for name, value in alike.items())
dist.destroy_process_group()
"""


def torchrun(ranks: int, script: Path, *arguments: object) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, str(script), *map(str, arguments)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr


def test_two_ranks_write_and_three_and_one_read(tmp_path: Path) -> None:
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    saved = tmp_path / "saved"
    saved.mkdir()
    torchrun(2, script, "write", saved)
    assert len(list(saved.iterdir())) == 2
    torchrun(3, script, "read", saved)
    torchrun(1, script, "read", saved)


def test_one_rank_holds_all_and_scalars_and_kinds_stay(tmp_path: Path) -> None:
    state = {"a": {"b": torch.arange(6.0).reshape(3, 2), "empty": torch.zeros(0, 4)}, "n": torch.tensor(2**60)}
    held = HeldRows.copy(state, first=True)
    state["a"]["b"].add_(1)  # training goes on
    held.write(tmp_path / "rank-0.safetensors")
    found = {"a": {"b": torch.zeros(3, 2)}, "n": torch.tensor(0)}
    read_into(tmp_path, found)
    assert torch.equal(found["a"]["b"], state["a"]["b"] - 1)
    assert int(found["n"]) == 2**60
    new = read_like(tmp_path, {"a": {"b": torch.empty(3, 2, device="meta")}})
    assert torch.equal(new["a"]["b"], found["a"]["b"])


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.zeros(2, 3), r"holds x as F32 \[3, 2\], expected F32 \[2, 3\]"),
        (torch.zeros(3, 2, dtype=torch.float64), r"holds x as F32 \[3, 2\], expected F64 \[3, 2\]"),
        (torch.zeros(()), r"holds x as F32 \[3, 2\], expected F32 \[\]"),
    ],
)
def test_another_shape_or_kind_is_refused_and_changes_nothing(tensor: torch.Tensor, said: str, tmp_path: Path) -> None:
    HeldRows.copy({"w": torch.ones(2), "x": torch.ones(3, 2)}, first=True).write(tmp_path / "rank-0.safetensors")
    first = torch.zeros(2)
    with pytest.raises(SlmEvalError, match=said):
        read_into(tmp_path, {"w": first, "x": tensor})
    assert not first.any()
