"""Worker processes that hear recordings: one job and one answer a line, in JSON over their standard streams.

Each is a Python process of its own with one torch thread, as in ``observing.workers``: a file that crashes a decoder
costs that file and not the run, Ctrl-C reaches this process alone, and when it is killed the workers see the end of
their input and leave. Mels never travel: a worker writes the part itself.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from slm_eval.base import launching
from slm_eval.base.errors import SlmEvalError
from slm_eval.observing.workers import TRIES, Died


@dataclass(frozen=True)
class Job:
    """One recording to hear, and where its part goes."""

    id: str
    path: str
    start: float | None
    end: float | None
    part: str


@dataclass(frozen=True)
class Answer:
    """What became of a job: its part is there, or why it is not."""

    id: str
    seconds: float = 0.0
    reason: str | None = None  # a code of slm_eval.speech.audio.REASONS
    error: str | None = None


def work(jobs: Iterable[Job], features: dict[str, Any], workers: int) -> Iterator[Answer]:
    """Do jobs in ``workers`` processes (0: in this one); answers come as they get ready.

    Closing the iterator ends the processes.

    Raises:
        SlmEvalError: a worker cannot start or cannot write, which would not end with one recording.
    """
    if workers == 0:
        with _one_thread():
            yield from (_do(job, features) for job in jobs)
        return
    pool = _Pool(jobs, features, workers)
    try:
        yield from pool
    finally:
        pool.stop()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread, as in the worker processes: products that threads share may round differently."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _do(job: Job, features: dict[str, Any]) -> Answer:
    from model_zoo.data.listening import hear
    from model_zoo.data.parts import write_part
    from model_zoo.features import FeatureSpec
    from slm_eval.speech.audio import AudioError

    try:
        heard = hear(Path(job.path), job.start, job.end, FeatureSpec.from_dict(features))
    except AudioError as error:
        return Answer(job.id, reason=error.code, error=error.message)
    write_part(Path(job.part), heard)
    return Answer(job.id, heard.seconds)


class _Pool:
    """Threads that each serve a process, and a queue of answers."""

    def __init__(self, jobs: Iterable[Job], features: dict[str, Any], workers: int) -> None:
        self._jobs = iter(jobs)
        self._features = features
        self._lock = threading.Lock()
        self._stopped = False
        self._processes: set[subprocess.Popen[str]] = set()
        self._answers: queue.SimpleQueue[Answer | SlmEvalError | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> Iterator[Answer]:
        running = len(self._threads)
        while running:
            answer = self._answers.get()
            if isinstance(answer, SlmEvalError):
                raise answer
            if answer is None:
                running -= 1
            else:
                yield answer

    def stop(self) -> None:
        """End the processes, whatever they are doing, and wait for the threads."""
        with self._lock:
            self._stopped = True
            for process in self._processes:
                process.kill()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        process: subprocess.Popen[str] | None = None
        try:
            while (job := self._next()) is not None:
                for _ in range(TRIES):
                    process = process or self._start()
                    answer = _ask(process, job)
                    if isinstance(answer, Answer):
                        break
                    self._end(process)
                    process = None
                    if self._stopped:
                        return
                self._answers.put(answer if isinstance(answer, Answer) else _lost(job, answer))
        except SlmEvalError as error:
            self._answers.put(error)
        finally:
            if process is not None:
                self._end(process)
            self._answers.put(None)

    def _next(self) -> Job | None:
        with self._lock:
            return None if self._stopped else next(self._jobs, None)

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            launching.python("model_zoo.data.work"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            # The worker finds what this process finds, and computes on one core.
            env={**launching.environment(), "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        with self._lock:
            self._processes.add(process)
            if self._stopped:
                process.kill()
        if _call(process, self._features) != "ready":
            self._end(process)
            raise SlmEvalError("a worker process could not start; --workers 0 works in the main process")
        return process

    def _end(self, process: subprocess.Popen[str]) -> None:
        with self._lock:
            self._processes.discard(process)
        process.kill()
        process.wait()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        try:
            process.stdin.close()
        except BrokenPipeError:
            return  # what was not yet written is for nobody


def _lost(job: Job, died: Died) -> Answer:
    error = died.twice_on(Path(job.path))
    return Answer(job.id, reason=error.code, error=error.message)


def _ask(process: subprocess.Popen[str], job: Job) -> Answer | Died:
    reply = _call(process, vars(job))
    if reply is None:
        return Died(launching.ended(process))
    if "stop" in reply:
        raise SlmEvalError(reply["stop"])
    return Answer(**reply)


def _call(process: subprocess.Popen[str], message: Any) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except (OSError, ValueError):
        return None
    return json.loads(line) if line.endswith("\n") else None


def main() -> None:
    """Run a worker process: read the features, then jobs, until the input ends."""
    # What libraries print must not get between the answers.
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    import torch

    torch.set_num_threads(1)
    try:
        _answer(sys.stdin, output)
    except BrokenPipeError:
        return  # the process that asked is gone


def _answer(source: TextIO, sink: TextIO) -> None:
    def send(message: Any) -> None:
        sink.write(json.dumps(message) + "\n")
        sink.flush()

    features = json.loads(source.readline())
    send("ready")
    for line in source:
        job = Job(**json.loads(line))
        try:
            send(vars(_do(job, features)))
        except SlmEvalError as error:
            send({"stop": str(error)})
        except Exception as error:  # noqa: BLE001 - a bug here is reported where the user sees it
            send({"stop": f"{type(error).__name__} while hearing {job.path}: {error}"})
