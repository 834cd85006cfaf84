"""From sounds that somebody has not heard to jobs for the decoding processes, and from what these send to batches."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from slm_eval.base.errors import SlmEvalError
from slm_eval.observing.observer import Observation, Observer, Refusal
from slm_eval.observing.sounds import Sound
from slm_eval.observing.workers import Decoded, Job, Outcome
from slm_eval.speech.audio import AudioError, duration

Result = tuple[Job, Outcome]


def job_of(sound: Sound, in_workers: dict[str, Observer], on_device: dict[str, Observer]) -> Job:
    """Return what has to be done to a sound: who still has to hear it, and at which rates."""
    clip = sound.clip
    assert sound.content is not None
    assert clip.path is not None
    return Job(
        sound.content,
        clip.path,
        clip.start,
        clip.end,
        seconds=duration(clip.path, clip.start, clip.end),
        rates=frozenset(seer.sample_rate for name, seer in on_device.items() if name not in sound.observations),
        observers=tuple(index for index, name in enumerate(in_workers) if name not in sound.observations),
    )


def longest_first(job: Job) -> tuple[float, str]:
    """Return the key of an order in which batches hold similar lengths.

    What does not fit into memory then shows at once, and the estimate of the time left errs on the safe side.
    """
    return -job.seconds, job.content


def in_batches(decoding: Iterator[Result], seconds: float) -> Iterator[list[Result]]:
    """Yield decoded clips in groups of at most ``seconds`` of audio; a longer clip is a group of its own."""
    batch: list[Result] = []
    held = 0.0
    for job, outcome in decoding:
        # Of what was decoded: a header may have stated less, or nothing.
        own = outcome.facts.seconds if isinstance(outcome, Decoded) else 0.0
        if batch and held + own > seconds:
            yield batch
            batch, held = [], 0.0
        batch.append((job, outcome))
        held += own
    if batch:
        yield batch


def note_decoded(outcome: Decoded | AudioError, sound: Sound, in_workers: Sequence[str]) -> None:
    """Note at the sound what a worker found out."""
    if isinstance(outcome, AudioError):
        sound.error = outcome
    else:
        sound.facts = outcome.facts
        sound.observations.update((in_workers[index], seen) for index, seen in outcome.observations.items())


def observe_batch(
    fingerprint: str, observer: Observer, batch: Sequence[Result], todo: dict[str, Sound], device: str
) -> None:
    """Let a model hear those clips of a batch that it has not heard."""
    heard = [
        (todo[job.content], outcome.signals[observer.sample_rate])
        for job, outcome in batch
        if isinstance(outcome, Decoded) and fingerprint not in todo[job.content].observations
    ]
    if not heard:
        return
    with _others_code(observer):
        observer.ready(device)
        results = observer.observe([signal for _, signal in heard])
        if len(results) != len(heard):
            raise ValueError(f"observe() must return one result per clip, got {len(results)} for {len(heard)}")
    for (sound, _), seen in zip(heard, results, strict=True):
        _require_json(observer, sound, seen)
        sound.observations[fingerprint] = seen


@contextmanager
def _others_code(observer: Observer) -> Iterator[None]:
    """Turn what goes wrong in an observer of another package into one line that names it; ours show where they fail."""
    try:
        yield
    except SlmEvalError:
        raise
    except (Exception, SystemExit) as error:
        if type(observer).__module__.partition(".")[0] == "slm_eval":
            raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise SlmEvalError(
            f"the observer {observer.name!r} of another package ({type(observer).__module__}) failed: {reason}; "
            "what was observed is kept; update that package, or leave its metric out"
        ) from error


def _require_json(observer: Observer, sound: Sound, seen: Observation | Refusal) -> None:
    """Refuse an observation that no file can hold: another type, or a score that is NaN or infinite.

    Raises:
        SlmEvalError: the line names observer and clip.
    """
    if isinstance(seen, Refusal):
        return
    try:
        json.dumps(seen, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SlmEvalError(
            f"{observer.name} must observe JSON values with finite numbers, got of {sound.clip.id}: {error}; "
            "a clip that cannot be scored is a Refusal"
        ) from error
