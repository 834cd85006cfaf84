"""Clips decoded ahead of the model, in processes of their own (``base.pool``): jobs and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

from slm_eval.base.digests import content_digest, file_state
from slm_eval.base.pool import Died, in_processes
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

    def __str__(self) -> str:
        return str(self.path)


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

    observations = {
        index: observers[index].observe([at_rate(observers[index].sample_rate)])[0] for index in job.observers
    }
    return Decoded(audio.facts, {rate: at_rate(rate) for rate in job.rates}, observations)


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
    begin = partial(_ready_to_decode, list(observers))
    if workers == 0:
        yield from zip(jobs, map(begin(), jobs), strict=True)
        return
    processes = min(workers, len(jobs))
    with closing(in_processes(begin, jobs, processes, size=lambda job: job.seconds, ahead=ahead_seconds)) as answers:
        for job, outcome in answers:
            yield job, died_twice(job.path, outcome) if isinstance(outcome, Died) else outcome


def _ready_to_decode(observers: Sequence[Observer]) -> Callable[[Job], Outcome]:
    for observer in observers:
        observer.ready("cpu")
    return partial(decode, observers=observers)


def died_twice(path: Path, died: Died) -> AudioError:
    """Return what is said of a file that two processes in a row did not survive."""
    advice = "; if memory is short, fewer --workers need less of it" if died.how == "by SIGKILL" else ""
    line = f"the decoder process died twice on {path.name}, the second time {died.how}{advice}"
    return AudioError("decode_error", line)
