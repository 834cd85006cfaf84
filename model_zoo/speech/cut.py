"""Recordings cut into what a model hears and what was really said after it: ``slm-zoo cut``.

    recording  |--- context ---|------ real ------|--- context ---|------ real ------|  rest
               DIR/contexts/ID.wav  DIR/real/ID.wav

``slm-zoo sample`` continues the contexts, ``slm-eval run --real DIR/real`` compares. Recordings that a model was
trained on say little: with the folder of ``slm-zoo prepare``, only those of its validation split are cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from model_zoo.data.shards import MelShards
from model_zoo.features import FeatureSpec
from model_zoo.speech.wavs import claim, wav_files, write_audio
from slm_eval._version import __version__
from slm_eval.base.errors import UsageError
from slm_eval.base.files import write_jsonl
from slm_eval.speech.audio import EXTENSIONS, AudioError, check, duration, read_audio, resample
from slm_eval.speech.corpus import Clip, Corpus, load_corpus

CONTEXTS, REAL = "contexts", "real"  # folders of the output
CLIPS = "clips.jsonl"  # what was cut from where


@dataclass(frozen=True)
class CutOptions:
    """What is cut.

    Raises:
        UsageError: a number that is not above 0.
    """

    context_seconds: float = 10.0  # [paper]
    seconds: float = 30.0  # [paper] of what follows
    clips: int | None = None  # at most; None: all there are
    held_out: Path | None = None  # a folder of ``slm-zoo prepare``: only recordings of its validation split
    progress: bool = False  # a bar on stderr

    def __post_init__(self) -> None:
        if not (self.context_seconds > 0 and self.seconds > 0 and (self.clips is None or self.clips > 0)):
            raise UsageError(
                "context and continuation take more than 0 s, and clips are at least 1; "
                f"got {self.context_seconds}, {self.seconds} and {self.clips}"
            )


@dataclass(frozen=True)
class Window:
    """A place in a recording."""

    recording: Clip
    start: float  # seconds from the beginning of its file
    name: str  # id of what is cut there


@dataclass(frozen=True)
class Outcome:
    """What ``cut`` did: ids by what became of them."""

    written: list[str]
    kept: list[str]  # were there already
    failed: dict[str, str]  # id -> why it could not be cut


def cut(source: str | Path | Corpus, output: Path, options: CutOptions) -> Outcome:
    """Cut recordings into contexts and what follows them, both at the rate of the model's features.

    Args:
        source: a folder, list or manifest of speech, as ``slm-eval run`` takes them.
        output: folder of ``contexts/``, ``real/`` and ``clips.jsonl``.

    Raises:
        UsageError: nothing is long enough or held out, or the folder holds speech that was cut otherwise.
        SlmEvalError: the shards are damaged, or the folder cannot be written.
    """
    corpus = source if isinstance(source, Corpus) else load_corpus(source)
    if not corpus.has_audio:
        raise UsageError(f"{corpus.path} is ready-made phones; contexts are speech")
    shards = MelShards.open(options.held_out) if options.held_out else None
    rate = (shards.spec if shards else FeatureSpec()).sample_rate
    places = windows(corpus if shards is None else _held_out(corpus, shards), options)
    files = {side: wav_files([place.name for place in places], output / side) for side in (CONTEXTS, REAL)}
    made = _provenance(corpus, shards, options)
    for side, paths in files.items():
        claim(output / side, {**made, "part": side}, paths.values())
    outcome = Outcome([], [], {})
    for place in tqdm(places, desc="cutting", unit="clip", disable=not options.progress):
        if all(paths[place.name].exists() for paths in files.values()):
            outcome.kept.append(place.name)
            continue
        try:
            heard, said = _parts(place, options, rate)
        except AudioError as error:
            outcome.failed[place.name] = f"{error.code}, {error}"
            continue
        write_audio(files[CONTEXTS][place.name], heard, rate)
        write_audio(files[REAL][place.name], said, rate)
        outcome.written.append(place.name)
    write_jsonl(output / CLIPS, (_line(place) for place in places if place.name not in outcome.failed))
    return outcome


def _provenance(corpus: Corpus, shards: MelShards | None, options: CutOptions) -> dict[str, Any]:
    """Return all that decides what is cut."""
    return {
        "made_by": f"slm-zoo cut {__version__}",
        "source": corpus.path,
        "seconds": [options.context_seconds, options.seconds],
        "clips": options.clips,
        "held_out": shards.digest if shards else None,
    }


def windows(corpus: Corpus, options: CutOptions) -> list[Window]:
    """List where to cut: one after the other in each recording; few clips are of as many recordings as there are.

    Raises:
        UsageError: no recording is long enough.
    """
    long = options.context_seconds + options.seconds
    places: list[tuple[int, Window]] = []
    longest = 0.0
    for clip in corpus.clips:
        assert clip.path is not None
        seconds = duration(clip.path, clip.start, clip.end)
        longest = max(longest, seconds)
        stem = clip.id.removesuffix(suffix) if (suffix := Path(clip.id).suffix).lower() in EXTENSIONS else clip.id
        for number in range(int(seconds / long + 1e-9)):
            places.append((number, Window(clip, (clip.start or 0.0) + number * long, f"{stem}-{number:04d}.wav")))
    if not places:
        raise UsageError(
            f"no recording of {corpus.path} holds {long:g} s; the longest that can be read has {longest:.1f} s: "
            "lower --context-seconds and --seconds"
        )
    places.sort(key=lambda place: place[0])  # stable: all first places, then all second ones
    return [window for _, window in places[: options.clips]]


def _held_out(corpus: Corpus, shards: MelShards) -> Corpus:
    split = {recording.id: recording.split for recording in shards.recordings}
    if not any(clip.id in split for clip in corpus.clips):
        raise UsageError(
            f"no recording of {corpus.path} is in {shards.path}, whose first is {min(split)!r}; "
            "give the speech that was prepared, by the same folder or manifest"
        )
    kept = tuple(clip for clip in corpus.clips if split.get(clip.id) == "validation")
    if not kept:
        raise UsageError(f"{corpus.path} holds no recording of the validation split of {shards.path}")
    return Corpus(corpus.path, kept)


def _parts(place: Window, options: CutOptions, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples of the context and of what follows.

    Raises:
        AudioError: they cannot be read, or one of them is silent.
    """
    assert place.recording.path is not None
    audio = read_audio(place.recording.path, place.start, place.start + options.context_seconds + options.seconds)
    samples = resample(audio.samples, audio.facts.sample_rate, rate)
    middle = round(options.context_seconds * rate)
    end = middle + round(options.seconds * rate)
    samples = np.pad(samples, (0, max(0, end - len(samples))))  # a sample or two that rounding may lack
    return check(samples[:middle]), check(samples[middle:end])


def _line(place: Window) -> dict[str, Any]:
    return {"id": place.name, "recording": place.recording.id, "start": round(place.start, 6)}
