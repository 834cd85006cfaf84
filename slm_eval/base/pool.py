"""Python processes that work ahead of the caller: one job and one answer at a time.

Each process reads pickled jobs from its standard input and writes its answers to its standard output; one thread here
serves each of them. So a job that crashes a process costs one answer and not the run, nothing forks beside torch's
threads, a caller's script needs no ``__main__`` guard, and when this process is killed the workers see the end of their
input and leave.
"""

from __future__ import annotations

import math
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, Generic, TypeVar

from slm_eval.base import launching
from slm_eval.base.errors import SlmEvalError

_Job = TypeVar("_Job")
_Answer = TypeVar("_Answer")

# A worker that dies may have been ended for the memory that others took: a fresh one tries the job again.
_TRIES = 2


@dataclass(frozen=True)
class Died:
    """In place of an answer: two processes in a row did not survive the job, and ``how`` the second one ended."""

    how: str  # of ``launching.ended``


def in_processes(
    begin: Callable[[], Callable[[_Job], _Answer]],
    jobs: Iterable[_Job],
    processes: int,
    *,
    size: Callable[[_Job], float] = lambda _: 0.0,
    ahead: float = math.inf,
    environment: Mapping[str, str] | None = None,
) -> Generator[tuple[_Job, _Answer | Died], None, None]:
    """Do jobs in processes, handing answers out as they get ready. Closing the generator ends the processes.

    Args:
        begin: called once in each process; returns what does a job there. It travels in a pickle: a function of a
            module, or a ``partial`` of one.
        jobs: in the order in which they are begun; they may come out in another one.
        processes: how many.
        size: of a job, in the unit of ``ahead``.
        ahead: the size of jobs that may be in work or wait, done, for the caller. A larger one travels alone.
        environment: variables that the processes get beside those of this one.

    Raises:
        SlmEvalError: a process cannot start, or a job ended with an exception.
    """
    pool = Pool(begin, jobs, processes, size, ahead, environment or {})
    try:
        yield from pool
    finally:
        pool.stop()


class Pool(Generic[_Job, _Answer]):
    """Threads that each serve a process, a queue of answers, and a budget for its size."""

    def __init__(
        self,
        begin: Callable[[], Callable[[_Job], _Answer]],
        jobs: Iterable[_Job],
        processes: int,
        size: Callable[[_Job], float],
        ahead: float,
        environment: Mapping[str, str],
    ) -> None:
        self._begin = begin
        self._jobs = iter(jobs)
        self._size = size
        self._ahead = ahead
        self._environment = environment
        self._in_flight: list[float] = []  # sizes of the jobs that are begun and not yet taken
        self._stopped = False
        self._changed = threading.Condition()
        # None: a thread has no more jobs.
        self._ready: queue.SimpleQueue[tuple[_Job, _Answer | Died] | SlmEvalError | None] = queue.SimpleQueue()
        self._workers: set[_Worker] = set()
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(processes)]
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> Iterator[tuple[_Job, _Answer | Died]]:
        """Yield jobs and their answers; each that is taken makes room for another one."""
        running = len(self._threads)
        while running:
            item = self._ready.get()
            if item is None:
                running -= 1
            elif isinstance(item, SlmEvalError):
                raise item
            else:
                with self._changed:
                    self._in_flight.remove(self._size(item[0]))
                    self._changed.notify_all()
                yield item

    def stop(self) -> None:
        """End the processes, whatever they are doing, and wait for the threads."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            for worker in self._workers:
                worker.kill()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        worker: _Worker | None = None
        try:
            while (job := self._next_job()) is not None:
                for _ in range(_TRIES):
                    worker = worker or self._start()
                    answer = worker.call(job)
                    if not isinstance(answer, Died):
                        break
                    self._end(worker)
                    worker = None
                    if self._stopped:
                        return
                self._ready.put((job, answer))
        except SlmEvalError as error:
            self._ready.put(error)
        finally:
            if worker is not None:
                self._end(worker)
            self._ready.put(None)

    def _next_job(self) -> _Job | None:
        """Return the next job once there is room for it; None when there is none left."""
        with self._changed:
            if self._stopped or (job := next(self._jobs, None)) is None:
                return None
            size = self._size(job)
            # Asked of the list: a running sum is left a little above 0 by rounding, and nothing would ever be alone.
            while not self._stopped and self._in_flight and sum(self._in_flight) + size > self._ahead:
                self._changed.wait()
            self._in_flight.append(size)
            return None if self._stopped else job

    def _start(self) -> _Worker:
        worker = _Worker(self._environment)
        with self._changed:
            self._workers.add(worker)
            if self._stopped:
                worker.kill()
        worker.begin(self._begin)
        return worker

    def _end(self, worker: _Worker) -> None:
        with self._changed:
            self._workers.discard(worker)
        worker.end()


class _Worker:
    """A process that runs ``main`` below, spoken to in pickles over its standard streams."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            launching.python("slm_eval.base.pool"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # The worker finds what this process finds, also where the package is not installed.
            env={**launching.environment(), **environment},
            # Ctrl-C at a terminal reaches every process of the group: this process decides what it means.
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout

    def begin(self, begin: Callable[[], Any]) -> None:
        try:
            self._ask(begin)
        except (EOFError, OSError) as error:
            raise SlmEvalError("a worker process could not start; --workers 0 works in the main process") from error

    def call(self, job: Any) -> Any:
        try:
            return self._ask(job)
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

    def _ask(self, message: Any) -> Any:
        _send(message, self._input)
        answer = pickle.load(self._output)
        if isinstance(answer, SlmEvalError):
            raise answer
        return answer


def main() -> None:
    """Run a worker process: read what to do, then jobs, until the input ends."""
    # What libraries print must not get between the pickles.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        _work(sys.stdin.buffer, output)
    except (EOFError, BrokenPipeError):
        return  # the process that asked is gone


def _work(source: IO[bytes], sink: IO[bytes]) -> None:
    try:
        begin = pickle.load(source)
    except (ImportError, AttributeError) as error:
        line = (
            f"a worker process cannot import what it is given ({error}); install its module, or name the module's "
            "folder in full in PYTHONPATH; --workers 0 works in the main process"
        )
        return _send(SlmEvalError(line), sink)
    try:
        do = begin()
    except SlmEvalError as error:
        return _send(error, sink)
    _send("ready", sink)
    while True:
        job = pickle.load(source)
        try:
            answer = do(job)
        except SlmEvalError as error:
            answer = error
        except Exception as error:  # noqa: BLE001 - a bug in the work is reported where the user sees it
            answer = SlmEvalError(f"{type(error).__name__} while working on {job}: {error}")
        _send(answer, sink)


def _send(message: Any, sink: IO[bytes]) -> None:
    pickle.dump(message, sink, protocol=pickle.HIGHEST_PROTOCOL)
    sink.flush()
