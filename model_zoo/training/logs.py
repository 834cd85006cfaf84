"""What a training run says while it works: lines on stderr, ``log.jsonl``, and TensorBoard or W&B where asked for.

A record is a flat dictionary with ``step`` and ``kind`` ("train", "validation" or "score"). A run that continues an
older one first drops the records after the step that it continues from, so that no step is told twice.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from model_zoo.training.config import TrainConfig, to_dict
from slm_eval.base.errors import SlmEvalError
from slm_eval.base.files import write_whole
from slm_eval.base.strict_json import parse

Record = Mapping[str, Any]


class Sink(Protocol):
    """Where records go."""

    def write(self, record: Record) -> None:
        """Write one record."""

    def close(self) -> None:
        """End: no more will come."""


class Log:
    """All sinks of a run; on ranks other than the first, none."""

    def __init__(self, sinks: list[Sink]) -> None:
        self._sinks, self._lock = sinks, threading.Lock()  # scores come from a thread of their own

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        for sink in self._sinks:
            sink.close()

    def write(self, kind: str, step: int, values: Record) -> None:
        """Tell all sinks."""
        record = {"kind": kind, "step": step, **values}
        with self._lock:
            for sink in self._sinks:
                sink.write(record)


class Terminal:
    """One line per record."""

    def __init__(self, steps: int, say: Callable[[str], None] | None = None) -> None:
        self._steps, self._say = steps, say or (lambda line: print(line, file=sys.stderr, flush=True))

    def write(self, record: Record) -> None:
        parts = [f"step {record['step']}/{self._steps}"]
        if record["kind"] != "train":
            parts.append(str(record["kind"]))
        parts += [f"{name} {form(record[key])}" for key, (name, form) in _SHOWN.items() if record.get(key) is not None]
        if record["kind"] == "score":
            parts += [f"{key} {value:.4f}" for key, value in record.items() if isinstance(value, float)]
        self._say("  ".join(parts))

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


class JsonLines:
    """``log.jsonl``, a record a line.

    Args:
        start: steps that are done already; what an earlier run told of later ones is dropped.
    """

    def __init__(self, path: Path, start: int) -> None:
        kept = []
        if path.is_file():
            for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
                try:
                    if parse(line)["step"] <= start:
                        kept.append(line)
                except (ValueError, KeyError, TypeError):
                    continue  # the last line of a run that was killed while it wrote
        write_whole(path, [f"{line}\n" for line in kept])
        self._file = path.open("a", encoding="utf-8")

    def write(self, record: Record) -> None:
        self._file.write(json.dumps(record, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Scalars by kind: ``train/loss``."""

    def __init__(self, folder: Path, start: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise SlmEvalError("tensorboard=true needs the package tensorboard; pip install tensorboard") from error
        self._writer = SummaryWriter(str(folder), purge_step=start + 1)

    def write(self, record: Record) -> None:
        for key, value in _scalars(record).items():
            self._writer.add_scalar(key, value, record["step"])

    def close(self) -> None:
        self._writer.close()


class WandB:
    """Scalars by kind, into a project of Weights & Biases. The run's id is its folder's, so that it goes on there."""

    def __init__(self, project: str, folder: Path, config: dict[str, Any]) -> None:
        try:
            import wandb
        except ImportError as error:
            raise SlmEvalError("wandb=PROJECT needs the package wandb; pip install wandb") from error
        self._run = wandb.init(
            project=project, dir=str(folder), name=folder.name, id=folder.name, config=config, resume="allow"
        )

    def write(self, record: Record) -> None:
        self._run.log(_scalars(record), step=record["step"])

    def close(self) -> None:
        self._run.finish()


def _scalars(record: Record) -> dict[str, float]:
    """Return numbers under ``kind/key``; lists by index."""
    kind, scalars = record["kind"], {}
    for key, value in record.items():
        listed = isinstance(value, list)
        values = {f"{key}/{index}": number for index, number in enumerate(value)} if listed else {key: value}
        for name, number in values.items():
            if isinstance(number, (int, float)) and not isinstance(number, bool) and name != "step":
                scalars[f"{kind}/{name}"] = float(number)
    return scalars


_SHOWN: dict[str, tuple[str, Callable[[Any], str]]] = {
    "loss": ("loss", lambda v: f"{v:.5f}"),
    "ema_loss": ("averaged", lambda v: f"{v:.5f}"),
    "v_mse": ("v-MSE", lambda v: f"{v:.4f}"),
    "gradient_norm": ("gradient", lambda v: f"{v:.3g}"),
    "learning_rate": ("lr", lambda v: f"{v:.2e}"),
    "tokens_per_second": ("tokens/s", lambda v: f"{v:,.0f}"),
    "mfu": ("MFU", lambda v: f"{v:.1%}"),
    "hours_seen": ("heard", lambda v: f"{v:,.2f} h"),
}


def open_log(output: Path, config: TrainConfig, start: int, first: bool) -> Log:
    """Open the sinks that a configuration asks for.

    Args:
        start: steps that are done already.
        first: whether this is the rank that writes.

    Raises:
        SlmEvalError: a package is missing.
    """
    if not first:
        return Log([])
    sinks: list[Sink] = [Terminal(config.steps), JsonLines(output / "log.jsonl", start)]
    if config.tensorboard:
        sinks.append(TensorBoard(output / "tensorboard", start))
    if config.wandb:
        sinks.append(WandB(config.wandb, output, to_dict(config)))
    return Log(sinks)
