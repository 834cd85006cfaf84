"""Audio files to damage, and ways to damage them. The same seed and number give the same file."""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
# Name of a format, end of the file's name, and what soundfile is told.
WRITTEN = {
    "wav": (".wav", {"format": "WAV", "subtype": "PCM_16"}),
    "wav-float": (".wav", {"format": "WAV", "subtype": "FLOAT"}),
    "wav-adpcm": (".wav", {"format": "WAV", "subtype": "IMA_ADPCM"}),
    "wav-gsm": (".wav", {"format": "WAV", "subtype": "GSM610"}),
    "wavex": (".wav", {"format": "WAVEX", "subtype": "PCM_24"}),
    "rifx": (".wav", {"format": "WAV", "subtype": "PCM_16", "endian": "BIG"}),
    "rf64": (".rf64", {"format": "RF64", "subtype": "PCM_16"}),
    "w64": (".w64", {"format": "W64", "subtype": "PCM_16"}),
    "aiff": (".aiff", {"format": "AIFF", "subtype": "PCM_16"}),
    "aifc": (".aifc", {"format": "AIFF", "subtype": "ULAW"}),
    "au": (".au", {"format": "AU", "subtype": "PCM_16"}),
    "caf": (".caf", {"format": "CAF", "subtype": "PCM_16"}),
    "caf-alac": (".caf", {"format": "CAF", "subtype": "ALAC_16"}),
    "flac": (".flac", {"format": "FLAC", "subtype": "PCM_16"}),
    "vorbis": (".ogg", {"format": "OGG", "subtype": "VORBIS"}),
    "opus": (".opus", {"format": "OGG", "subtype": "OPUS"}),
    "mp3": (".mp3", {"format": "MP3", "subtype": "MPEG_LAYER_III"}),
    "nist": (".sph", {"format": "NIST", "subtype": "PCM_16"}),
    "voc": (".voc", {"format": "VOC", "subtype": "PCM_16"}),
    "svx": (".wav", {"format": "SVX", "subtype": "PCM_16"}),
    "mat5": (".wav", {"format": "MAT5", "subtype": "PCM_16"}),
    "paf": (".wav", {"format": "PAF", "subtype": "PCM_16"}),
    "xi": (".wav", {"format": "XI", "subtype": "DPCM_16"}),
    "ircam": (".wav", {"format": "IRCAM", "subtype": "PCM_16"}),
    "avr": (".wav", {"format": "AVR", "subtype": "PCM_16"}),
}
# Those that ffmpeg writes, where it is there: of each hundred files three, since starting it takes most of the time.
CONVERTED = {
    "m4a": (".m4a", []),
    "aac": (".aac", []),
    "wma": (".wma", []),
    "webm": (".webm", []),
    "wavpack": (".wv", []),
    "tta": (".tta", []),
    "ogg-flac": (".oga", ["-c:a", "flac"]),
    "caf-ffmpeg": (".caf", ["-c:a", "pcm_s16be"]),
}
CONVERTED_SHARE = 0.03
# Those that state no length, so that a cut cannot be seen: for ``cuts`` alone.
UNSTATED = {"mp3-no-tag": (".mp3", ["-write_xing", "0"]), "mp2": (".mp2", []), "ac3": (".ac3", [])}
# Lengths and counts that headers of every kind are told.
LIES = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF]


@lru_cache
def originals(unstated: bool = False) -> dict[str, tuple[str, bytes]]:
    """Return by format the end of a name, and a whole file of 0.3 s."""
    rng = np.random.default_rng(0)
    samples = (0.1 * rng.standard_normal(round(0.3 * RATE))).cumsum().astype(np.float32)
    samples *= 0.5 / np.abs(samples).max()
    files: dict[str, tuple[str, bytes]] = {}
    for name, (ending, options) in WRITTEN.items():
        held = io.BytesIO()
        soundfile.write(held, samples, RATE, **options)
        files[name] = ending, held.getvalue()
    if shutil.which("ffmpeg"):
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "source.wav")
            source.write_bytes(files["wav"][1])
            for name, (ending, arguments) in {**CONVERTED, **(UNSTATED if unstated else {})}.items():
                made = Path(folder, f"made{ending}")
                command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-i", str(source), *arguments, "-y", str(made)]
                subprocess.run(command, check=True)
                files[name] = ending, made.read_bytes()
    return files


def mutated(seed: int, number: int) -> tuple[str, str, bytes]:
    """Return the format, the end of the name and the bytes of a damaged file."""
    files = originals()
    rng = np.random.default_rng([seed, number])
    converted = [name for name in CONVERTED if name in files]
    from_ffmpeg = converted and rng.random() < CONVERTED_SHARE
    name = str(rng.choice(converted if from_ffmpeg else list(WRITTEN)))
    ending, content = files[name]
    damaged = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        damage = WAYS[rng.integers(len(WAYS))]
        damage(damaged, rng)
    return name, ending, bytes(damaged)


def _flip_bits(content: bytearray, rng: np.random.Generator) -> None:
    for at in rng.integers(0, len(content) * 8, rng.integers(1, 17)) if content else ():
        content[at // 8] ^= 1 << at % 8


def _flip_in_header(content: bytearray, rng: np.random.Generator) -> None:
    for at in rng.integers(0, min(len(content), 128) * 8, rng.integers(1, 9)) if content else ():
        content[at // 8] ^= 1 << at % 8


def _cut(content: bytearray, rng: np.random.Generator) -> None:
    del content[rng.integers(0, len(content) + 1) :]


def _remove(content: bytearray, rng: np.random.Generator) -> None:
    begin, end = sorted(rng.integers(0, len(content) + 1, 2))
    del content[begin:end]


def _repeat(content: bytearray, rng: np.random.Generator) -> None:
    begin, end = sorted(rng.integers(0, len(content) + 1, 2))
    content[begin:begin] = content[begin:end]


def _overwrite(content: bytearray, rng: np.random.Generator) -> None:
    begin = int(rng.integers(0, len(content) + 1))
    size = int(rng.integers(1, 65))
    content[begin : begin + size] = rng.bytes(size)


def _append(content: bytearray, rng: np.random.Generator) -> None:
    content += rng.bytes(int(rng.integers(1, 1_000)))


def _lie(content: bytearray, rng: np.random.Generator) -> None:
    """A number in the header, of two to eight bytes, in either order."""
    value = int(rng.choice(LIES)) if rng.random() < 0.8 else int(rng.integers(0, 1 << 62))
    size = int(rng.choice([2, 4, 4, 8]))
    at = int(rng.integers(0, max(1, min(len(content), 200))))
    order = "little" if rng.random() < 0.5 else "big"
    content[at : at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, order)


def _splice(content: bytearray, rng: np.random.Generator) -> None:
    """The beginning of this file, and the rest of another one."""
    _, other = originals()[str(rng.choice(list(originals())))]
    content[rng.integers(0, len(content) + 1) :] = other[rng.integers(0, len(other) + 1) :]


def _swap_header(content: bytearray, rng: np.random.Generator) -> None:
    _, other = originals()[str(rng.choice(list(originals())))]
    size = int(rng.integers(4, 65))
    content[:size] = other[:size]


WAYS = (
    _flip_bits, _flip_in_header, _cut, _remove, _repeat, _overwrite, _append, _lie, _lie, _splice, _swap_header
)  # fmt: skip
