"""Opening a recording: from a path to blocks of mono float32 samples, whatever lies there.

    path -> regular file -> what the container says of its length -> libsndfile or ffmpeg -> blocks

Nothing that a header says is believed before it was compared with the size of the file, memory follows what is decoded
and not what is promised, and whatever goes wrong with one file is an ``AudioError``.
"""

from __future__ import annotations

import io
import os
import struct
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from slm_eval.base.digests import regular_file
from slm_eval.base.errors import AudioError
from slm_eval.speech import containers, ffmpeg

# Sampling rates that are believed: below telephones and old games, above every converter (768 kHz).
RATES = (1_000, 768_000)
# Samples of all channels that are decoded at once: a long file of many channels is never held before it is averaged.
_BLOCK = 1 << 20
_MAX_LINKS = 256  # of a chained Ogg stream; each has its decoder
# Frames that a byte can stand for, at most, by libsndfile's name of the format: a block of silence in FLAC (65,535 in
# 10 bytes), in Vorbis and Opus (4,096 and 5,760 in a few), and in ALAC, which packs best of the others (4,096 in some
# 7); the lowest bit rate of MPEG audio (24 a byte), and some room.
_FRAMES_PER_BYTE = {"FLAC": 6_554, "OGG": 8_192, "MP3": 64}
_FRAMES_PER_BYTE_ELSE = 1_024
_UNKNOWN = 1 << 62  # frames; FLAC from a stream has libsndfile's largest number
_MP3_FRAME = 1_152  # Xing's count of frames includes its own frame with some encoders


class Recording(ABC):
    """An opened recording."""

    rate: int  # Hz
    channels: int
    frames: int | None  # None: the file does not say it
    expected: int  # frames: those, or an estimate; 0 where there is none
    decoder: str  # and its version

    @abstractmethod
    def blocks(self, first: int = 0) -> Iterator[np.ndarray]:
        """Yield the mean of the channels, float32, from frame ``first`` to the end.

        Raises:
            AudioError: the file ends before the length that it states, once that is reached.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the decoder."""

    def part(self, start: float | None, end: float | None) -> Iterator[np.ndarray]:
        """Yield blocks as ``blocks`` does, of the part from ``start`` to ``end`` seconds.

        Raises:
            AudioError: it lies outside of the recording, or the file ends before the length that it states.
        """
        first = 0 if start is None else round(start * self.rate)
        last = self.frames if end is None else round(end * self.rate)
        if self.frames is not None and max(first, last or 0) > self.frames:
            raise self._outside(max(first, last or 0), self.frames)
        position = first
        for block in self.blocks(first):
            kept = block if last is None else block[: last - position]
            position += len(kept)
            yield kept
            if position == last:
                return
        if end is not None and last is not None and position < last:
            raise self._outside(last, position)

    def _outside(self, wanted: int, held: int) -> AudioError:
        line = f"the segment ends at {wanted / self.rate:g} s, the file at {held / self.rate:g} s"
        return AudioError("decode_error", line)


@contextmanager
def open_recording(path: Path) -> Iterator[Recording]:
    """Open a recording; an error of its decoder inside the ``with`` is an ``AudioError`` too.

    Raises:
        AudioError: with a code of ``audio.REASONS``.
    """
    with ExitStack() as stack:
        stack.enter_context(explained(path))
        file = stack.enter_context(regular_file(path))
        recording = _decoder(file, path)
        stack.callback(recording.close)
        low, high = RATES
        if not low <= recording.rate <= high:
            line = f"{path.name} is sampled at {recording.rate:,} Hz; expected {low:,} to {high:,} Hz"
            raise AudioError("decode_error", line)
        yield recording


def expected_seconds(path: Path) -> float:
    """Return the seconds that a file states and can hold, or an estimate for MP3; 0 where it does not say.

    Raises:
        AudioError: it cannot be decoded, as far as its header tells.
    """
    with explained(path), regular_file(path) as file:
        if ffmpeg.is_for_it(path, file.read(ffmpeg.HEAD)):
            return ffmpeg.duration(file)
    with open_recording(path) as recording:
        return recording.expected / recording.rate


