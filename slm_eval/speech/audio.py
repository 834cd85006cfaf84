"""Audio: a file becomes mono float32 samples, or a reason code that says why it cannot be scored.

``decoding.py`` opens files; resampling is soxr's. Channels are averaged; levels are never changed, since DNSMOS and
NISQA depend on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from slm_eval.base.errors import AudioError
from slm_eval.speech import ffmpeg
from slm_eval.speech.decoding import expected_seconds, open_recording

# Why a clip cannot be scored, in the order in which it is checked; too_short is said by observers, too_long also here.
REASONS = {
    "permission": "the file cannot be opened",
    "decode_error": "the file cannot be decoded",
    "empty": "there are no samples",
    "not_finite": "samples are NaN or infinite",
    "silent": "the signal is constant",
    "too_short": "the clip is shorter than the metric can score",
    "too_long": "the clip is longer than can be scored",
}
# Which resampler made the signal that an observer hears: part of every fingerprint with a fixed rate.
RESAMPLER = "soxr-hq"
# What can be decoded, by the ends of names: how a folder is searched. First what libsndfile does.
_SUFFIXES = ".wav .flac .ogg .oga .opus .mp3 .mp2 .aif .aiff .aifc .au .snd .caf .w64 .rf64 .sph .nist .voc"
EXTENSIONS = frozenset(_SUFFIXES.split(" ")) | ffmpeg.SUFFIXES
# What a clip may hold, since a megabyte of a file can stand for days of silence: 512 MiB, 46 minutes at 48 kHz.
MAX_FRAMES = 1 << 27
MAX_SECONDS = 7_200  # at low rates, since resampling makes more of it


class AudioFacts(NamedTuple):
    """What is known of a clip once it was decoded; goes into clips.jsonl."""

    seconds: float
    sample_rate: int
    channels: int
    peak: float  # of the channel mean; above 1 the samples exceed full scale and are scored as they are
    silence: float  # share of the clip in pauses, see ``silence``
    decoder: str  # and its version: another one may give other samples for what is not lossless


@dataclass(frozen=True)
class Audio:
    """A decoded clip: mono float32 samples, shape (n,), at the file's own rate."""

    samples: np.ndarray
    facts: AudioFacts


def read_audio(path: Path, start: float | None = None, end: float | None = None) -> Audio:
    """Decode a file, or the part from ``start`` to ``end`` seconds, to mono float32.

    Raises:
        AudioError: with a code of ``REASONS``.
    """
    with open_recording(path) as recording:
        rate = recording.rate
        most = min(MAX_FRAMES, MAX_SECONDS * rate)
        samples = np.empty(0, dtype=np.float32)  # grows with what is decoded, whatever the header promises
        for block in recording.part(start, end):
            held = len(samples)
            if held + len(block) > most:
                line = f"{path.name} has more than {most / rate / 60:.0f} minutes at {rate:,} Hz"
                raise AudioError("too_long", f"{line}; cut it, or list parts of it by start and end")
            samples.resize(held + len(block), refcheck=False)
            samples[held:] = block
        low, high = _range(check(samples))
        facts = AudioFacts(
            seconds=len(samples) / rate,
            sample_rate=rate,
            channels=recording.channels,
            peak=max(abs(low), abs(high)),
            silence=silence(samples, rate),
            decoder=recording.decoder,
        )
    return Audio(samples, facts)


def duration(path: Path, start: float | None = None, end: float | None = None) -> float:
    """Return the seconds that a file states and can hold; 0 where they are not known, as ``read_audio`` explains."""
    if end is not None:
        return max(0.0, end - (start or 0.0))
    try:
        return max(0.0, expected_seconds(path) - (start or 0.0))
    except AudioError:
        return 0.0


def check(samples: np.ndarray) -> np.ndarray:
    """Return mono samples unchanged if a metric can make sense of them.

    Raises:
        AudioError: ``empty``, ``not_finite`` or ``silent`` (a constant signal), checked in this order.
    """
    if samples.size == 0:
        raise AudioError("empty", "the audio has no samples")
    low, high = _range(samples)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise AudioError("not_finite", f"{int((~np.isfinite(samples)).sum())} of {samples.size} samples are not finite")
    if low == high:
        raise AudioError("silent", f"all {samples.size} samples are {low:g}")
    return samples


def _range(samples: np.ndarray) -> tuple[float, float]:
    """Return the lowest and the highest sample; NaN where one is."""
    return float(samples.min()), float(samples.max())


# What counts as a pause: the threshold and the shortest pause that Praat proposes ("To TextGrid (silences)").
_PAUSE_DB = -25.0  # below the loudest frame of the clip
_PAUSE_SECONDS = 0.1
_PAUSE_FRAME = 0.02  # seconds


def silence(samples: np.ndarray, rate: int) -> float:
    """Return the share of a clip in pauses: runs of at least 0.1 s, all frames 25 dB or more below its loudest one.

    Frames of 20 ms, side by side, by their mean power. The threshold is relative, so that the level of a corpus does
    not matter; a click raises it, and loud background hides pauses.

    Args:
        samples: mono, shape (n,).
        rate: Hz.

    Returns:
        0 to 1; 0 for a clip without a whole frame.
    """
    length = max(round(_PAUSE_FRAME * rate), 1)
    frames = samples[: len(samples) // length * length].reshape(-1, length)
    if not len(frames):
        return 0.0
    power = np.einsum("ij,ij->i", frames, frames, dtype=np.float64)
    quiet = power <= power.max() * 10 ** (_PAUSE_DB / 10)
    edges = np.flatnonzero(np.diff(quiet, prepend=False, append=False))
    runs = edges[1::2] - edges[::2]
    return int(runs[runs >= round(_PAUSE_SECONDS / _PAUSE_FRAME)].sum()) / len(frames)


def resample(samples: np.ndarray, source: int, target: int) -> np.ndarray:
    """Return mono samples, shape (n,), at another rate (Hz), by soxr's HQ filter; unchanged at an equal rate."""
    if source == target:
        return samples
    import soxr

    return soxr.resample(samples, source, target, quality="HQ")
