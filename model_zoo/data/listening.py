"""Recordings of any length, heard in little memory: decoded, resampled and turned into log-mels piece by piece.

The bits are those of the whole recording: soxr's stream gives what it gives at once, and pieces overlap by whole blocks
of ``log_mel``, so that every frame is made from the same samples by the same product. A clip of hours costs its mels
(46 MB an hour) and a piece of audio.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from model_zoo.features import FeatureSpec, log_mel
from slm_eval.speech.audio import AudioError
from slm_eval.speech.decoding import Recording as Opened
from slm_eval.speech.decoding import open_recording

_BLOCK = 256  # frames: what log_mel multiplies at once on a CPU, so pieces begin at multiples of it
_PIECE = 128 * _BLOCK  # frames of a piece: 7 minutes


@dataclass(frozen=True, eq=False)
class Heard:
    """What became of a recording."""

    mel: np.ndarray  # (frames, n_mels) float16, raw log10
    seconds: float
    digest: str  # 32 hexadecimal digits: BLAKE2b of the decoded mono samples and their rate, before resampling


def hear(path: Path, start: float | None, end: float | None, spec: FeatureSpec) -> Heard:
    """Compute the log-mels of a file, or of its part from ``start`` to ``end`` seconds.

    Raises:
        AudioError: with a code of ``speech.audio.REASONS``: it cannot be decoded, is shorter than a frame, or silent.
    """
    recording = Recording(path, start, end)
    pieces = [piece.to(torch.float16).numpy() for piece in log_mels(recording.at(spec.sample_rate), spec)]
    if not pieces:
        needed = spec.n_fft // 2 + 1
        raise AudioError("too_short", f"{path.name} has less than {needed / spec.sample_rate:.3f} s, no log-mel fits")
    return Heard(np.concatenate(pieces), recording.seconds, recording.digest)


class Recording:
    """A file that is read once, from its beginning to its end."""

    def __init__(self, path: Path, start: float | None = None, end: float | None = None) -> None:
        self.path, self._start, self._end = path, start, end
        self._hash = hashlib.blake2b(digest_size=16)
        self._low, self._high = np.inf, -np.inf
        self.seconds = 0.0  # once it was read

    @property
    def digest(self) -> str:
        """Return the digest of what was read so far."""
        return self._hash.hexdigest()

    def at(self, rate: int) -> Iterator[np.ndarray]:
        """Read its mono samples, float32, at ``rate`` Hz, in blocks.

        Raises:
            AudioError: as soon as it is known, which for silence is at the end.
        """
        with open_recording(self.path) as recording:
            yield from _resampled(self._decoded(recording), recording.rate, rate)
        self._check()

    def _decoded(self, recording: Opened) -> Iterator[np.ndarray]:
        """Decode blocks at the file's own rate."""
        rate = recording.rate
        self._hash.update(str(rate).encode())
        for mono in recording.part(self._start, self._end):
            if not np.isfinite(mono).all():
                raise AudioError("not_finite", f"{self.path.name} has samples that are NaN or infinite")
            self._low, self._high = min(self._low, float(mono.min())), max(self._high, float(mono.max()))
            self._hash.update(mono.data)
            self.seconds += len(mono) / rate
            yield mono

    def _check(self) -> None:
        if self._low > self._high:
            raise AudioError("empty", f"{self.path.name} has no samples")
        if self._low == self._high:
            raise AudioError("silent", f"all samples of {self.path.name} are {self._low:g}")


def _resampled(blocks: Iterator[np.ndarray], source: int, target: int) -> Iterator[np.ndarray]:
    """Resample as ``slm_eval.speech.audio.resample`` does it, block by block."""
    if source == target:
        yield from blocks
        return
    import soxr

    stream = soxr.ResampleStream(source, target, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def log_mels(blocks: Iterator[np.ndarray], spec: FeatureSpec, piece: int = _PIECE) -> Iterator[torch.Tensor]:
    """Compute ``log_mel`` of joined blocks of samples, (frames, n_mels) float32 in pieces; none where it is too short
    for one.

    Args:
        blocks: float32 samples at the rate of ``spec``.
        piece: frames made at once, a multiple of 256.
    """
    overlap = -(-spec.n_fft // (_BLOCK * spec.hop)) * _BLOCK  # frames on either side that a window can reach
    held: list[np.ndarray] = []
    samples, before = 0, 0  # held; frames at their beginning that are out already
    for block in blocks:
        held.append(block)
        samples += len(block)
        while samples >= (before + piece + overlap) * spec.hop:
            whole = np.concatenate(held)
            yield log_mel(torch.from_numpy(whole[: (before + piece + overlap) * spec.hop]), spec)[
                before : before + piece
            ]
            rest = whole[(before + piece - overlap) * spec.hop :]
            held, samples, before = [rest], len(rest), overlap
    if samples > spec.n_fft // 2:
        yield log_mel(torch.from_numpy(np.concatenate(held)), spec)[before:]