def _decoder(file: BinaryIO, path: Path) -> Recording:
    if not os.fstat(file.fileno()).st_size:  # also those of the system, such as /proc/kmsg, which reading would empty
        raise AudioError("empty", f"{path.name} is an empty file (0 bytes)")
    head = file.read(ffmpeg.HEAD)
    spans = containers.check_length(file)
    if ffmpeg.is_for_it(path, head) or containers.is_voc_in_pieces(file):
        return FFmpegRecording(file, path.name)
    return SndfileRecording(file, path.name, spans)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what decoding a file raises into an ``AudioError``.

    libsndfile's own errors are RuntimeErrors; soundfile and numpy raise ValueError, OverflowError and TypeError where a
    header holds numbers that make no sense, and MemoryError where they are too large.
    """
    try:
        yield
    except PermissionError as error:
        raise AudioError("permission", f"cannot open {path.name}: {error.strerror}; check its permissions") from error
    except containers.DamagedError as error:
        raise AudioError("decode_error", f"{path.name} {error}") from error
    except MemoryError as error:
        raise AudioError("decode_error", f"there is not enough memory to decode {path.name}") from error
    except (OSError, RuntimeError, ValueError, OverflowError, TypeError, struct.error) as error:
        raise AudioError("decode_error", f"cannot decode {path.name}: {why_unreadable(path, error)}") from error


class SndfileRecording(Recording):
    """A recording that libsndfile decodes: wav, flac, ogg, mp3, opus, aiff, ..."""

    def __init__(self, file: BinaryIO, name: str, spans: list[containers.Span]) -> None:
        import soundfile

        if len(spans) > _MAX_LINKS:
            raise AudioError(
                "decode_error", f"{name} is a chain of {len(spans)} streams, at most {_MAX_LINKS} are read"
            )
        self.decoder = f"libsndfile {soundfile.__libsndfile_version__}"
        self._name = name
        self._parts: list[Any] = []
        file.seek(0)
        noisy = (1, 2) if file.read(4) == b"caff" else (2,)
        with _quiet(*noisy), ExitStack() as opened:
            for span in spans:
                self._parts.append(opened.enter_context(_open_part(file, span, whole=len(spans) == 1)))
            self.rate, self.channels = self._parts[0].samplerate, self._parts[0].channels
            self._mp3 = self._parts[0].format == "MP3"
            size = os.fstat(file.fileno()).st_size
            self._stated = [_stated(part, file, size, name) for part in self._parts]
            self._opened = opened.pop_all()
        known = [frames for frames in self._stated if frames is not None]
        self.frames = sum(known) if len(known) == len(self._parts) else None
        self.expected = sum(part.frames for part in self._parts if part.frames < _UNKNOWN)
        for part in self._parts:
            if (part.samplerate, part.channels) != (self.rate, self.channels):
                self.close()
                raise AudioError(
                    "decode_error",
                    f"{name} changes from {self.rate} Hz, {self.channels} channels to {part.samplerate} Hz, "
                    f"{part.channels} channels",
                )

    def blocks(self, first: int = 0) -> Iterator[np.ndarray]:
        before = 0  # frames of the parts that are done
        for part, stated in zip(self._parts, self._stated, strict=True):
            skipped = max(0, first - before)
            if stated is not None and skipped >= stated and part is not self._parts[-1]:
                before += stated
                continue
            position = 0
            # mpg123 forgets what frames before the place left for it, and other samples come out.
            if skipped and not self._mp3 and part.can_seek:
                position = part.seek(min(skipped, part.frames))
            for block in self._read(part):
                position += len(block)
                if position > skipped:
                    yield block[max(0, len(block) - (position - skipped)) :]
            if stated is not None and position < stated - (_MP3_FRAME if self._mp3 else 0):
                line = f"{self._name} is truncated: {position} of {stated} frames can be read"
                raise AudioError("decode_error", line)
            before += position

    def _read(self, part: Any) -> Iterator[np.ndarray]:
        wanted = max(1, _BLOCK // self.channels)
        noisy = [_NOISY[part.format]] if part.format in _NOISY else []
        while True:
            with _quiet(*noisy):
                block = part.read(wanted, dtype="float32", always_2d=True)
            if not len(block):
                return
            yield np.ascontiguousarray(block[:, 0]) if block.shape[1] == 1 else block.mean(axis=1)

    def close(self) -> None:
        self._opened.close()


class FFmpegRecording(Recording):
    """A recording that the program ffmpeg decodes: m4a, aac, wma, webm, ..."""

    frames, expected = None, 0

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._process = ffmpeg.Decoding(file, name)
        self.rate, self.channels = self._process.rate, self._process.channels
        self.decoder = f"ffmpeg {self._process.version}"

    def blocks(self, first: int = 0) -> Iterator[np.ndarray]:
        position = 0
        for block in self._process.blocks(_BLOCK):
            position += len(block)
            if position > first:
                yield block[max(0, len(block) - (position - first)) :].mean(axis=1)

    def close(self) -> None:
        self._process.close()


class _Window(io.RawIOBase):
    """A part of a file as a file of its own."""

    def __init__(self, file: BinaryIO, span: containers.Span) -> None:
        self._file, self._span, self._position = file, span, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._span.begin + self._position)
        held = self._file.read(max(0, min(len(buffer), self._span.end - self._span.begin - self._position)))
        buffer[: len(held)] = held
        self._position += len(held)
        return len(held)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._span.end - self._span.begin}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position


def _open_part(file: BinaryIO, span: containers.Span, whole: bool) -> Any:
    """Open a part of a file as a ``SoundFile``, to be read from its beginning to its end."""
    stream = _stream_class()
    if not whole:
        return stream(io.BufferedReader(_Window(file, span)))
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    return stream(file.fileno(), closefd=False)


@lru_cache(maxsize=1)
def _stream_class() -> Any:
    import soundfile

    class Stream(soundfile.SoundFile):
        # After each block soundfile seeks to where it is, except where it cannot. mpg123 then forgets what it has to
        # remember from frame to frame, and what follows is garbage for a moment.
        def seekable(self) -> bool:
            return False

        @property
        def can_seek(self) -> bool:
            return bool(super().seekable())

    return Stream


def _stated(part: Any, file: BinaryIO, size: int, name: str) -> int | None:
    """Return the frames that the header states; None where it states none.

    Raises:
        AudioError: more than a file of this size can hold.
    """
    if part.frames >= _UNKNOWN:
        return None
    most = size * _FRAMES_PER_BYTE.get(part.format, _FRAMES_PER_BYTE_ELSE)
    if not 0 <= part.frames <= most:
        line = f"the header of {name} states {part.frames:,} frames, more than its {size:,} bytes can hold"
        raise AudioError("decode_error", line)
    # Where MP3 states none, libsndfile estimates them.
    return None if part.format == "MP3" and not containers.mp3_states_frames(file) else int(part.frames)


def why_unreadable(path: Path, error: Exception) -> str:
    """Return the cause in the user's words, in one line."""
    if isinstance(error, OSError):
        if path.is_symlink() and not path.exists():
            return f"a dangling link to {path.readlink()}"
        if error.strerror:
            return error.strerror
    return " ".join(getattr(error, "error_string", str(error)).split()) or type(error).__name__


