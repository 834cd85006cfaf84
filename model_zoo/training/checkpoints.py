"""Checkpoints of a running training: everything in one, written in the background, whole or not at all.

torch's distributed checkpoints (DCP): every rank writes the parts that it holds, and any number of ranks reads them
again. A step's folder is written under another name, gets a list of digests, and is only then given its name; so what
is called ``step-N`` is complete. Reading runs no code: all content is tensors, and the table of contents, which DCP
pickles, is read by an unpickler that knows nothing but DCP's own records.
"""

from __future__ import annotations

import json
import pickle
import re
import shutil
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta

from model_zoo.training.ranks import Ranks
from slm_eval.errors import SlmEvalError
from slm_eval.fetching.ledger import file_digest

State = Mapping[str, Any]  # nested dictionaries of tensors
_DIGESTS = "digests.json"
_STEP = re.compile(r"step-(\d+)")


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: of the run's checkpoints; made when the first is saved.
        keep: how many of the last stay, beside one that is protected.
    """

    def __init__(self, folder: Path, ranks: Ranks, keep: int) -> None:
        self.folder, self.keep, self._ranks = folder, keep, ranks
        self._writing: _Writing | None = None
        # What the writing threads say to each other must not get between what the training ranks say.
        self._group = dist.new_group(backend="gloo") if ranks.world > 1 else None

    def steps(self) -> list[int]:
        """Those that are complete, ascending."""
        names = [_STEP.fullmatch(each.name) for each in self.folder.iterdir()] if self.folder.is_dir() else []
        return sorted(int(name[1]) for name in names if name)

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is."""
        return self.folder / f"step-{step}"

    def save(self, step: int, state: State, protected: int | None = None) -> None:
        """Copy the state, and write it while training goes on. Called by all ranks.

        Args:
            protected: a step that is kept however old it is.

        Raises:
            SlmEvalError: the one before could not be written.
        """
        self.wait()
        if step in self.steps():
            return
        partial = self.folder / f".step-{step}.partial"
        if self._ranks.first:
            self._make_room(partial)
        self._ranks.barrier()
        future = dcp.async_save(dict(state), storage_writer=dcp.FileSystemWriter(partial), process_group=self._group)
        finish = (lambda: self._finish(partial, step, protected)) if self._ranks.first else None
        self._writing = _Writing(step, future, finish)

    def wait(self) -> None:
        """Until what is being written has its name.

        Raises:
            SlmEvalError: it could not be written; the ones before are still there.
        """
        writing, self._writing = self._writing, None
        if writing is None:
            return
        problem = writing.problem()
        self._ranks.barrier()
        if problem is not None:
            last = self.steps()[-1:]
            kept = f"that of step {last[0]} is kept" if last else "there is none before it"
            raise SlmEvalError(
                f"the checkpoint of step {writing.step} cannot be written to {self.folder} ({problem}); {kept}; "
                "free space there, the same command continues"
            )

    def load_latest(self, state: State) -> int | None:
        """Fill the tensors of ``state`` from the newest checkpoint that is undamaged; its step, or None.

        Raises:
            SlmEvalError: there are checkpoints, and all are damaged.
        """
        problems: list[str] = []
        chosen = None
        if self._ranks.first:
            for step in reversed(self.steps()):
                problem = damage(self.path(step))
                if problem is None:
                    chosen = step
                    break
                problems.append(f"the checkpoint of step {step} is damaged: {problem}")
                # Set aside, so that it does not count as one of those that are kept.
                self.path(step).rename(self.folder / f"damaged-step-{step}")
        problems, chosen = self._ranks.from_first((problems, chosen))
        if problems and chosen is None:
            raise SlmEvalError(f"{'; '.join(problems)}; no other is in {self.folder}: take another output folder")
        if self._ranks.first:
            for problem in problems:
                print(f"{problem}; going back to step {chosen}", file=sys.stderr, flush=True)
        if chosen is not None:
            load(self.path(chosen), state)
        return chosen

    def _make_room(self, partial: Path) -> None:
        try:
            shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed while it wrote
            partial.mkdir(parents=True)
        except OSError as error:
            raise SlmEvalError(f"cannot write checkpoints to {self.folder}: {error}") from error

    def _finish(self, partial: Path, step: int, protected: int | None) -> None:
        (partial / _DIGESTS).write_text(json.dumps(_digests(partial), indent=1))
        partial.rename(self.path(step))
        kept = {*self.steps()[-self.keep :], protected}
        for old in self.steps():
            if old not in kept:
                shutil.rmtree(self.path(old))


