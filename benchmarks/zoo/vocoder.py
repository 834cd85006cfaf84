"""How fast the vocoders are, beside the official HiFi-GAN generator on the same weights and the same mels, in turns.

    python benchmarks/zoo/vocoder.py [--official ENV/bin/python] [--seconds 5 30] [--rounds 5] [--device cpu]
        [--vocoders float32 bfloat16 griffin-lim] [--output FILE]

The weights are made up (``tests/zoo/vocoder/hifigan_standin.py``, of full size), and so are the mels: speed and parity
do not depend on them. ``benchmarks/peers/hifigan_peer.py`` says what the environment of the official package holds;
without it only ours is timed. In every round each vocoder makes the whole clip once; the ratio is the median of the
ratios. The first call of each, which loads and warms up, is not timed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

BENCHMARKS = Path(__file__).parents[1]
sys.path += [str(BENCHMARKS), str(BENCHMARKS.parent / "tests" / "zoo" / "vocoder")]
import hifigan_standin  # noqa: E402 - both lie elsewhere
from machine import stamp  # noqa: E402

from model_zoo.vocoder.convert import convert  # noqa: E402
from model_zoo.vocoder.loading import load_vocoder  # noqa: E402

FRAME_RATE = 80
PAUSE = 0.2  # seconds in which the other program's threads stop spinning


class Official:
    """The official generator in a process of its own, which waits between its turns."""

    def __init__(self, python: Path, folder: Path, device: str) -> None:
        self.output = folder / "official.npy"
        command = [
            str(python),
            str(BENCHMARKS / "peers" / "hifigan_peer.py"),
            "--folder",
            str(folder),
            "--device",
            device,
        ]
        command += ["--mels", str(folder / "mels.npy"), "--output", str(self.output)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.about = json.loads(self._line())

    def seconds(self) -> float:
        """One call, timed in its process."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        """Let it end."""
        self.process.communicate()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the official generator ended; its own message is above")
        return line


def measure(seconds: float, rounds: int, names: list[str], official: Path | None, device: str) -> list[dict[str, Any]]:
    """One row per vocoder for a clip of this length."""
    with tempfile.TemporaryDirectory() as name:
        folder = hifigan_standin.write(Path(name))
        mels = hifigan_standin.mels(round(seconds * FRAME_RATE))
        np.save(folder / "mels.npy", mels)
        convert(folder, folder / "vocoder.safetensors", mel_floor=None)
        calls = {each: _call(each, folder / "vocoder.safetensors", mels, device) for each in names}
        audio = {each: call() for each, call in calls.items()}
        theirs = Official(official, folder, device) if official else None
        times: dict[str, list[float]] = {each: [] for each in [*names, "official"]}
        for _ in range(rounds):
            if theirs:
                time.sleep(PAUSE)
                times["official"].append(theirs.seconds())
            for each, call in calls.items():
                time.sleep(PAUSE)
                begun = time.perf_counter()
                call()
                times[each].append(time.perf_counter() - begun)
        rows = [_row(each, seconds, times, audio[each], theirs) for each in names]
        if theirs:
            theirs.close()
    return rows


def _call(name: str, file: Path, mels: np.ndarray, device: str) -> Callable[[], np.ndarray]:
    vocoder = load_vocoder(name if name == "griffin-lim" else file, device, bfloat16=name == "bfloat16")
    batch = torch.from_numpy(mels)[None]
    return lambda: vocoder(batch)[0].cpu().numpy()


def _row(
    name: str, seconds: float, times: dict[str, list[float]], audio: np.ndarray, official: Official | None
) -> dict[str, Any]:
    row: dict[str, Any] = {"vocoder": name, "seconds": seconds, "x_real_time": seconds / statistics.median(times[name])}
    if official and name != "griffin-lim":
        ratios = [theirs / ours for theirs, ours in zip(times["official"], times[name], strict=True)]
        reference = np.load(official.output).astype(np.float64)
        error = audio - reference
        row |= {
            "official_x_real_time": seconds / statistics.median(times["official"]),
            "ratio": statistics.median(ratios),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
            "largest_difference": float(np.abs(error).max()),
            "signal_to_difference_db": float(10 * np.log10(np.mean(reference**2) / np.mean(error**2))),
            "official": official.about,
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, help="python of the environment of parallel-wavegan")
    parser.add_argument("--seconds", type=float, nargs="+", default=[5, 30])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--vocoders", nargs="+", default=["float32", "bfloat16", "griffin-lim"])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    result = stamp(options.device)  # before: the load that was there, not ours
    result |= {"device": options.device, "threads": torch.get_num_threads(), "rounds": options.rounds, "rows": []}
    for seconds in options.seconds:
        for row in measure(seconds, options.rounds, options.vocoders, options.official, options.device):
            result["rows"].append(row)
            print(json.dumps({key: value for key, value in row.items() if key != "official"}), flush=True)
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
