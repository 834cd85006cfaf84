"""Decoding processes that run ahead of the model.

Each worker is a Python process of its own that reads jobs from its standard input and writes what it decoded to its
standard output; one thread here serves each of them. So a file that crashes a decoder costs one clip and not the run,
nothing forks beside torch's threads, a caller's script needs no ``__main__`` guard, and when this process is killed
the workers see the end of their input and leave.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from slm_eval.base import launching
from slm_eval.base.digests import content_digest, file_state
from slm_eval.base.errors import SlmEvalError
from slm_eval.observing.observer import Observation, Observer, Refusal, Signal
from slm_eval.speech.audio import Audio, AudioError, AudioFacts, read_audio, resample


@dataclass(frozen=True)
class Job:
    """One clip to decode: what it is called, at which rates it is wanted, and who observes it in the worker."""

    content: str
    path: Path
    start: float | None
    end: float | None
    seconds: float  # as far as known beforehand: for the order and the memory budget
    rates: frozenset[int | None]  # Hz; None: the native rate
    observers: tuple[int, ...]  # positions in the list of observers that workers hold


@dataclass(frozen=True)
class Decoded:
    """A decoded clip: one signal per wanted rate, and the observations made in the worker by observer position."""

    facts: AudioFacts
    signals: dict[int | None, Signal] = field(default_factory=dict)
    observations: dict[int, Observation | Refusal] = field(default_factory=dict)


@dataclass(frozen=True)
class Replaced:
    """The file does not hold what was digested: it was replaced, or written to while it was decoded."""


Outcome: TypeAlias = "Decoded | AudioError | Replaced"


def decode(job: Job, observers: Sequence[Observer]) -> Outcome:
    """Decode once, resample once per rate, and let the workers' observers have their look.

    What is observed is kept under the digest of the audio for ever. So the bytes are digested again once they have been
    decoded: they were the same before and after, and nobody wrote to the file in between. Reading it twice costs less
    than holding it in memory, where a recording of two hours has more than a gigabyte.
    """
    state = _state(job.path)
    audio: Audio | AudioError
    try:
        audio = read_audio(job.path, job.start, job.end)
    except AudioError as error:
        audio = error
    if state is not None and _was_replaced(job, state):
        return Replaced()
    if isinstance(audio, AudioError):
        return audio
    return _observe(audio, job, observers)


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        return file_state(path)
    except OSError:
        return None  # it is gone: reading it says why


def _was_replaced(job: Job, state: tuple[int, ...]) -> bool:
    try:
        return content_digest(job.path, job.start, job.end) != job.content or file_state(job.path) != state
    except OSError:
        return True


def _observe(audio: Audio, job: Job, observers: Sequence[Observer]) -> Decoded:
    by_rate: dict[int | None, Signal] = {}

    def at_rate(rate: int | None) -> Signal:
        if rate not in by_rate:
            target = rate or audio.facts.sample_rate
            by_rate[rate] = Signal(resample(audio.samples, audio.facts.sample_rate, target), target)
        return by_rate[rate]

    observations = {at: observers[at].observe([at_rate(observers[at].sample_rate)])[0] for at in job.observers}
    return Decoded(audio.facts, {rate: at_rate(rate) for rate in job.rates}, observations)


# A worker that dies may have been ended for the memory that others took: a fresh one tries the file again.
TRIES = 2


@dataclass(frozen=True)
class Died:
    """A process did not survive a file; ``how`` it ended is of ``launching.ended``."""

    how: str

    def twice_on(self, path: Path) -> AudioError:
        """Return what is said of a file that two processes in a row did not survive, this one being the second."""
        advice = "; if memory is short, fewer --workers need less of it" if self.how == "by SIGKILL" else ""
        line = f"the decoder process died twice on {path.name}, the second time {self.how}{advice}"
        return AudioError("decode_error", line)


def decode_all(
    jobs: Sequence[Job], observers: Sequence[Observer], workers: int, ahead_seconds: float
) -> Generator[tuple[Job, Outcome], None, None]:
    """Decode jobs in ``workers`` processes (0: in this one), handing them out as they get ready.

    Args:
        jobs: in the order in which they are begun; they may come out in another one.
        observers: those that run in the workers; ``Job.observers`` counts into it.
        workers: number of processes.
        ahead_seconds: seconds of audio that may wait, decoded, for the caller. A longer clip travels alone.

    Raises:
        SlmEvalError: a worker cannot start, or an observer failed in it.
    """
    if not jobs:
        return
    if workers == 0:
        for observer in observers:
            observer.ready("cpu")
        yield from ((job, decode(job, observers)) for job in jobs)
        return
    pool = _Pool(jobs, observers, min(workers, len(jobs)), ahead_seconds)
    try:
        for _ in jobs:
            yield pool.take()
    finally:
        pool.stop()


class _Pool:
    """Threads that each serve a worker process, a queue of what they decoded, and a budget for its size."""

    def __init__(self, jobs: Sequence[Job], observers: Sequence[Observer], workers: int, ahead_seconds: float) -> None:
        self._jobs = iter(jobs)
        self._observers = list(observers)
        self._ahead_seconds = ahead_seconds
        self._in_flight: list[float] = []  # seconds of the jobs that are begun and not yet taken
        self._stopped = False
        self._changed = threading.Condition()
        self._ready: queue.SimpleQueue[tuple[Job, Outcome] | SlmEvalError] = queue.SimpleQueue()
        self._processes: set[_Worker] = set()
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def take(self) -> tuple[Job, Outcome]:
        """The next decoded job; makes room for another one."""
        item = self._ready.get()
        if isinstance(item, SlmEvalError):
            raise item
        with self._changed:
            self._in_flight.remove(item[0].seconds)
            self._changed.notify_all()
        return item

    def stop(self) -> None:
        """End the worker processes, whatever they are doing, and wait for the threads."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            for process in self._processes:
                process.kill()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        worker: _Worker | None = None
        try:
            while (job := self._next_job()) is not None:
                for _ in range(TRIES):
                    worker = worker or self._start()
                    result = worker.call(job)
                    if not isinstance(result, Died):
                        break
                    self._end(worker)
                    worker = None
                    if self._stopped:
                        return
                self._ready.put((job, result.twice_on(job.path) if isinstance(result, Died) else result))
        except SlmEvalError as error:
            self._ready.put(error)
        finally:
            if worker is not None:
                self._end(worker)

    def _next_job(self) -> Job | None:
        """The next job once there is room for it; None when there is none left."""
        with self._changed:
            job = next(self._jobs, None)
            if job is None:
                return None
            # Asked of the list: a running sum is left a little above 0 by rounding, and nothing would ever be alone.
            while not self._stopped and self._in_flight and sum(self._in_flight) + job.seconds > self._ahead_seconds:
                self._changed.wait()
            self._in_flight.append(job.seconds)
            return None if self._stopped else job

    def _start(self) -> _Worker:
        worker = _Worker(self._observers)
        with self._changed:
            self._processes.add(worker)
            if self._stopped:
                worker.kill()
        worker.wait_until_ready()
        return worker

    def _end(self, worker: _Worker) -> None:
        with self._changed:
            self._processes.discard(worker)
        worker.end()


