"""Checkpoints of a running training: everything in one, written in the background, whole or not at all.

Every rank writes the rows that it holds, and any number of ranks reads them again: see ``sharded``. A step's folder is
written under another name, gets a list of digests, and is only then given its name; so what is called ``step-N`` is
complete. No file of it can make code run.
"""

from __future__ import annotations

import re
import shutil
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model_zoo.training.ranks import Ranks
from model_zoo.training.sharded import HeldRows, State, read_into
from slm_eval.base.errors import SlmEvalError
from slm_eval.base.files import dump, write_whole
from slm_eval.base.strict_json import read_object
from slm_eval.weights.ledger import file_digest

_DIGESTS = "digests.json"
_STEP = re.compile(r"step-([0-9]{1,15})")


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: of the run's checkpoints; made when the first is saved.
        keep: how many of the last stay, beside one that is protected.
    """

    def __init__(self, folder: Path, ranks: Ranks, keep: int) -> None:
        self.folder, self.keep, self._ranks = folder, keep, ranks
        # What the writing threads say to each other must not get between what the training ranks say.
        self._writers = ranks.beside()
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: tuple[int, Future[str | None]] | None = None

    def steps(self) -> list[int]:
        """Return those that are complete, ascending."""
        names = [_STEP.fullmatch(path.name) for path in self.folder.iterdir()] if self.folder.is_dir() else []
        return sorted(int(name[1]) for name in names if name)

    def path(self, step: int) -> Path:
        """Return where the checkpoint of a step is."""
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
        held = HeldRows.copy(state, self._ranks.first)
        self._writing = step, self._thread.submit(self._write, held, partial, step, protected)

    def wait(self) -> None:
        """Wait until what is being written has its name.

        Raises:
            SlmEvalError: it could not be written; the ones before are still there.
        """
        writing, self._writing = self._writing, None
        if writing is None:
            return
        step, future = writing
        problem = future.result()
        if problem is not None:
            last = self.steps()[-1:]
            kept = f"that of step {last[0]} is kept" if last else "there is none before it"
            raise SlmEvalError(
                f"the checkpoint of step {step} cannot be written to {self.folder} ({problem}); {kept}; "
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
            self._tidy()
            for step in reversed(self.steps()):
                problem = damage(self.path(step))
                if problem is None:
                    chosen = step
                    break
                problems.append(f"the checkpoint of step {step} is damaged: {problem}")
                # Set aside, so that it does not count as one of those that are kept.
                aside = self.folder / f"damaged-step-{step}"
                shutil.rmtree(aside, ignore_errors=True)  # the same step, damaged before
                self.path(step).rename(aside)
        problems, chosen = self._ranks.from_first((problems, chosen))
        if problems and chosen is None:
            raise SlmEvalError(f"{'; '.join(problems)}; no other is in {self.folder}: take another output folder")
        if self._ranks.first:
            for problem in problems:
                print(f"{problem}; going back to step {chosen}", file=sys.stderr, flush=True)
        if chosen is not None:
            read_into(checked(self.path(chosen)), state)
        return chosen

    def _tidy(self) -> None:
        """Remove what a run that was killed had begun to write."""
        for partial in self.folder.glob(".step-*.partial"):
            shutil.rmtree(partial, ignore_errors=True)

    def _make_room(self, partial: Path) -> None:
        try:
            shutil.rmtree(partial, ignore_errors=True)  # of the same run, which could not write it before
            partial.mkdir(parents=True)
        except OSError as error:
            raise SlmEvalError(f"cannot write checkpoints to {self.folder}: {error}") from error

    def _write(self, held: HeldRows, partial: Path, step: int, protected: int | None) -> str | None:
        """Write on all ranks, in threads of their own; why it failed, the same on all, or None."""
        name = f"rank-{self._ranks.rank}-of-{self._ranks.world}.safetensors"
        problem, digest = None, ""
        try:
            held.write(partial / name)
            digest = _identity(partial / name)
        except SlmEvalError as error:
            problem = str(error)
        written = self._writers.gather((name, digest, problem))
        problem = next((problem for *_, problem in written if problem is not None), None)
        if problem is None and self._ranks.first:
            try:
                self._finish(partial, step, protected, {name: digest for name, digest, _ in written})
            except (OSError, SlmEvalError) as error:
                problem = str(error)
        return self._writers.from_first(problem)

    def _finish(self, partial: Path, step: int, protected: int | None, digests: dict[str, str]) -> None:
        write_whole(partial / _DIGESTS, [dump(digests, indent=1)])
        partial.rename(self.path(step))
        kept = {*self.steps()[-self.keep :], protected}
        for old in self.steps():
            if old not in kept:
                shutil.rmtree(self.path(old))


def checked(path: Path) -> Path:
    """Return the folder of a checkpoint.

    Raises:
        SlmEvalError: an older version wrote it, in a format whose reading can run code.
    """
    if (path / ".metadata").exists():
        raise SlmEvalError(
            f"{path} is of an older version, whose checkpoints were pickled: reading them could run code; "
            "export it with the version that wrote it, or train anew in another folder"
        )
    return path


def damage(path: Path) -> str | None:
    """Return why a checkpoint cannot be trusted, or None: every file has the digest that was written down."""
    try:
        written = read_object(path / _DIGESTS, "it is written last")
        present = _digests(path, written)
    except (OSError, SlmEvalError) as error:
        return str(error)
    for name in sorted(written.keys() | present.keys()):
        if name not in present:
            return f"{name} is missing"
        if written.get(name) != present[name]:
            return f"{name} is not as it was written"
    return None


def _digests(folder: Path, written: dict[str, Any]) -> dict[str, str]:
    """Return size and digest of every file, but only the size where that is not the one that was told.

    A file of holes can state any size: it would be read for hours.

    Raises:
        SlmEvalError: something there is no file that could be one of a checkpoint, such as a pipe, which never ends.
    """
    digests = {}
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_file():
            raise SlmEvalError(f"{path.name} is not a regular file")
        if path.name != _DIGESTS:
            digests[path.name] = _identity(path, str(written.get(path.name)))
    return digests


def _identity(path: Path, written: str | None = None) -> str:
    size = path.stat().st_size
    differs = written is not None and written.partition(":")[0] != str(size)
    return f"{size}:" if differs else f"{size}:{file_digest(path)}"


def optimizer_state(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    """Return AdamW's moments by the names of the parameters; made, as zeros, where there was no step yet."""
    known = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
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