_muting = threading.Lock()
_muted: dict[int, tuple[int, int]] = {}  # descriptor -> how many threads want it quiet, where it went before
# What libsndfile and what it calls write to, by its name of the format, whoever calls it: mpg123 a line for each odd
# frame to standard error, its own ALAC decoder to standard output.
_NOISY = {"MP3": 2, "CAF": 1}


@contextmanager
def _quiet(*descriptors: int) -> Iterator[None]:
    """Keep what libraries write to these file descriptors, and cannot be told not to, from the terminal.

    What other threads write to them meanwhile is lost too, so it is for one block at a time.
    """
    with _muting:
        for descriptor in descriptors:
            threads, before = _muted.get(descriptor) or (0, _silence(descriptor))
            _muted[descriptor] = threads + 1, before
    try:
        yield
    finally:
        with _muting:
            for descriptor in descriptors:
                threads, before = _muted.pop(descriptor)
                if threads > 1:
                    _muted[descriptor] = threads - 1, before
                elif before >= 0:
                    os.dup2(before, descriptor)
                    os.close(before)


def _silence(descriptor: int) -> int:
    """Send it nowhere, and return a copy of it as it was; -1 where a process has none."""
    stream = {1: sys.stdout, 2: sys.stderr}[descriptor]
    if stream is not None:
        stream.flush()
    try:
        before = os.dup(descriptor)
    except OSError:
        return -1
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
    return before
