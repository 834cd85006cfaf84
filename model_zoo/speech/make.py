"""Folders of made speech: recordings of conversations, with a manifest of what was said by whom.

    slm-zoo make-speech -o DIR --hours 1

A recording depends on the seed and on its number alone, so a command that was stopped goes on, and more hours of the
same seed only add recordings.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from model_zoo.speech.grammar import Turn, conversation
from model_zoo.speech.voices import Voice, recording, require_espeak
from model_zoo.speech.wavs import write_audio
from slm_eval._version import __version__
from slm_eval.base.errors import UsageError
from slm_eval.base.files import dump, write_jsonl, write_whole
from slm_eval.speech.provenance import NAME as PROVENANCE
from slm_eval.speech.provenance import read_provenance

SAMPLE_RATE = 24_000  # of the reference model, so that nothing is resampled twice
_POOL = 200  # speakers of a seed


def make_speech(
    output: Path, hours: float, seed: int = 0, minutes: float = 2.0, workers: int | None = None, progress: bool = False
) -> list[dict[str, Any]]:
    """Write recordings as FLAC, ``manifest.jsonl`` and ``provenance.json``.

    Args:
        hours: of speech in all, at least; a recording is never cut.
        seed: of texts, voices and levels.
        minutes: of one recording, about: it ends with the turn that passes them.
        workers: recordings made at once; None: one per core.

    Returns:
        the lines of the manifest: id, path, seconds, speakers and turns.

    Raises:
        UsageError: nothing is asked for, or the folder holds speech of another seed or length.
        SlmEvalError: espeak-ng is missing or fails, or the folder cannot be written.
    """
    if not (hours > 0 and minutes > 0):
        raise UsageError(f"hours and minutes must be above 0, got {hours} and {minutes}")
    require_espeak()
    _claim(output, seed, minutes)
    there = set(output.glob("*.flac"))
    lines: list[dict[str, Any]] = []
    made = 0.0
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool, _bar(hours, progress) as bar:
        for line in _in_turn(pool, output, seed, minutes, ahead=2 * (workers or os.cpu_count() or 1)):
            lines.append(line)
            made += line["seconds"]
            bar.update(min(line["seconds"] / 3600, hours - bar.n))  # never past its end
            if made >= hours * 3600:
                break
    # Made ahead and not wanted: how many depends on the workers, which decide nothing about a folder.
    for surplus in set(output.glob("*.flac")) - there - {output / line["path"] for line in lines}:
        surplus.unlink()
    write_jsonl(output / "manifest.jsonl", lines)
    return lines


def _in_turn(pool: ThreadPoolExecutor, output: Path, seed: int, minutes: float, ahead: int) -> Iterator[dict[str, Any]]:
    """Yield recordings in the order of their numbers, a few made ahead; those not wanted any more are given up."""
    waiting = [pool.submit(_make, output, seed, number, minutes) for number in range(ahead)]
    try:
        for number in itertools.count(ahead):
            yield waiting.pop(0).result()
            waiting.append(pool.submit(_make, output, seed, number, minutes))
    finally:
        for task in waiting:
            task.cancel()


def _make(output: Path, seed: int, number: int, minutes: float) -> dict[str, Any]:
    """Make one recording, unless it is there; return its line of the manifest."""
    import soundfile

    rng = np.random.default_rng((seed, number))
    speakers = [int(speaker) for speaker in rng.choice(_POOL, size=int(rng.integers(1, 4)), replace=False)]
    voices = [Voice.from_seed(seed, speaker) for speaker in speakers]
    turns = _turns(seed, number, len(speakers), minutes)
    name = f"{number:06d}.flac"
    path = output / name
    if not path.exists():
        samples = recording([(turn.text, voices[turn.speaker]) for turn in turns], rng, SAMPLE_RATE)
        write_audio(path, samples, SAMPLE_RATE)
    return {
        "id": name,
        "path": name,
        "seconds": round(soundfile.info(path).duration, 3),
        "speakers": speakers,
        "language": "en",
        "turns": [{"speaker": speakers[turn.speaker], "text": turn.text} for turn in turns],
    }


def _turns(seed: int, number: int, speakers: int, minutes: float) -> list[Turn]:
    """Return as many turns as fill the minutes, at the 2.5 words a second of these voices, pauses included."""
    turns, words = [], 0
    for turn in conversation(seed, number, speakers):
        turns.append(turn)
        words += len(turn.text.split())
        if words >= minutes * 60 * 2.5:
            break
    return turns


def _claim(output: Path, seed: int, minutes: float) -> None:
    made = {"made_by": f"slm-zoo make-speech {__version__}", "seed": seed, "minutes": minutes}
    there = read_provenance(output)
    if there is not None and there != made:
        raise UsageError(f"{output} holds speech made as {there}, not as {made}; choose another folder")
    write_whole(output / PROVENANCE, [dump(made, indent=2), "\n"])


def _bar(hours: float, progress: bool) -> tqdm:
    return tqdm(
        total=hours,
        desc="making speech",
        disable=not progress,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.2f}/{total:.2f} h [{elapsed}<{remaining}]",
    )
