"""Sharded tensors on the disk: one safetensors file for each rank that wrote, read again by any number of ranks.

A rank holds some rows (of the first dimension) of a tensor, which is how FSDP2 shards. The header of its file says
where those rows begin and how many the whole tensor has; tensors that it does not mention are whole. Headers are JSON
and content is numbers. Nothing is pickled, so reading runs no code, whoever wrote the files.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from slm_eval.base.errors import SlmEvalError
from slm_eval.base.strict_json import parse

State = Mapping[str, Any]  # nested dictionaries of tensors
_ROWS = "rows"  # the field of the header


@dataclass(frozen=True)
class HeldRows:
    """Copies of what this rank holds, in the CPU's memory: training can go on while they are written.

    Attributes:
        tensors: by name; those that are empty here are left out.
        rows: of the ones that are sharded: their first row, and how many rows the whole tensor has.
    """

    tensors: dict[str, Tensor]
    rows: dict[str, tuple[int, int]]

    @classmethod
    def copy(cls, state: State, first: bool) -> HeldRows:
        """Copy the rows of this rank.

        Args:
            first: whether this rank is the one that saves what all ranks hold alike.
        """
        tensors, rows = {}, {}
        for name, tensor in _flat(state):
            local, begin = _local(tensor)
            whole = local.shape == tensor.shape
            if local.numel() and (first or not whole):
                tensors[name] = local.to("cpu", copy=True).contiguous()
                if not whole:
                    rows[name] = (begin, len(tensor))
        return cls(tensors, rows)

    def write(self, path: Path) -> None:
        """Write the file, and wait until the disk has it.

        Raises:
            SlmEvalError: it cannot be written.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        try:
            save_file(self.tensors, path, {_ROWS: json.dumps(self.rows)})
            with path.open("rb") as file:
                os.fsync(file.fileno())
        except (OSError, SafetensorError) as error:
            raise SlmEvalError(str(error)) from error


def read_into(folder: Path, state: State) -> None:
    """Fill tensors, sharded over any number of ranks, with what any other number of ranks has written.

    Raises:
        SlmEvalError: the files are damaged, or do not hold these tensors.
    """
    tensors = list(_flat(state))
    saved = _Saved(folder)
    for name, tensor in tensors:
        saved.require(name, tensor)
    for name, tensor in tensors:
        local, begin = _local(tensor)
        saved.copy(name, local, begin)


def read_like(folder: Path, state: State) -> dict[str, Any]:
    """Return whole tensors on the CPU, of the names and shapes of others, which may be on the meta device.

    Raises:
        SlmEvalError: the files are damaged, or do not hold such tensors; no memory was taken for them.
    """
    saved = _Saved(folder)
    for name, tensor in _flat(state):
        saved.require(name, tensor)
    read = _empty_like(state)
    for name, tensor in _flat(read):
        saved.copy(name, tensor, 0)
    return read


@dataclass(frozen=True)
class _Part:
    """Some rows of a tensor, in a file.

    Attributes:
        end: the row after the last of these; a tensor without dimensions counts as one row.
        shape: of the whole tensor.
        source: what safe_open gives.
    """

    begin: int
    end: int
    shape: tuple[int, ...]
    dtype: str
    source: Any

    def read(self, name: str, begin: int, end: int) -> Tensor:
        """Return rows of the whole tensor, all of which are here."""
        if not self.shape:
            tensor: Tensor = self.source.get_tensor(name)
            return tensor
        rows: Tensor = self.source.get_slice(name)[begin - self.begin : end - self.begin]
        return rows


class _Saved:
    """The files of a folder. Only their headers are read before a tensor is copied."""

    def __init__(self, folder: Path) -> None:
        from safetensors import SafetensorError

        self._folder = folder
        self._parts: dict[str, list[_Part]] = defaultdict(list)
        for path in sorted(folder.glob("*.safetensors")):
            try:
                self._open(path)
            except (OSError, SafetensorError, ValueError) as error:
                raise SlmEvalError(f"{path} is damaged or no part of a checkpoint ({error})") from error
        for parts in self._parts.values():
            parts.sort(key=lambda part: part.begin)

    def _open(self, path: Path) -> None:
        from safetensors import safe_open

        source = safe_open(path, "pt")
        rows = parse((source.metadata() or {}).get(_ROWS, "null"))
        if not isinstance(rows, dict):
            raise ValueError(f"its header must hold an object {_ROWS!r}")
        for name in source.keys():  # noqa: SIM118 - it is no dictionary
            header = source.get_slice(name)
            shape = tuple(header.get_shape())
            count = shape[0] if shape else 1
            match rows.get(name, [0, count]):
                case [int(begin), int(total)]:
                    whole = (total, *shape[1:]) if shape else ()
                    self._parts[name].append(_Part(begin, begin + count, whole, header.get_dtype(), source))
                case other:
                    raise ValueError(f"rows of {name!r} must be the first and how many there are, got {other!r}")

    def require(self, name: str, tensor: Tensor) -> None:
        """Refuse unless there are parts that are, one after the other, all rows of such a tensor."""
        parts = self._parts.get(name)
        if not parts:
            raise SlmEvalError(f"{self._folder} does not hold {name}")
        wanted = _DTYPES[tensor.dtype], tuple(tensor.shape)
        for part in parts:
            if (part.dtype, part.shape) != wanted:
                raise SlmEvalError(
                    f"{self._folder} holds {name} as {part.dtype} {list(part.shape)}, "
                    f"expected {wanted[0]} {list(wanted[1])}"
                )
        ends = [0, *(part.end for part in parts)]
        if ends != [*(part.begin for part in parts), len(tensor) if tensor.dim() else 1]:
            raise SlmEvalError(f"{self._folder} does not hold every row of {name} exactly once")

    @torch.no_grad()
    def copy(self, name: str, local: Tensor, first: int) -> None:
        """Fill ``local``, which are the rows from ``first`` on of a tensor that was required."""
        last = first + (len(local) if local.dim() else 1)
        for part in self._parts[name]:
            begin, end = max(first, part.begin), min(last, part.end)
            if begin < end:
                rows = local[begin - first : end - first] if local.dim() else local
                rows.copy_(part.read(name, begin, end))


# The numbers of a training, as safetensors writes their kinds.
_DTYPES = {torch.float32: "F32", torch.float64: "F64", torch.bfloat16: "BF16", torch.int64: "I64"}


def _flat(state: State, where: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield tensors with their names, such as ``model/blocks.0.weight``."""
    for key, value in state.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{where}{key}/")
        else:
            yield where + key, value


def _local(tensor: Tensor) -> tuple[Tensor, int]:
    """Return what this rank holds of a tensor, and its first row in the whole."""
    tensor = tensor.detach()
    if not isinstance(tensor, DTensor):
        return tensor, 0
    local = tensor.to_local()
    if not local.numel():
        return local, 0
    (chunk,) = tensor.__create_chunk_list__()
    if local.shape[1:] != tensor.shape[1:]:
        raise ValueError(f"only the first dimension can be sharded, got {tensor.placements}")
    return local, chunk.offsets[0]


def _empty_like(state: State) -> dict[str, Any]:
    return {
        key: _empty_like(value) if isinstance(value, Mapping) else torch.empty_like(value, device="cpu")
        for key, value in state.items()
    }
