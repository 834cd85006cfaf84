"""How well the model speaks, measured beside its training: sampled, vocoded and scored with slm-eval in processes.

    DIR/scores/step-N/model.safetensors            the model at that step, until it was scored
    DIR/scores/step-N/guidance-2/continuations/    what it said
    DIR/scores/step-N/guidance-2/run/              what slm-eval found, with report.html

One step is scored at a time. One that would begin while another is under way is left out, and the log says so.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model_zoo.training.config import ScoreConfig
from model_zoo.training.logs import Log
from model_zoo.training.ranks import Ranks
from slm_eval.base import launching
from slm_eval.base.strict_json import read_object

Export = Callable[[Path, int], None]  # writes the model of a step; all ranks take part


class Scores:
    """The scores of one run; a context manager that waits for what is under way, or ends it after an error.

    Args:
        folder: where everything is kept.
        log: told when a step has been scored.
    """

    def __init__(self, config: ScoreConfig, folder: Path, log: Log, ranks: Ranks) -> None:
        self._config, self._folder, self._log, self._ranks = config, folder, log, ranks
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[str] | None = None
        self._ended = False

    def __enter__(self) -> Scores:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._ended = True
            if self._process is not None:
                self._process.terminate()
        if self._thread is not None:
            self._thread.join()

    def begin(self, step: int, export: Export) -> None:
        """Score the model of this step, unless another is being scored."""
        folder = self._folder / f"step-{step}"
        if self._ranks.any(self._thread is not None and self._thread.is_alive()):
            self._log.write("score", step, {"skipped": "the step before is still being scored"})
            return
        export(folder / "model.safetensors", step)
        if self._ranks.first:
            self._thread = threading.Thread(target=self._score, args=(step, folder), name=f"score-{step}")
            self._thread.start()

    def _score(self, step: int, folder: Path) -> None:
        values: dict[str, Any] = {}
        for guidance in self._config.guidance:
            below = folder / f"guidance-{guidance:g}"
            for command in (self._sample(folder, below, guidance), self._evaluate(below)):
                problem = self._run(command)
                if problem is not None:
                    self._log.write("score", step, {"failed": problem})
                    return
            metrics = read_object(below / "run" / "summary.json", "score it again")["metrics"]
            values |= {f"{key}@{guidance:g}": float(metric["value"]) for key, metric in metrics.items()}
        (folder / "model.safetensors").unlink()
        self._log.write("score", step, values)

    def _sample(self, folder: Path, below: Path, guidance: float) -> list[str]:
        config = self._config
        chosen = {"guidance": guidance, "steps": config.steps, "vocoder": config.vocoder, "limit": config.clips}
        options = [part for name, value in chosen.items() for part in (f"--{name}", str(value))]
        command = ["model_zoo.cli.main", "sample", str(folder / "model.safetensors"), config.contexts, *options]
        return [*command, "--device", config.device, "-o", str(below / "continuations")]

    def _evaluate(self, below: Path) -> list[str]:
        config = self._config
        command = ["slm_eval.cli.main", "run", "--generated", str(below / "continuations"), "--real", config.real]
        return [*command, "--metrics", config.metrics, "--device", config.device, "--output", str(below / "run")]

    def _run(self, command: list[str]) -> str | None:
        """Run a command in a process of its own; the last line of what it complained of, or None."""
        if self._ended:
            return "the training ended"
        self._process = subprocess.Popen(
            launching.python(*command),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=launching.environment(),
        )
        _, errors = self._process.communicate()
        if self._process.returncode == 0:
            return None
        lines = errors.strip().splitlines() or [f"{command[0]} ended with status {self._process.returncode}"]
        return f"{command[1]}: {lines[-1]}"
