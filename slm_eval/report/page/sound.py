"""Clips to listen to: compressed audio and a spectrogram, as data URIs that need no other file."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from slm_eval.speech.audio import AudioError, read_audio, resample
from slm_eval.speech.corpus import Clip

# Longest part of a clip that a page carries, and the highest sampling rate: a page stays a few megabytes.
SECONDS = 20.0
RATE = 24_000
# Rates that MP3 has (MPEG 1, 2 and 2.5); every browser plays MP3, which is not so for Opus.
_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, RATE)

# Spectrogram: windows of 16 ms resolve formants and pitch pulses alike; 70 dB below the loudest point is black.
_WINDOW_SECONDS = 0.016
_TOP_HZ = 8_000
_RANGE_DB = 70.0
_COLUMNS = 640
_SHADES = 48


@dataclass(frozen=True)
class Recording:
    """What a page carries of a clip.

    Attributes:
        audio: data URI of the first ``SECONDS``, mono, MP3 at no more than ``RATE``.
        spectrogram: data URI of a PNG; time to the right, 0 to ``top_hz`` upwards.
        seconds: length of both.
        top_hz: highest frequency of the picture.
        cut: whether the clip goes on.
    """

    audio: str
    spectrogram: str
    seconds: float
    top_hz: float
    cut: bool


def record(clip: Clip, seconds: float | None) -> Recording:
    """Record the beginning of a clip.

    Args:
        clip: with a path.
        seconds: its length when it was scored, where known: another length means another recording.

    Raises:
        AudioError: it cannot be read any more, or is not what was scored.
    """
    if clip.path is None:
        raise AudioError("decode_error", "there is no audio: phones were given")
    heard = read_audio(clip.path, clip.start, clip.end)
    if seconds is not None and abs(heard.facts.seconds - seconds) > 1e-3:
        raise AudioError(
            "decode_error", f"the file changed since the run: it lasts {heard.facts.seconds:.2f} s, not {seconds:.2f} s"
        )
    rate = heard.facts.sample_rate
    target = next((allowed for allowed in _MP3_RATES if allowed >= rate), RATE)
    samples = resample(heard.samples[: round(SECONDS * rate)], rate, target)
    return Recording(
        audio=data_uri("audio/mpeg", mp3(samples, target)),
        spectrogram=data_uri("image/png", png(spectrogram(samples, target))),
        seconds=len(samples) / target,
        top_hz=min(_TOP_HZ, target / 2),
        cut=heard.facts.seconds > SECONDS,
    )


def data_uri(kind: str, content: bytes) -> str:
    """Return a file inside an address."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def mp3(samples: npt.NDArray[np.float32], rate: int) -> bytes:
    """Return mono samples as MP3.

    Raises:
        AudioError: the installed libsndfile cannot write it (before version 1.1).
    """
    import soundfile

    if "MP3" not in soundfile.available_formats():
        raise AudioError(
            "decode_error", f"libsndfile {soundfile.__libsndfile_version__} cannot write MP3; 1.1 or later can"
        )
    held = io.BytesIO()
    with soundfile.SoundFile(held, "w", rate, 1, format="MP3", subtype="MPEG_LAYER_III") as file:
        file.write(np.clip(samples, -1, 1))
    return held.getvalue()


def spectrogram(samples: npt.NDArray[np.float32], rate: int) -> npt.NDArray[np.uint8]:
    """Return power in dB as shades, shape (frequencies, times), the highest frequency first; times at most 640.

    Hann windows of 16 ms that overlap by half; where they are more than 640, neighbours are averaged. Shade 0 is
    70 dB or more below the loudest point of this clip, so shades do not compare levels of clips.
    """
    window = round(_WINDOW_SECONDS * rate)
    size = 1 << (window - 1).bit_length()
    padded = np.pad(samples, (0, max(window - len(samples), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[:: window // 2]
    power = np.abs(np.fft.rfft(frames * np.hanning(window).astype(np.float32), size)) ** 2
    power = power[:, 1 : int(np.searchsorted(np.fft.rfftfreq(size, 1 / rate), _TOP_HZ, side="right"))]
    # Without the first row: an offset of the signal is no sound.
    edges = np.unique(np.linspace(0, len(power), min(len(power), _COLUMNS) + 1).astype(int))
    power = np.add.reduceat(power, edges[:-1]) / np.diff(edges)[:, None]
    decibels = 10 * np.log10(np.maximum(power / max(power.max(), np.finfo(np.float64).tiny), 1e-12))
    shades = np.clip(1 + decibels / _RANGE_DB, 0, 1) * (_SHADES - 1)
    return np.ascontiguousarray(np.round(shades).astype(np.uint8).T[::-1])


def png(shades: npt.NDArray[np.uint8]) -> bytes:
    """Return shades, (height, width), as a PNG with the colours of ``palette``. Format: W3C PNG, third edition."""
    height, width = shades.shape
    rows = np.zeros((height, width + 1), dtype=np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = shades
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)  # 8 bits, palette
    parts = [(b"IHDR", header), (b"PLTE", palette()), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in parts)


@lru_cache
def palette() -> bytes:
    """Return 48 colours from night blue over violet and orange to pale yellow, evenly spaced in lightness, as RGB.

    Straight lines between anchors in Oklab (Ottosson 2020), in which equal steps look equal; lightness rises alone, so
    that the picture also reads in grey and to colour-blind eyes.
    """
    # Lightness, green-red, blue-yellow.
    anchors = np.array(
        [[0.12, 0.01, -0.04], [0.36, 0.09, -0.13], [0.55, 0.17, -0.02], [0.74, 0.12, 0.13], [0.97, -0.01, 0.09]]
    )
    place = np.linspace(anchors[0, 0], anchors[-1, 0], _SHADES)
    oklab = np.stack([np.interp(place, anchors[:, 0], anchors[:, axis]) for axis in range(3)], axis=1)
    cones = oklab @ np.array(
        [[1, 1, 1], [0.3963377774, -0.1055613458, -0.0894841775], [0.2158037573, -0.0638541728, -1.2914855480]]
    )
    linear = cones**3 @ np.array(
        [
            [4.0767416621, -1.2684380046, -0.0041960863],
            [-3.3077115913, 2.6097574011, -0.7034186147],
            [0.2309699292, -0.3413193965, 1.7076147010],
        ]
    )
    linear = np.clip(linear, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * encoded).astype(np.uint8).tobytes()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
