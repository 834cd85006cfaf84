"""What stands around the steps of a training: one at a time in a folder, errors that say what to do, no pauses."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch

from model_zoo.cdslm.flops import Tokens
from model_zoo.cdslm.memory import largest_batch
from model_zoo.training.checkpoints import Checkpoints
from model_zoo.training.config import TrainConfig
from model_zoo.training.folder import write_json
from model_zoo.training.ranks import Ranks
from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.lock import exclusive


@contextmanager
def alone_in(folder: Path, ranks: Ranks) -> Iterator[None]:
    """Keep other trainings out of a folder.

    Raises:
        UsageError: one is at work there.
    """

    def refuse() -> None:
        raise UsageError(f"another training is at work in {folder}; wait for it, or take another folder")

    with exclusive(folder / ".lock", refuse) if ranks.first else nullcontext():
        yield


@contextmanager
def deterministic_if(wanted: bool) -> Iterator[None]:
    """Forbid torch's kernels that add in any order."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Switch it off: steps make no cycles, and looking for them would stop every rank at another moment."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


@contextmanager
def memory_advice(config: TrainConfig, ranks: Ranks) -> Iterator[None]:
    """Say what to lower where a GPU's memory does not suffice.

    Raises:
        SlmEvalError: instead of torch's error of many lines.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        total = torch.cuda.get_device_properties(ranks.device).total_memory
        fits = largest_batch(config.model, Tokens.from_config(config.model), total, config.precision, training=True)
        at_once = config.micro_batch or config.batch // ranks.world
        lower = f"micro_batch={max(1, min(fits, at_once // 2))}"
        advice = lower if at_once > 1 else "activation_checkpointing=true or more GPUs"
        raise SlmEvalError(
            f"the GPU's memory ({total / 2**30:.0f} GiB) does not hold {at_once} samples at once; try {advice}; "
            "the same command continues"
        ) from error


def refuse_not_finite(step: int, windows: list[str], output: Path, checkpoints: Checkpoints, ranks: Ranks) -> None:
    """Stop a training whose loss or gradient is NaN or infinite.

    Args:
        step: the first such one.
        windows: names of all in its batch.

    Raises:
        SlmEvalError: always, with the windows and the last good checkpoint.
    """
    listed = output / "not-finite.json"
    if ranks.first:
        write_json(listed, {"step": step, "windows": windows})
    checkpoints.wait()
    saved = checkpoints.steps()
    good = f"the last good checkpoint is {checkpoints.path(saved[-1])}" if saved else "no checkpoint was saved"
    raise SlmEvalError(
        f"the loss is not finite at step {step}, in a batch of {len(windows)} windows from {windows[0]} on (all in "
        f"{listed}); {good}; lower optimizer.learning_rate, or look at these recordings"
    )
