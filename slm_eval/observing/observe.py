"""The expensive half of a run: corpora and observers in, what every observer heard in every clip out.

    files -> digests -> what the store knows -> decode the rest in worker processes -> batches of similar length
          -> observers -> store

Nothing here depends on the order in which clips are decoded: observations are kept by content digest, so a run that
is stopped and started again, or spread differently over processes, ends with the same observations.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from tqdm import tqdm

from slm_eval.base.errors import SlmEvalError
from slm_eval.base.terminal import notice
from slm_eval.observing.batches import in_batches, job_of, longest_first, note_decoded, observe_batch
from slm_eval.observing.identify import READERS, distinct, give_up, identify, identify_again
from slm_eval.observing.observer import Observer
from slm_eval.observing.options import RunOptions
from slm_eval.observing.sounds import ClipResult, Sound
from slm_eval.observing.store import Store
from slm_eval.observing.workers import Job, Replaced, decode_all
from slm_eval.speech.audio import AudioError, AudioFacts
from slm_eval.speech.corpus import Corpus

# The fingerprint of what decoding finds out about a clip, which is cached like an observation: a cached run decodes
# nothing.
_FACTS = "audio|rev:3"
# A file that is written while it is decoded is digested and decoded again, so often in all.
_READINGS = 3


def observe(
    corpora: dict[str, Corpus], observers: Sequence[Observer], options: RunOptions
) -> dict[str, list[ClipResult]]:
    """Let every observer hear every clip.

    Args:
        corpora: by side; observers: those of one fingerprint hear a clip once.

    Returns:
        the clips by side, in the order of the corpora, with what was observed in each.

    Raises:
        SlmEvalError: a clip failed and ``on_error`` is "raise", too many failed, or the cache cannot be used.
    """
    by_fingerprint = {str(observer.fingerprint): observer for observer in observers}
    with options.open_store() as store:
        if not store.writable:
            notice(f"the cache {store.path} can only be read: what is observed now is not kept")
        # 1. What there is to hear: equal audio is one sound, wherever it lies. Ready-made phones need no observer.
        clips = identify(corpora, progress=options.progress)
        _take_phones_as_given(distinct(clips), by_fingerprint)
        replaced: list[Sound] = []
        for _ in range(_READINGS):
            identify_again(clips, replaced)
            sounds = distinct(clips)
            _check_failures(sounds, options)
            # 2. What earlier runs observed.
            if not options.fresh:
                _recall(sounds, list(by_fingerprint), store)
            # 3. The rest is decoded and observed; files that changed meanwhile are read again.
            replaced = _observe_missing(sounds, by_fingerprint, store, options)
            if not replaced:
                break
    for sound in replaced:
        give_up(sound)
    _check_failures(sounds, options)
    for sound in sounds:  # in one order, whatever the cache knew: equal runs write equal files
        seen = sound.observations
        sound.observations = {fingerprint: seen[fingerprint] for fingerprint in by_fingerprint if fingerprint in seen}
    return clips


def _observe_missing(
    sounds: Sequence[Sound], observers: dict[str, Observer], store: Store, options: RunOptions
) -> list[Sound]:
    """Decode what some observer has not heard, and let it hear it, in batches of similar length.

    Refusals and failures are not stored: they cost little, and a file may be mended before the next run.

    Returns:
        those whose files do not hold what was digested any more.
    """
    replaced: list[Sound] = []
    in_workers = {fingerprint: observer for fingerprint, observer in observers.items() if observer.in_worker}
    on_device = {fingerprint: observer for fingerprint, observer in observers.items() if not observer.in_worker}
    todo = {sound.content: sound for sound in sounds if sound.content and _lacks(sound, observers)}
    with ThreadPoolExecutor(READERS) as readers:  # for what ffmpeg decodes, a program is asked for the length
        jobs = sorted(readers.map(lambda sound: job_of(sound, in_workers, on_device), todo.values()), key=longest_first)
    workers = (os.cpu_count() or 1) if options.workers is None else options.workers
    decoding = decode_all(jobs, list(in_workers.values()), workers, ahead_seconds=2 * options.batch_seconds)
    with closing(decoding), _progress(jobs, options) as bar:
        for batch in in_batches(decoding, options.batch_seconds):
            for job, outcome in batch:
                if isinstance(outcome, Replaced):
                    replaced.append(todo[job.content])
                else:
                    note_decoded(outcome, todo[job.content], list(in_workers))
            for fingerprint, observer in on_device.items():
                observe_batch(fingerprint, observer, batch, todo, options.device)
            store.put(row for job, _ in batch for row in todo[job.content].rows(_FACTS))
            bar.update(sum(job.seconds for job, _ in batch))
            if any(isinstance(outcome, AudioError) for _, outcome in batch):
                _check_failures(sounds, options)
    return replaced


def _take_phones_as_given(sounds: Iterable[Sound], observers: dict[str, Observer]) -> None:
    """Let ready-made phones stand for what the recogniser would have observed."""
    for sound in sounds:
        if sound.clip.phones is not None:
            sound.observations = {
                fingerprint: {"phones": list(sound.clip.phones)}
                for fingerprint, observer in observers.items()
                if observer.observes_phones
            }


def _recall(sounds: Sequence[Sound], fingerprints: Iterable[str], store: Store) -> None:
    """Take from the store what earlier runs observed."""
    by_content = {sound.content: sound for sound in sounds if sound.content is not None}
    for content, facts in store.get(list(by_content), _FACTS).items():
        by_content[content].facts = AudioFacts(**facts)
    for fingerprint in fingerprints:
        for content, observation in store.get(list(by_content), fingerprint).items():
            by_content[content].observations[fingerprint] = observation
    if store.damaged:
        notice(f"{store.damaged} damaged observations in the cache {store.path} are made again")
        store.damaged = 0


def _lacks(sound: Sound, observers: dict[str, Observer]) -> bool:
    return sound.error is None and (sound.facts is None or bool(observers.keys() - sound.observations))


def _check_failures(sounds: Iterable[Sound], options: RunOptions) -> None:
    """Stop the run where the user asked for it."""
    failed = [sound for sound in sounds if sound.failure]
    if failed and options.on_error == "raise":
        raise SlmEvalError(f"{failed[0].clip.id}: {failed[0].failure}; --on-error report goes on without it")
    if options.max_failures is not None and len(failed) > options.max_failures:
        codes = Counter(sound.failure.code for sound in failed if sound.failure)
        listed = ", ".join(f"{count} {code}" for code, count in codes.most_common())
        raise SlmEvalError(
            f"more than {options.max_failures} clips failed ({listed}), the first is {failed[0].clip.id}"
        )


def _progress(jobs: Sequence[Job], options: RunOptions) -> tqdm:
    """Return a bar over seconds of audio, whose rate is the speed against real time."""
    return tqdm(
        # A little more, since sums of durations differ in their last digits by the order: a bar must not pass its end.
        total=sum(job.seconds for job in jobs) * (1 + 1e-9),
        desc="observing",
        disable=not options.progress or not jobs,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}, {rate_fmt}]",
        unit="x real time",
    )
