"""Recordings heard in worker processes (``base.pool``). Mels never travel: a worker writes the part itself."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from slm_eval.base.pool import Died, in_processes
from slm_eval.observing.workers import died_twice


@dataclass(frozen=True)
class Job:
    """One recording to hear, and where its part goes."""

    id: str
    path: str
    start: float | None
    end: float | None
    part: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Answer:
    """What became of a job: its part is there, or why it is not."""

    id: str
    seconds: float = 0.0
    reason: str | None = None  # a code of slm_eval.speech.audio.REASONS
    error: str | None = None


def work(jobs: Iterable[Job], features: dict[str, Any], workers: int) -> Generator[Answer, None, None]:
    """Do jobs in ``workers`` processes (0: in this one); answers come as they get ready.

    Closing the generator ends the processes.

    Raises:
        SlmEvalError: a worker cannot start or cannot write, which would not end with one recording.
    """
    if workers == 0:
        with _one_thread():
            yield from (_do(job, features) for job in jobs)
        return
    begin = partial(_ready_to_hear, features)
    with closing(in_processes(begin, jobs, workers, environment={"OMP_NUM_THREADS": "1"})) as answers:
        for job, answer in answers:
            yield _lost(job, answer) if isinstance(answer, Died) else answer


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


def _ready_to_hear(features: dict[str, Any]) -> Callable[[Job], Answer]:
    import torch

    torch.set_num_threads(1)
    return partial(_do, features=features)


def _lost(job: Job, died: Died) -> Answer:
    error = died_twice(Path(job.path), died)
    return Answer(job.id, reason=error.code, error=error.message)
