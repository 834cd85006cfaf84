"""Make the two example corpora, `data/real` and `data/generated`, with the espeak-ng synthesiser.

`real` speaks English sentences. `generated` plays a poor spoken language model: the same voices speak
words of those sentences in random order, or phonemes in orders that English does not know, and three clips
of four are made noisy, clipped or dull. So pJSD (what is said) and DNSMOS (how it sounds) both have something
to find, in less than three megabytes.

    python examples/make_data.py            # apt-get install espeak-ng, or brew install espeak-ng

Everything random comes from --seed and nothing from the clock: the same machine writes the same bytes.
"""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import numpy.typing as npt
import soundfile
import soxr

Audio = npt.NDArray[np.float64]  # mono, at SAMPLE_RATE

HERE = Path(__file__).resolve().parent
SAMPLE_RATE = 16_000
MIN_SECONDS, MAX_SECONDS = 4.0, 8.0
CLIPS_PER_VOICE = 8
PEAK = 0.5
MAX_ATTEMPTS = 200  # texts tried for one clip; a handful is enough at the speeds below


class Voice(NamedTuple):
    """An espeak-ng voice and variant, its speed in words per minute and its pitch from 0 to 99."""

    folder: str
    name: str
    speed: int
    pitch: int


VOICES = (
    Voice("f2", "en-gb+f2", 165, 55),
    Voice("f4", "en-us+f4", 175, 48),
    Voice("m1", "en-gb-scotland+m1", 170, 45),
    Voice("m3", "en-us+m3", 160, 40),
    Voice("m7", "en-gb-x-rp+m7", 150, 52),
)

# Phonemes as espeak-ng spells them. Real words would read "ng" or "zh" by English rules, and a word without
# vowels letter by letter, so gibberish is given as phonemes: [[Ngzi:hZ]].
CONSONANTS = [*"pbtdkgfvTDszSZhmnNlrwj", "tS", "dZ"]
VOWELS = ["a", "E", "I", "0", "U", "V", "i:", "u:", "A:", "O:", "3:", "aI", "eI", "OI", "aU", "oU"]


def speak(voice: Voice, text: str) -> Audio:
    """What `voice` says, with its peak at PEAK."""
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder, "speech.wav")
        options = ["-v", voice.name, "-s", str(voice.speed), "-p", str(voice.pitch), "-w", str(wav)]
        subprocess.run(["espeak-ng", *options, text], check=True)
        samples, rate = soundfile.read(wav)
    audio = soxr.resample(samples, rate, SAMPLE_RATE)
    return audio * (PEAK / np.abs(audio).max())


def fits(audio: Audio) -> bool:
    return MIN_SECONDS <= len(audio) / SAMPLE_RATE <= MAX_SECONDS


# ---- what is said ------------------------------------------------------------------------------


def speak_sentences(voice: Voice, unused: list[str]) -> Audio:
    """The first unused sentence and the next one that makes a clip of the right length with it; uses both up."""
    first = unused.pop(0)
    for second in unused:
        audio = speak(voice, f"{first} {second}")
        if fits(audio):
            unused.remove(second)
            return audio
    raise click.ClickException(f"no sentence left makes a clip of 4 to 8 s with {first!r}: add some to sentences.txt")


def speak_at_random(voice: Voice, write: Callable[[np.random.Generator], str], rng: np.random.Generator) -> Audio:
    """The first text drawn from `write` that makes a clip of the right length."""
    for _ in range(MAX_ATTEMPTS):
        audio = speak(voice, write(rng))
        if fits(audio):
            return audio
    raise click.ClickException(f"{MAX_ATTEMPTS} random texts, none of 4 to 8 s in voice {voice.name}: change its speed")


def shuffled_words(sentences: list[str], rng: np.random.Generator) -> str:
    """English words in no order: phonotactics hold within words, not across them."""
    words = " ".join(sentences).lower().translate(str.maketrans("", "", ".,?")).split()
    return " ".join(rng.choice(words, size=16)) + "."


def gibberish(rng: np.random.Generator) -> str:
    """Words of one or two syllables, each of up to two consonants, a vowel and up to two consonants, all uniform."""

    def syllable() -> str:
        onset, coda = (rng.choice(CONSONANTS, size=rng.integers(1, 3)) for _ in range(2))
        return "".join([*onset, rng.choice(VOWELS), *coda])

    return " ".join("[[" + "".join(syllable() for _ in range(rng.integers(1, 3))) + "]]" for _ in range(12))


# ---- how it sounds -----------------------------------------------------------------------------


def clean(audio: Audio, rng: np.random.Generator) -> Audio:
    return audio


