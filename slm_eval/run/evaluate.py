"""The main path: two corpora and some metrics in, an evaluation out. Read it from top to bottom.

    files -> Corpus -> digest -> what the store knows -> decode the rest in worker processes -> batch by length
          -> Observer -> Store -> Metric.summarise -> Evaluation

Nothing here depends on the order in which clips are decoded: observations are kept by content digest, so a run that
is stopped and started again, or spread differently over processes, ends with the same summary.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from slm_eval.base.device import resolve_device
from slm_eval.base.digests import content_digest
from slm_eval.base.errors import SlmEvalError
from slm_eval.base.files import cache_folder
from slm_eval.base.terminal import notice
from slm_eval.metrics.metric import Metric, NotComputed, Summary
from slm_eval.metrics.recitation import SHARED_AUDIO
from slm_eval.metrics.registry import every_metric, make_metric
from slm_eval.observing.observer import Observation, Observer
from slm_eval.observing.sounds import ClipResult, Sound
from slm_eval.observing.store import Store
from slm_eval.observing.workers import Decoded, Job, Outcome, Replaced, decode_all
from slm_eval.run.evaluation import Evaluation
from slm_eval.speech.audio import AudioError, AudioFacts, duration
from slm_eval.speech.corpus import Clip, Corpus, load_corpus
from slm_eval.speech.decoding import why_unreadable

# What decoding found out about a clip is cached like an observation, so that a cached run decodes nothing.
_FACTS = "audio|rev:3"
# A file that is written while it is decoded is digested and decoded again, so often in all.
_READINGS = 3
# Bytes of a file: 16 hours of studio sound. A sparse file of any size takes no space, and years to digest.
_LARGEST_FILE = 1 << 34
_READERS = 4  # threads that digest files: enough to keep a disk busy, and hashing releases the GIL

_Result = tuple[Job, Outcome]


@dataclass(frozen=True)
class RunOptions:
    """How a run is carried out. None of these changes a number."""

    device: str = "auto"  # "auto", "cpu", "cuda:0"
    batch_seconds: float = 120.0  # seconds of audio that a model is given at once
    workers: int | None = None  # decoding processes; None: one per core; 0: decode in the main process
    on_error: str = "report"  # "report": a bad clip is accounted for; "raise": it stops the run
    max_failures: int | None = None  # stop when more clips than this cannot be scored
    fresh: bool = False  # observe again what the cache knows
    cache: Path | None = None  # the observation cache; None: in $SLM_EVAL_CACHE
    progress: bool = False  # bars on stderr


def evaluate(
    generated: str | os.PathLike[str] | Corpus,
    real: str | os.PathLike[str] | Corpus,
    metrics: Sequence[Metric | str] | None = None,
    options: RunOptions | None = None,
) -> Evaluation:
    """Score generated speech against real speech.

    Args:
        generated: a folder, file list, wav.scp, JSONL manifest or phones.jsonl, or a loaded corpus.
        real: likewise.
        metrics: metrics or their names; None: every metric that can run here.
        options: device, batches, processes, what a bad clip does.

    Raises:
        UsageError: a path or a name that does not exist.
        SlmEvalError: the run cannot go on; what was observed is kept, and the same call continues.

    >>> evaluate("gen/", "real/", metrics=[pJSD(n=(1, 5)), DNSMOS()]).to_pandas()  # doctest: +SKIP
    """
    options = options or RunOptions()
    require_usable(options)
    corpora, runnable, left_out = plan(generated, real, metrics)
    clips = observe(corpora, [metric.observer for metric in runnable], options)
    return summarise(corpora, clips, runnable, left_out)


def require_usable(options: RunOptions) -> None:
    """Find out at once what would otherwise show after minutes: whether the device is there, and the cache can be used.

    Raises:
        UsageError: there is no such device.
        SlmEvalError: the cache cannot be used.
    """
    if options.device not in {"auto", "cpu"}:  # which are always there; asking for others loads torch
        resolve_device(options.device)
    with _open_store(options):
        pass


def _open_store(options: RunOptions) -> Store:
    return Store(options.cache or cache_folder() / "observations.sqlite")


def plan(
    generated: str | os.PathLike[str] | Corpus,
    real: str | os.PathLike[str] | Corpus,
    metrics: Sequence[Metric | str] | None,
) -> tuple[dict[str, Corpus], list[Metric], dict[str, NotComputed]]:
    """What is scored, the metrics that can be computed, and why the others cannot; arguments as for ``evaluate``.

    Raises:
        UsageError: a path or a name that does not exist.
        SlmEvalError: none of the metrics can be computed.
    """
    corpora = {"generated": _corpus(generated), "real": _corpus(real)}
    asked = every_metric() if metrics is None else [make_metric(metric) for metric in metrics]
    runnable, left_out = choose(asked, corpora)
    if not runnable:
        reasons = dict.fromkeys(absent.reason for absent in left_out.values())
        raise SlmEvalError(f"none of the metrics can be computed: {'; '.join(reasons)}")
    return corpora, runnable, left_out


def choose(metrics: Sequence[Metric], corpora: dict[str, Corpus]) -> tuple[list[Metric], dict[str, NotComputed]]:
    """The metrics that can be computed on these corpora here, and why the others cannot."""
    runnable: list[Metric] = []
    left_out: dict[str, NotComputed] = {}
    for metric in metrics:
        reason = metric.prepare(corpora) or _fetch(metric.observer)
        if reason is None:
            runnable.append(metric)
        else:
            left_out.update((key, NotComputed(reason, unavailable=True)) for key in metric.keys)
    return runnable, left_out


def _fetch(observer: Observer) -> str | None:
    """Get the weights; a line that says why they are not to be had, or None."""
    try:
        observer.fetch()
    except SlmEvalError as error:
        return str(error)
    return None


def observe(
    corpora: dict[str, Corpus], observers: Sequence[Observer], options: RunOptions
) -> dict[str, list[ClipResult]]:
    """What every observer sees in every clip, by side, in the order of the corpora.

    Raises:
        SlmEvalError: a clip failed and ``on_error`` is "raise", too many failed, or the cache cannot be used.
    """
    by_fingerprint = {str(observer.fingerprint): observer for observer in observers}
    with _open_store(options) as store:
        if not store.writable:
            notice(f"the cache {store.path} can only be read: what is observed now is not kept")
        clips = _identify(corpora, options)
        _take_phones_as_given(_distinct(clips), by_fingerprint)
        replaced: list[Sound] = []
        for _ in range(_READINGS):
            _identify_again(clips, replaced)
            sounds = _distinct(clips)
            _check_failures(sounds, options)
            if not options.fresh:
                _recall(sounds, list(by_fingerprint), store)
            replaced = _observe_missing(sounds, by_fingerprint, store, options)
            if not replaced:
                break
    for sound in replaced:
        _give_up(sound)
    _check_failures(sounds, options)
    for sound in sounds:  # in one order, whatever the cache knew: equal runs write equal files
        seen = sound.observations
        sound.observations = {fingerprint: seen[fingerprint] for fingerprint in by_fingerprint if fingerprint in seen}
    return clips


def summarise(
    corpora: dict[str, Corpus],
    clips: dict[str, list[ClipResult]],
    metrics: Sequence[Metric],
    left_out: dict[str, NotComputed],
) -> Evaluation:
    """From observations to numbers: no audio and no model from here on."""
    computed: dict[str, Summary] = {}
    absent = dict(left_out)
    shared = _warn_of_shared_clips(clips)
    for metric in metrics:
        generated, real = (observations(clips[side], metric.observer) for side in ("generated", "real"))
        for key, summary in metric.summarise(generated, real).items():
            if isinstance(summary, NotComputed):
                absent[key] = summary
            else:
                computed[key] = replace(summary, warnings=(*summary.warnings, *shared))
    return Evaluation(corpora, clips, computed, absent)


def _warn_of_shared_clips(clips: dict[str, list[ClipResult]]) -> tuple[str, ...]:
    """The same audio on both sides makes generated speech look real: too low a divergence, too small an interval."""
    real = {clip.sound.content for clip in clips["real"]}
    shared = sum(clip.sound.content in real for clip in clips["generated"] if clip.sound.content)
    if not shared:
        return ()
    return (f"{shared} of {len(clips['generated'])} generated clips {SHARED_AUDIO}",)


def _corpus(source: str | os.PathLike[str] | Corpus) -> Corpus:
    return source if isinstance(source, Corpus) else load_corpus(source)


def observations(clips: Iterable[ClipResult], observer: Observer) -> list[Observation]:
    """What an observer saw, without clips in which it could see nothing; with the speaker, prompt and audio of each."""
    seen = ((clip, clip.sound.observations.get(str(observer.fingerprint))) for clip in clips)
    return [
        {**each, **clip.clip.labels, "content": clip.sound.content} for clip, each in seen if isinstance(each, dict)
    ]


def _identify(corpora: dict[str, Corpus], options: RunOptions) -> dict[str, list[ClipResult]]:
    """Digest every file: cheap beside decoding, and all that a cached run has to read."""
    sounds: dict[str | None, Sound] = {}
    results: dict[str, list[ClipResult]] = {side: [] for side in corpora}
    readers = ThreadPoolExecutor(_READERS)
    try:
        for side, corpus in corpora.items():
            digests = readers.map(_digest, corpus.clips)
            bar = tqdm(corpus.clips, f"reading {side}", unit="clip", leave=False, disable=not options.progress)
            for clip, digest in zip(bar, digests, strict=True):
                results[side].append(ClipResult(clip, side, _sound(clip, digest, sounds)))
    finally:
        readers.shutdown(cancel_futures=True)  # at Ctrl-C, thousands of files may be waiting
    return results


def _sound(clip: Clip, digest: str | AudioError | None, sounds: dict[str | None, Sound]) -> Sound:
    """The sound of a clip: one for each content; ready-made phones and unreadable files have one of their own."""
    if isinstance(digest, AudioError):
        return Sound(clip, None, error=digest)
    return Sound(clip, None) if digest is None else sounds.setdefault(digest, Sound(clip, digest))


def _distinct(clips: dict[str, list[ClipResult]]) -> list[Sound]:
    return list({id(clip.sound): clip.sound for side in clips.values() for clip in side}.values())


def _identify_again(clips: dict[str, list[ClipResult]], replaced: Sequence[Sound]) -> None:
    """Digest those clips again whose files were written to since: what they hold now is what is observed."""
    if not replaced:
        return
    stale = {id(sound) for sound in replaced}
    sounds = {sound.content: sound for sound in _distinct(clips) if id(sound) not in stale}
    for of_side in clips.values():
        for at, clip in enumerate(of_side):
            if id(clip.sound) in stale:
                of_side[at] = replace(clip, sound=_sound(clip.clip, _digest(clip.clip), sounds))


def _give_up(sound: Sound) -> None:
    """A file that never stays the same cannot be scored: there is no digest to keep its scores under."""
    assert sound.clip.path is not None
    line = f"{sound.clip.path.name} is being written to; run again when it is finished"
    sound.error, sound.facts, sound.observations = AudioError("decode_error", line), None, {}


def _digest(clip: Clip) -> str | AudioError | None:
    """What identifies the audio of a clip; None for ready-made phones."""
    if clip.path is None:
        return None
    try:
        size = clip.path.stat().st_size
        if size > _LARGEST_FILE:
            line = f"{clip.path.name} has {size / 2**30:,.0f} GiB; at most {_LARGEST_FILE >> 30} are read"
            return AudioError("too_long", line)
        return content_digest(clip.path, clip.start, clip.end)
    except PermissionError as error:
        return AudioError("permission", f"cannot open {clip.path.name}: {error.strerror}; check its permissions")
    except OSError as error:
        return AudioError("decode_error", f"cannot read {clip.path.name}: {why_unreadable(clip.path, error)}")


def _take_phones_as_given(sounds: Iterable[Sound], observers: dict[str, Observer]) -> None:
    """Ready-made phones stand for what the recogniser would have observed."""
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


def _observe_missing(
    sounds: Sequence[Sound], observers: dict[str, Observer], store: Store, options: RunOptions
) -> list[Sound]:
    """Decode what some observer has not seen, and let it see it, in batches of similar length.

    Refusals and failures are not stored: they cost little, and a file may be mended before the next run.

    Returns:
        Those whose files do not hold what was digested any more.
    """
    replaced: list[Sound] = []
    in_workers = {fingerprint: observer for fingerprint, observer in observers.items() if observer.in_worker}
    in_batches = {fingerprint: observer for fingerprint, observer in observers.items() if not observer.in_worker}
    todo = {sound.content: sound for sound in sounds if sound.content and _lacks(sound, observers)}
    with ThreadPoolExecutor(_READERS) as readers:  # for what ffmpeg decodes, a program is asked for the length
        jobs = sorted(readers.map(lambda each: _job(each, in_workers, in_batches), todo.values()), key=_longest_first)
    workers = (os.cpu_count() or 1) if options.workers is None else options.workers
    decoding = decode_all(jobs, list(in_workers.values()), workers, ahead_seconds=2 * options.batch_seconds)
    with closing(decoding), _progress(jobs, options) as bar:
        for batch in _batches(decoding, options.batch_seconds):
            for job, decoded in batch:
                if isinstance(decoded, Replaced):
                    replaced.append(todo[job.content])
                else:
                    _take(decoded, todo[job.content], list(in_workers))
            for fingerprint, observer in in_batches.items():
                _observe_batch(fingerprint, observer, batch, todo, options.device)
            store.put(row for job, _ in batch for row in _rows(todo[job.content]))
            bar.update(sum(job.seconds for job, _ in batch))
            if any(isinstance(decoded, AudioError) for _, decoded in batch):
                _check_failures(sounds, options)
    return replaced


def _lacks(sound: Sound, observers: dict[str, Observer]) -> bool:
    return sound.error is None and (sound.facts is None or bool(observers.keys() - sound.observations))


def _job(sound: Sound, in_workers: dict[str, Observer], in_batches: dict[str, Observer]) -> Job:
    """What has to be done to a sound: who still has to hear it, and at which rates."""
    clip = sound.clip
    assert sound.content is not None
    assert clip.path is not None
    return Job(
        sound.content,
        clip.path,
        clip.start,
        clip.end,
        seconds=duration(clip.path, clip.start, clip.end),
        rates=frozenset(seer.sample_rate for name, seer in in_batches.items() if name not in sound.observations),
        observers=tuple(at for at, name in enumerate(in_workers) if name not in sound.observations),
    )


def _longest_first(job: Job) -> tuple[float, str]:
    """Batches then hold similar lengths, what does not fit into memory shows at once, and the estimate of the time
    left errs on the safe side."""
    return -job.seconds, job.content


def _batches(decoding: Iterator[_Result], seconds: float) -> Iterator[list[_Result]]:
    """Decoded clips in groups of at most ``seconds`` of audio; a longer clip is a group of its own."""
    batch: list[_Result] = []
    held = 0.0
    for job, decoded in decoding:
        # Of what was decoded: a header may have stated less, or nothing.
        own = decoded.facts.seconds if isinstance(decoded, Decoded) else 0.0
        if batch and held + own > seconds:
            yield batch
            batch, held = [], 0.0
        batch.append((job, decoded))
        held += own
    if batch:
        yield batch


def _take(decoded: Decoded | AudioError, sound: Sound, in_workers: Sequence[str]) -> None:
    """Note what the worker found out."""
    if isinstance(decoded, AudioError):
        sound.error = decoded
    else:
        sound.facts = decoded.facts
        sound.observations.update((in_workers[at], seen) for at, seen in decoded.observations.items())


def _observe_batch(
    fingerprint: str, observer: Observer, batch: Sequence[_Result], todo: dict[str, Sound], device: str
) -> None:
    """Let a model see those clips of a batch that it has not seen."""
    heard = [
        (todo[job.content], decoded.signals[observer.sample_rate])
        for job, decoded in batch
        if isinstance(decoded, Decoded) and fingerprint not in todo[job.content].observations
    ]
    if not heard:
        return
    observer.ready(device)
    for (sound, _), seen in zip(heard, observer.observe([signal for _, signal in heard]), strict=True):
        sound.observations[fingerprint] = seen


def _rows(sound: Sound) -> Iterator[tuple[str, str, Observation]]:
    """What the store keeps of a sound."""
    if sound.content is None or sound.facts is None:
        return
    yield sound.content, _FACTS, sound.facts._asdict()
    for fingerprint, seen in sound.observations.items():
        if isinstance(seen, dict):
            yield sound.content, fingerprint, seen


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
    """A bar over seconds of audio, whose rate is the speed against real time."""
    return tqdm(
        # A little more, since sums of durations differ in their last digits by the order: a bar must not pass its end.
        total=sum(job.seconds for job in jobs) * (1 + 1e-9),
        desc="observing",
        disable=not options.progress or not jobs,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s [{elapsed}<{remaining}, {rate_fmt}]",
        unit="x real time",
    )