class _Worker:
    """A process that runs ``main`` below, spoken to in pickles over its standard streams."""

    def __init__(self, observers: list[Observer]) -> None:
        self._observers = observers
        self._process = subprocess.Popen(
            launching.python("slm_eval.observing.workers"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # The worker finds what this process finds, also where the package is not installed.
            env=launching.environment(),
            # Ctrl-C at a terminal reaches every process of the group: this process decides what it means.
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout

    def wait_until_ready(self) -> None:
        try:
            self._send(self._observers)
            self._receive()
        except (EOFError, OSError) as error:
            raise SlmEvalError("a decoding process could not start; --workers 0 decodes in the main process") from error

    def call(self, job: Job) -> Outcome | Died:
        try:
            self._send(job)
            return self._receive()
        except (EOFError, OSError, pickle.UnpicklingError):
            return Died(launching.ended(self._process))

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._output.close()
        try:
            self._input.close()
        except BrokenPipeError:
            return  # what was not yet written is for nobody

    def _send(self, message: Any) -> None:
        pickle.dump(message, self._input, protocol=pickle.HIGHEST_PROTOCOL)
        self._input.flush()

    def _receive(self) -> Any:
        result = pickle.load(self._output)
        if isinstance(result, SlmEvalError):
            raise result
        return result


def main() -> None:
    """What a worker process runs: read observers, then jobs, until the input ends."""
    # What libraries print must not get between the pickles.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        _work(sys.stdin.buffer, output)
    except (EOFError, BrokenPipeError):
        return  # the process that asked is gone


def _work(source: BinaryIO, sink: BinaryIO) -> None:
    def send(message: Any) -> None:
        pickle.dump(message, sink, protocol=pickle.HIGHEST_PROTOCOL)
        sink.flush()

    try:
        observers: list[Observer] = pickle.load(source)
    except (ImportError, AttributeError) as error:
        send(
            SlmEvalError(
                f"a decoding process cannot import an observer ({error}); install its module, or name the module's "
                "folder in full in PYTHONPATH; --workers 0 decodes in the main process"
            )
        )
        return
    for observer in observers:
        try:
            observer.ready("cpu")
        except SlmEvalError as error:
            send(error)
            return
    send("ready")
    while True:
        job: Job = pickle.load(source)
        try:
            result: Any = decode(job, observers)
        except SlmEvalError as error:
            result = error
        except Exception as error:  # noqa: BLE001 - a bug in an observer is reported where the user sees it
            result = SlmEvalError(f"{type(error).__name__} while observing {job.path}: {error}")
        send(result)
