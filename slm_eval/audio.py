"""Decoding: a file becomes mono float32 samples, or a reason code that says why it cannot be scored.

Decoding is soundfile's (wav, flac, ogg, mp3, opus, aiff, ...), resampling is soxr's. Channels are averaged; levels are
never changed, since DNSMOS and NISQA depend on them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

# Why a clip cannot be scored, in the order in which it is checked; too_short and too_long are said by observers.
REASONS = {
    "permission": "the file cannot be opened",
    "decode_error": "the file cannot be decoded",
    "empty": "there are no samples",
    "not_finite": "samples are NaN or infinite",
    "silent": "the signal is constant",
    "too_short": "the clip is shorter than the metric can score",
    "too_long": "the clip is longer than the metric can score",
}
# Which resampler made the signal that an observer hears: part of every fingerprint with a fixed rate.
RESAMPLER = "soxr-hq"
# What libsndfile can decode, by the ends of names: how a folder is searched.
_SUFFIXES = ".wav .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .snd .caf .w64 .rf64 .sph .nist .voc"
EXTENSIONS = frozenset(_SUFFIXES.split(" "))


class AudioError(Exception):
    """Audio that cannot be scored: a code of ``REASONS`` and one line for the user."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[AudioError], tuple[str, str]]:
        return (AudioError, (self.code, self.message))


class AudioFacts(NamedTuple):
    """What is known of a clip once it was decoded; goes into clips.jsonl."""

    seconds: float
    sample_rate: int
    channels: int
    peak: float  # of the channel mean; above 1 the samples exceed full scale and are scored as they are
    silence: float  # share of the clip in pauses, see ``silence``


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
    import soundfile

    try:
        with path.open("rb") as raw:
            head = raw.read(4096)
        if not head:
            raise AudioError("empty", f"{path.name} is an empty file (0 bytes)")
        refuse_truncated_wav(path, head)
        with soundfile.SoundFile(path) as file:
            rate, channels = file.samplerate, file.channels
            first = 0 if start is None else round(start * rate)
            last = file.frames if end is None else round(end * rate)
            if first > file.frames or last > file.frames:
                raise AudioError(
                    "decode_error", f"the segment ends at {last / rate:g} s, the file at {file.frames / rate:g} s"
                )
            file.seek(first)
            samples = _read_mono(file, last - first)
    except PermissionError as error:
        raise AudioError("permission", f"cannot open {path.name}: {error.strerror}; check its permissions") from error
    except (OSError, soundfile.LibsndfileError) as error:
        raise AudioError("decode_error", f"cannot decode {path.name}: {why_unreadable(path, error)}") from error
    except (RuntimeError, ValueError) as error:  # soundfile raises these for streams that break half-way
        raise AudioError("decode_error", f"cannot decode {path.name}: {error}") from error
    if len(samples) < last - first:
        raise AudioError(
            "decode_error", f"{path.name} is truncated: {len(samples)} of {last - first} frames can be read"
        )
    check(samples)
    facts = AudioFacts(len(samples) / rate, rate, channels, float(np.abs(samples).max()), silence(samples, rate))
    return Audio(samples, facts)


def duration(path: Path, start: float | None = None, end: float | None = None) -> float:
    """Seconds that the header promises; 0 where it cannot be read, which ``read_audio`` will explain."""
    import soundfile

    if end is not None:
        return max(0.0, end - (start or 0.0))
    try:
        return max(0.0, soundfile.info(path).duration - (start or 0.0))
    except (OSError, soundfile.LibsndfileError, RuntimeError, ValueError):
        return 0.0


def to_mono(samples: np.ndarray) -> np.ndarray:
    """Shape (n,) or (n, channels) to the channel mean, float32, shape (n,). Integer samples are scaled to +-1.

    Raises:
        ValueError: an array of another shape.
    """
    if samples.ndim not in (1, 2):
        raise ValueError(f"expected samples of shape (n,) or (n, channels), got {samples.shape}")
    if np.issubdtype(samples.dtype, np.integer):
        samples = samples / np.float32(np.iinfo(samples.dtype).max + 1.0)
    if samples.ndim == 2:
        samples = samples.mean(axis=1)
    return np.ascontiguousarray(samples, dtype=np.float32)


def check(samples: np.ndarray) -> np.ndarray:
    """Return mono samples unchanged if a metric can make sense of them.

    Raises:
        AudioError: ``empty``, ``not_finite`` or ``silent`` (a constant signal), checked in this order.
    """
    if samples.size == 0:
        raise AudioError("empty", "the audio has no samples")
    low, high = float(samples.min()), float(samples.max())  # NaN propagates through both
    if not (np.isfinite(low) and np.isfinite(high)):
        raise AudioError("not_finite", f"{int((~np.isfinite(samples)).sum())} of {samples.size} samples are not finite")
    if low == high:
        raise AudioError("silent", f"all {samples.size} samples are {low:g}")
    return samples


# What counts as a pause: the threshold and the shortest pause that Praat proposes ("To TextGrid (silences)").
_PAUSE_DB = -25.0  # below the loudest frame of the clip
_PAUSE_SECONDS = 0.1
_PAUSE_FRAME = 0.02  # seconds


def silence(samples: np.ndarray, rate: int) -> float:
    """Share of a clip in pauses: runs of at least 0.1 s whose frames are 25 dB below its loudest frame, or more.

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
    """Mono samples from one rate (Hz) to another with soxr's HQ filter; unchanged where they are equal."""
    if source == target:
        return samples
    import soxr

    return soxr.resample(samples, source, target, quality="HQ")


_BLOCK = 1 << 20  # frames decoded at once: a long file of many channels is never held before it is averaged


def _read_mono(file: object, frames: int) -> np.ndarray:
    """The next ``frames`` frames of a soundfile, averaged over channels while reading."""
    mono = np.empty(frames, dtype=np.float32)
    done = 0
    while done < frames:
        block = file.read(min(_BLOCK, frames - done), dtype="float32", always_2d=True)  # type: ignore[attr-defined]
        if not len(block):
            break
        mono[done : done + len(block)] = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
        done += len(block)
    return mono[:done]


def refuse_truncated_wav(path: Path, head: bytes) -> None:
    """libsndfile reads a WAV that was cut off as if it were whole. Its header knows better.

    Writers that stream cannot know the length and leave 0 or a value near the 4 GiB limit; those are taken as they are.

    Args:
        head: the first bytes of the file.

    Raises:
        AudioError: it is shorter than its header says.
    """
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return
    at = 12
    while at + 8 <= len(head):
        kind, size = struct.unpack_from("<4sI", head, at)
        if kind == b"data":
            held = path.stat().st_size - at - 8
            if held < size < 0x7FFF0000:
                raise AudioError("decode_error", f"{path.name} is truncated: it holds {held} of {size} bytes of audio")
            return
        at += 8 + size + size % 2


def why_unreadable(path: Path, error: Exception) -> str:
    """The cause in the user's words, for the errors of the file system that soundfile reports as its own."""
    if path.is_symlink() and not path.exists():
        return f"a dangling link to {path.readlink()}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return getattr(error, "error_string", str(error))
