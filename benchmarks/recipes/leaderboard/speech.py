"""The speech that a system of a leaderboard is: a path, a share of its clips, or a degradation of them made here.

A degradation of real speech is a system whose place is known, which no trained model is: a leaderboard that ranks it
otherwise is not to be trusted at this size.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model_zoo.speech.wavs import claim, wav_files, write_audio
from slm_eval.base.errors import SlmEvalError, UsageError, unknown_name
from slm_eval.base.files import write_jsonl
from slm_eval.run.share import parse_share
from slm_eval.speech.audio import AudioError, read_audio, resample
from slm_eval.speech.corpus import Clip, Corpus, load_corpus
from slm_eval.speech.provenance import read_provenance

BAND_HZ = 1_500
SNR_DB = 5.0

Signal = np.ndarray  # float32, mono


def band_limited(samples: Signal, rate: int, _: int) -> Signal:
    """Nothing above 1.5 kHz."""
    narrow = resample(resample(samples, rate, 2 * BAND_HZ), 2 * BAND_HZ, rate)
    return np.pad(narrow, (0, max(samples.size - narrow.size, 0)))[: samples.size]


def noisy(samples: Signal, rate: int, seed: int) -> Signal:
    """White noise, 5 dB below the speech."""
    noise = np.random.default_rng(seed).standard_normal(samples.size)
    level = np.sqrt(np.mean(samples.astype(np.float64) ** 2)) * 10 ** (-SNR_DB / 20)
    return (samples + level * noise).astype(np.float32)


def reversed_in_time(samples: Signal, rate: int, _: int) -> Signal:
    """The same sounds in an order that no language has."""
    return samples[::-1].copy()


# Name -> (samples, sample rate, seed) -> samples of the same length.
DEGRADATIONS: dict[str, Callable[[Signal, int, int], Signal]] = {
    "band-limited": band_limited,
    "noisy": noisy,
    "reversed": reversed_in_time,
}


@dataclass(frozen=True)
class Speech:
    """What is scored.

    Attributes:
        path: anything that ``slm-eval run`` takes.
        part: "1/2" for every second clip from the first on, as ``run --shard`` has it; None: all.
        degradation: a name in ``DEGRADATIONS``; None: as it is.
    """

    path: Path
    part: str | None = None
    degradation: str | None = None

    def __post_init__(self) -> None:
        if self.degradation is not None and self.degradation not in DEGRADATIONS:
            raise unknown_name("degradation", self.degradation, DEGRADATIONS)
        if self.part is not None:
            parse_share(self.part)

    def prepare(self, name: str, folder: Path) -> Path:
        """A path that ``slm-eval run`` takes, which is written below ``folder`` where it is not there already.

        Args:
            name: of the files, where any are written.
            folder: for speech that is made.

        Raises:
            UsageError: the path holds no speech, or ``folder`` holds other speech.
            SlmEvalError: a clip cannot be read or written.
        """
        if self.part is None and self.degradation is None:
            return self.path
        corpus = load_corpus(self.path)
        if not corpus.has_audio:
            raise UsageError(f"{self.path} is ready-made phones: only audio has parts and degradations")
        if self.part is not None:
            corpus = parse_share(self.part).select(corpus)
        if not corpus.clips:
            raise UsageError(f"part {self.part} of {self.path} has no clip")
        return (
            self._manifest(corpus, folder / f"{name}.jsonl")
            if self.degradation is None
            else self._degrade(self.degradation, corpus, folder / name)
        )

    @staticmethod
    def _manifest(corpus: Corpus, path: Path) -> Path:
        write_jsonl(path, ({"id": clip.id, **_place(clip, path.parent), **clip.labels} for clip in corpus.clips))
        return path

    def _degrade(self, degradation: str, corpus: Corpus, folder: Path) -> Path:
        degrade = DEGRADATIONS[degradation]
        files = wav_files((clip.id for clip in corpus.clips), folder)
        made = {
            "degradation": degradation,
            "how": degrade.__doc__,
            "of": os.path.relpath(self.path, folder),
            "part": self.part,
            "clips": _digest(corpus),
        }
        # Other speech under the same name is made again, all of it.
        claim(folder, made, files.values(), fresh=read_provenance(folder) not in (None, made))
        for clip in corpus.clips:
            file = files[clip.id]
            if not file.exists():
                samples, rate = _read(clip)
                write_audio(file, degrade(samples, rate, _seed(clip.id)), rate)
        return folder


def _read(clip: Clip) -> tuple[Signal, int]:
    assert clip.path is not None
    try:
        audio = read_audio(clip.path, clip.start, clip.end)
    except AudioError as error:
        raise SlmEvalError(f"{clip.id} cannot be degraded: {error}") from error
    return audio.samples, audio.facts.sample_rate


def _place(clip: Clip, folder: Path) -> dict[str, object]:
    """Where the manifest finds a clip."""
    assert clip.path is not None
    ends = {name: end for name, end in (("start", clip.start), ("end", clip.end)) if end is not None}
    return {"path": os.path.relpath(clip.path, folder), **ends}


def _digest(corpus: Corpus) -> str:
    """Of what would be degraded: other files are other speech."""
    told = [(clip.id, clip.start, clip.end, _stamp(clip)) for clip in corpus.clips]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def _stamp(clip: Clip) -> tuple[int, int]:
    """Size and time of a file; where it is missing, the run says so."""
    if clip.path is None or not clip.path.is_file():
        return 0, 0
    status = clip.path.stat()
    return status.st_size, status.st_mtime_ns


def _seed(clip_id: str) -> int:
    """Noise of its own for every clip, the same each time."""
    return int.from_bytes(hashlib.sha256(clip_id.encode()).digest()[:8], "big")
