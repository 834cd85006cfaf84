"""Who says it: espeak-ng (its own program, GPL-3, run and never linked) in many voices."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from slm_eval.base.errors import SlmEvalError
from slm_eval.speech.audio import resample

_ACCENTS = ("en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland")
_VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5")
_HEADER_BYTES = 44
_SECONDS_FOR_A_TURN = 60  # a turn takes milliseconds; a program that hangs must not hang the run


@dataclass(frozen=True)
class Voice:
    """A speaker: accent and variant of espeak-ng, words per minute, and pitch from 0 to 99."""

    accent: str
    variant: str
    speed: int
    pitch: int

    @classmethod
    def from_seed(cls, seed: int, speaker: int) -> Voice:
        """Return one of practically unlimited speakers; equal ones are equal."""
        rng = random.Random(f"{seed}|voice|{speaker}")
        return cls(rng.choice(_ACCENTS), rng.choice(_VARIANTS), rng.randint(140, 190), rng.randint(30, 70))


def require_espeak() -> None:
    """Refuse early.

    Raises:
        SlmEvalError: espeak-ng is not installed.
    """
    if shutil.which("espeak-ng") is None:
        raise SlmEvalError("espeak-ng is not installed; apt-get install espeak-ng, or brew install espeak-ng")


def say(text: str, voice: Voice, sample_rate: int) -> np.ndarray:
    """Speak a text: float32, shape (n,).

    Raises:
        SlmEvalError: espeak-ng failed; with what it said.
    """
    command = ["espeak-ng", "-v", f"{voice.accent}+{voice.variant}", "-s", str(voice.speed), "-p", str(voice.pitch)]
    try:
        done = subprocess.run(
            [*command, "--stdin", "--stdout"],
            input=text.encode(),
            capture_output=True,
            check=True,
            timeout=_SECONDS_FOR_A_TURN,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as error:
        said = getattr(error, "stderr", None) or b""
        raise SlmEvalError(f"espeak-ng failed ({error}): {said.decode(errors='replace').strip()[:200]}") from error
    # A WAV whose header is written before its length is known: only the rate in it is true.
    (rate,) = struct.unpack_from("<I", done.stdout, 24)
    samples = np.frombuffer(done.stdout, dtype="<i2", offset=_HEADER_BYTES)
    return resample(samples.astype(np.float32) / 32768, rate, sample_rate)


def recording(turns: Iterable[tuple[str, Voice]], rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    """Join turns one after the other, with the pauses, levels and room of a recording, float32, shape (n,).

    Pauses are 0.15 to 0.7 s; every speaker has a level within 3 dB; noise lies 50 to 60 dB below full scale, since
    recorded speech is never digitally silent.
    """
    levels: dict[Voice, float] = {}
    parts: list[np.ndarray] = []
    for text, voice in turns:
        level = levels.setdefault(voice, float(10 ** (rng.uniform(-3, 3) / 20)))
        parts.append(0.5 * level * say(text, voice, sample_rate))
        parts.append(np.zeros(round(rng.uniform(0.15, 0.7) * sample_rate), np.float32))
    speech = np.concatenate(parts)
    room = 10 ** (rng.uniform(-60, -50) / 20) * rng.standard_normal(speech.size, dtype=np.float32)
    return np.clip(speech + room, -1.0, 1.0).astype(np.float32)
