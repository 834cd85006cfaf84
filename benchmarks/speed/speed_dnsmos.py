"""How fast DNSMOS is beside the official package, and how far the scores are apart.

    python benchmarks/speed/speed_dnsmos.py [--seconds 30 60] [--repeats 5] [--audio FOLDER]

- reference: ours beside ``speechmos.dnsmos.run(array, sr=16000)``, as its users call it;
- all: ours with ``windows="all"`` beside the plain computation, both networks in onnxruntime, window by window.

The same clips, in one process, interleaved, each side with its default settings and threads; the first round, which
loads and warms up, is not timed. The clips are the FLAC files of FOLDER joined together, or synthetic sound.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from slm_eval.observing.observer import Signal
from slm_eval.observing.quality.dnsmos.observer import (
    KEYS,
    RATE,
    WINDOW_SAMPLES,
    DNSMOSObserver,
    lengthen,
    window_indices,
)

Score = Callable[[np.ndarray], dict[str, float]]


def run(
    seconds: tuple[float, ...] = (30, 60), repeats: int = 5, audio: Path | None = None
) -> list[dict[str, float | str]]:
    """Time both modes on one clip of each length.

    Returns:
        One row per length and mode: ``ours_s`` and ``official_s`` (medians over repeats), ``ratio`` (median of the
        ratios of each round), ``ratio_min`` and ``ratio_max`` of the rounds, ``windows``, ``difference`` (largest
        over the four scores).
    """
    rows: list[dict[str, float | str]] = []
    for length in seconds:
        clip = make_clip(length, audio)
        for mode, official in (("reference", speechmos_scores), ("all", plain_scores)):
            row = compare(clip, ours(mode), official, repeats)
            windows = len(window_indices(len(lengthen(clip)), mode))
            rows.append({"seconds": length, "mode": mode, "windows": windows, **row})
    return rows


def compare(clip: np.ndarray, ours: Score, official: Score, repeats: int) -> dict[str, float]:
    """Both on the same clip, in turns."""
    mine, theirs = ours(clip), official(clip)
    times = []
    for _ in range(repeats):
        times.append((seconds_of(ours, clip), seconds_of(official, clip)))
    ratios = [official_s / ours_s for ours_s, official_s in times]
    return {
        "ours_s": statistics.median(ours_s for ours_s, _ in times),
        "official_s": statistics.median(official_s for _, official_s in times),
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "difference": max(abs(mine[key] - theirs[key]) for key in KEYS),
    }


def seconds_of(score: Score, clip: np.ndarray) -> float:
    """Wall time of one call, in seconds, after a pause in which the other library's threads stop spinning."""
    time.sleep(0.2)
    start = time.perf_counter()
    score(clip)
    return time.perf_counter() - start


def ours(mode: str) -> Score:
    """Our observer, loaded on the CPU."""
    observer = DNSMOSObserver(mode)
    observer.ready("cpu")

    def score(clip: np.ndarray) -> dict[str, float]:
        (observation,) = observer.observe([Signal(clip, RATE)])
        assert isinstance(observation, dict)
        return observation["scores"]

    return score


def speechmos_scores(clip: np.ndarray) -> dict[str, float]:
    """The official package, as its users call it."""
    from speechmos import dnsmos  # type: ignore[import-untyped]

    scores = dnsmos.run(clip, sr=RATE)
    return {key: float(scores[f"{key.removeprefix('dnsmos.')}_mos"]) for key in KEYS}


def plain_scores(clip: np.ndarray) -> dict[str, float]:
    """Every window on its own, by the official package's own session, features and polynomials."""
    from speechmos import dnsmos

    if dnsmos.dnsmos is None:
        speechmos_scores(clip[:WINDOW_SAMPLES])
    official, clip, rows = dnsmos.dnsmos, lengthen(clip), []
    for window in window_indices(len(clip), "all"):
        segment = clip[window * RATE : window * RATE + WINDOW_SAMPLES]
        features = np.float32(official.audio_melspec(segment[:-160]))[None]
        (p808,) = official.p808_onnx_sess.run(None, {"input_1": features})[0][0]
        raw = official.onnx_sess.run(None, {"input_1": segment[None]})[0][0]
        rows.append([p808, *official.get_polyfit_val(*raw, False)])
    return dict(zip(KEYS, map(float, np.mean(rows, axis=0)), strict=True))


def make_clip(seconds: float, audio: Path | None) -> np.ndarray:
    """Speech of ``audio`` joined together, or bursts of harmonics in noise; 16 kHz float32."""
    samples = round(seconds * RATE)
    if audio is not None:
        import soundfile

        parts, found = [], 0
        for path in sorted(audio.glob("*.flac")):
            part, rate = soundfile.read(path, dtype="float32")
            if rate != RATE or part.ndim != 1:
                raise SystemExit(f"{path}: expected mono at {RATE} Hz, got {part.ndim} channels at {rate} Hz")
            parts.append(part)
            found += len(part)
            if found >= samples:
                return np.concatenate(parts)[:samples]
        raise SystemExit(f"{audio} holds {found / RATE:.1f} s in FLAC files, {seconds} s are needed")
    time_s = np.arange(samples) / RATE
    phase = np.cumsum(130 + 30 * np.sin(2 * np.pi * 0.7 * time_s)) / RATE
    voice = sum(np.sin(2 * np.pi * harmonic * phase) / harmonic for harmonic in range(1, 20))
    envelope = np.clip(np.sin(2 * np.pi * 1.7 * time_s), 0, None)
    noise = np.random.default_rng(0).standard_normal(samples)
    return (0.1 * envelope * voice + 0.002 * noise).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, nargs="+", default=[30, 60])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--audio", type=Path, help="folder of 16 kHz mono FLAC files; default: synthetic sound")
    options = parser.parse_args()
    print("clip s  mode       windows  ours s  official s  ratio (min-max)     difference")
    for row in run(tuple(options.seconds), options.repeats, options.audio):
        print(
            f"{row['seconds']:6g}  {row['mode']:9}  {row['windows']:7}  {row['ours_s']:6.2f}  {row['official_s']:10.2f}"
            f"  {row['ratio']:5.2f} ({row['ratio_min']:.2f}-{row['ratio_max']:.2f})  {row['difference']:12.1e}"
        )


if __name__ == "__main__":
    main()