def noisy(audio: Audio, rng: np.random.Generator) -> Audio:
    """White noise, 5 to 15 dB below the speech."""
    snr_db = rng.uniform(5, 15)
    return audio + rng.standard_normal(len(audio)) * audio.std() * 10 ** (-snr_db / 20)


def clipped(audio: Audio, rng: np.random.Generator) -> Audio:
    """Everything above 3 to 10 % of the peak is cut off."""
    limit = rng.uniform(0.03, 0.1) * PEAK
    return np.clip(audio, -limit, limit)


def dull(audio: Audio, rng: np.random.Generator) -> Audio:
    """Nothing above 1 to 2 kHz."""
    spectrum = np.fft.rfft(audio)
    spectrum[np.fft.rfftfreq(len(audio), 1 / SAMPLE_RATE) > rng.uniform(1000, 2000)] = 0
    return np.fft.irfft(spectrum, len(audio))


DAMAGES = (clean, noisy, clipped, dull)


# ---- the corpora -------------------------------------------------------------------------------


def real(sentences: list[str]) -> Iterator[tuple[str, Audio]]:
    """(id, audio) of each clip. No sentence is said twice."""
    unused = list(sentences)
    for voice in VOICES:
        for index in range(CLIPS_PER_VOICE):
            yield f"{voice.folder}/clip_{index:03d}.ogg", speak_sentences(voice, unused)


def generated(sentences: list[str], seed: int) -> Iterator[tuple[str, Audio]]:
    """(id, audio) of each clip. One in four says shuffled words, the others gibberish; each damage hits both kinds."""
    for number in range(len(VOICES) * CLIPS_PER_VOICE):
        rng = np.random.default_rng([seed, number])
        voice, index = VOICES[number // CLIPS_PER_VOICE], number % CLIPS_PER_VOICE
        shuffle = number % 4 == number // 4 % 4  # the diagonal: every kind of text meets every damage
        audio = speak_at_random(voice, partial(shuffled_words, sentences) if shuffle else gibberish, rng)
        damaged = DAMAGES[number % len(DAMAGES)](audio, rng)
        # As loud as before, not as high: Vorbis overshoots the flat tops of clipped speech more than twofold.
        yield f"{voice.folder}/clip_{index:03d}.ogg", damaged * (audio.std() / damaged.std())


def encode(audio: Audio) -> bytes:
    """Ogg Vorbis. libsndfile draws each stream's serial number at random: set it to 1 so that bytes repeat."""
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, SAMPLE_RATE, format="OGG", subtype="VORBIS")
    data, start = bytearray(buffer.getvalue()), 0
    while start < len(data):  # RFC 3533: serial at byte 14 of a page, checksum at 22, segment sizes from 27
        n_segments = data[start + 26]
        end = start + 27 + n_segments + sum(data[start + 27 : start + 27 + n_segments])
        struct.pack_into("<I", data, start + 14, 1)
        struct.pack_into("<I", data, start + 22, 0)
        struct.pack_into("<I", data, start + 22, ogg_checksum(data[start:end]))
        start = end
    return bytes(data)


def ogg_checksum(page: bytes | bytearray) -> int:
    """CRC-32 of RFC 3533: polynomial 0x04c11db7, not reflected, neither start value nor final inversion."""
    checksum = 0
    for byte in page:
        checksum = (checksum << 8 & 0xFFFFFFFF) ^ CRC_TABLE[checksum >> 24 ^ byte]
    return checksum


def _crc_entry(value: int) -> int:
    value <<= 24
    for _ in range(8):
        value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return value


CRC_TABLE = [_crc_entry(value) for value in range(256)]


@click.command()
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=HERE / "data", show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(output: Path, seed: int) -> None:
    """Write OUTPUT/real and OUTPUT/generated; clips of an earlier run are replaced, other files are left alone."""
    if shutil.which("espeak-ng") is None:
        raise click.ClickException("espeak-ng is not installed: apt-get install espeak-ng, or brew install espeak-ng")
    sentences = (HERE / "sentences.txt").read_text(encoding="utf-8").splitlines()
    for side, clips in (("real", real(sentences)), ("generated", generated(sentences, seed))):
        encoded, seconds = {}, 0.0
        for name, audio in clips:
            encoded[name] = encode(audio)
            seconds += len(audio) / SAMPLE_RATE
        for old in (output / side).glob("*/clip_*.ogg"):
            old.unlink()
        for name, data in encoded.items():
            path = output / side / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        size = sum(map(len, encoded.values())) / 1e6
        click.echo(f"{output / side}: {len(encoded)} clips, {seconds:.0f} s, {size:.2f} MB")


if __name__ == "__main__":
    main()