class _Writing:
    """One checkpoint on its way to the disk; ``finish`` runs after it, in a thread too."""

    def __init__(self, step: int, future: Any, finish: Callable[[], None] | None) -> None:
        self.step, self._future, self._finish = step, future, finish
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"checkpoint-{step}")
        self._thread.start()

    def problem(self) -> str | None:
        """Wait; then why it failed, or None."""
        self._thread.join()
        return self._problem

    def _run(self) -> None:
        try:
            self._future.result()
            if self._finish is not None:
                self._finish()
        # One line for the user, said in the loop's thread. DCP wraps what a rank met, a full disk for one.
        except (dcp.api.CheckpointException, OSError, RuntimeError, ValueError, SlmEvalError) as error:
            self._problem = _reason(error)


def load(path: Path, state: State) -> None:
    """Fill the tensors of ``state``, sharded over any number of ranks, from a checkpoint of any other number.

    Raises:
        SlmEvalError: it does not hold these tensors.
    """
    try:
        reader = _Reader(path)
        reader.read_metadata()  # DCP tries it too, but goes on without it and then says less
        dcp.load(dict(state), storage_reader=reader)
    except (dcp.api.CheckpointException, RuntimeError, OSError, pickle.UnpicklingError, KeyError) as error:
        raise SlmEvalError(f"{path} cannot be read as a checkpoint of this run ({_reason(error)})") from error


def damage(path: Path) -> str | None:
    """Why a checkpoint cannot be trusted, or None: every file has the length and the digest that were written down."""
    try:
        told = json.loads((path / _DIGESTS).read_text())
    except (OSError, ValueError) as error:
        return f"{_DIGESTS} cannot be read ({_reason(error)})"
    try:
        found = _digests(path)
    except (OSError, SlmEvalError) as error:
        return _reason(error)
    for name in sorted(told.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing"
        if told.get(name) != found[name]:
            return f"{name} is not as it was written"
    return None


def _digests(folder: Path) -> dict[str, str]:
    return {each.name: file_digest(each) for each in sorted(folder.iterdir()) if each.name != _DIGESTS}


class _Reader(dcp.FileSystemReader):
    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        with (Path(self.path) / ".metadata").open("rb") as file:
            metadata: Metadata = _Contents(file).load()
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class _Contents(pickle.Unpickler):
    """Reads a table of contents of DCP, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        own = module in {"torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.filesystem"}
        if (own and name.lstrip("_")[0].isupper()) or (module, name) in _PLAIN:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"its table of contents holds {module}.{name}, refused")


_PLAIN = {
    ("collections", "OrderedDict"),
    ("pathlib", "PosixPath"),
    ("pathlib", "Path"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch", "float32"),
    ("torch", "float64"),
    ("torch", "int64"),
    ("torch.serialization", "_get_layout"),
}


def optimizer_state(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    """AdamW's moments by the names of the parameters; made, as zeros, where there was no step yet."""
    known = {id(each) for group in optimizer.param_groups for each in group["params"]}
    state = {}
    for name, parameter in model.named_parameters():
        if id(parameter) not in known:
            continue
        if not optimizer.state[parameter]:
            optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            }
        state[name] = optimizer.state[parameter]
    return state


def _reason(error: BaseException) -> str:
    """The innermost cause, in one line."""
    if isinstance(error, dcp.api.CheckpointException) and error.failures:
        failure = next(iter(error.failures.values()))
        error = failure[0] if isinstance(failure, tuple) else failure
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


@contextmanager
def quiet() -> Iterator[None]:
    """DCP warns where there is one process only, which is nothing to warn of. Around all, as it writes in threads."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield
