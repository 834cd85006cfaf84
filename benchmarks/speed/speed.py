"""Every speed and size that the project promises, in one run, as a table.

    python benchmarks/speed/speed.py [--audio FOLDER] [--part dnsmos counting run startup memory ...] [--output FILE]

- dnsmos: ours beside the official package on the same clips (``speed_dnsmos.py``);
- counting: n-grams beside collections.Counter, half-samples (``speed_ngrams.py``);
- run: `slm-eval run` on two halves of FOLDER, first and cached, beside the models alone on the same decoded audio;
- startup: importing the package and printing the help;
- memory: the peak of a run over FOLDER, and over ten times as many clips.

FOLDER holds real speech as FLAC, 16 kHz. Ratios are what to read: machines are noisy. Parts that need FOLDER are left
out without it, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import soundfile

sys.path.append(str(Path(__file__).parents[1]))
import speed_dnsmos
import speed_ngrams
from machine import stamp

from slm_eval.base import launching
from slm_eval.metrics.registry import make_metric
from slm_eval.observing.observer import Signal
from slm_eval.observing.registry import make_recognizer
from slm_eval.speech.audio import read_audio

Row = dict[str, object]
COMMAND = launching.python("slm_eval.cli.main")


def startup(audio: Path | None) -> list[Row]:
    """Medians of seven starts; the interpreter's own start is taken off the import."""

    def seconds(code: str) -> float:
        times = []
        for _ in range(7):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    bare = seconds("pass")
    help_command = "import sys; sys.argv = ['slm-eval', '--help']; from slm_eval.cli.main import main; main()"
    return [
        {"what": "import slm_eval", "seconds": seconds("import slm_eval") - bare},
        {"what": "slm-eval --help", "seconds": seconds(help_command)},
    ]


def whole_run(audio: Path | None) -> list[Row]:
    """The command beside the models alone: the difference is what everything else costs."""
    if audio is None:
        return [_left_out("run")]
    files = sorted(audio.glob("*.flac"))
    speech_seconds = sum(soundfile.info(file).duration for file in files)
    with tempfile.TemporaryDirectory() as folder:
        halves = [Path(folder, name) for name in ("generated.txt", "real.txt")]
        for half, some in zip(halves, (files[::2], files[1::2]), strict=True):
            half.write_text("".join(f"{file.resolve()}\n" for file in some))
        rows: list[Row] = []
        for metric, alone in (("pjsd", _phones_alone), ("dnsmos", _dnsmos_alone)):
            models = alone(files)
            command = _run(folder, halves, metric)
            rows.append(
                {
                    "what": f"run --metrics {metric}, first",
                    "seconds": command,
                    "models_alone_s": models,
                    "overhead": f"{100 * (command / models - 1):.0f} %",
                    "times_real_time": speech_seconds / command,
                }
            )
        both = [_run(folder, halves, "pjsd,dnsmos") for _ in range(3)]
        rows.append({"what": "run --metrics pjsd,dnsmos, cached", "seconds": statistics.median(both)})
        summary = json.loads(Path(folder, "out", "summary.json").read_text())["metrics"]
        rows += [
            {"what": f"half against half, {key}", **{name: value[name] for name in ("value", "floor", "floor_sd")}}
            for key, value in summary.items()
            if key.startswith("pjsd")
        ]
    return rows


def memory(audio: Path | None) -> list[Row]:
    """Peak resident memory for a corpus and for one of ten times as many clips (``memory_probe.py``)."""
    if audio is None:
        return [_left_out("memory")]
    probe = Path(__file__).with_name("memory_probe.py")
    rows: list[Row] = []
    for copies in (1, 10):
        command = [sys.executable, str(probe), str(audio), str(copies)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append({"what": "peak memory", **json.loads(done.stdout)})
    return rows


def dnsmos(audio: Path | None) -> list[Row]:
    """Beside speechmos and beside the plain computation."""
    return [{"what": "dnsmos", **row} for row in speed_dnsmos.run(audio=audio)]


def counting(audio: Path | None) -> list[Row]:
    """Beside collections.Counter."""
    return [{"what": "counting", **row} for row in speed_ngrams.run()]


def _run(folder: str, halves: list[Path], metrics: str) -> float:
    """Seconds of the whole command, with a cache of its own in ``folder``."""
    arguments = [
        "run",
        "--generated",
        halves[0],
        "--real",
        halves[1],
        "--metrics",
        metrics,
        "--output",
        f"{folder}/out",
    ]
    environment = os.environ | {"SLM_EVAL_CACHE": f"{folder}/cache"}
    start = time.perf_counter()
    subprocess.run([*COMMAND, *map(str, arguments)], env=environment, check=True, capture_output=True)
    return time.perf_counter() - start


def _decode(files: list[Path]) -> list[Signal]:
    return [Signal(read_audio(file).samples, 16_000) for file in files]


def _phones_alone(files: list[Path]) -> float:
    """Seconds of pocketsphinx in one process per core over decoded audio; starting them is not counted."""
    workers = os.cpu_count() or 1
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(_recognise, [_decode(files[:1])] * workers))
        shares = [_decode(files[at::workers]) for at in range(workers)]
        start = time.perf_counter()
        list(pool.map(_recognise, shares))
        return time.perf_counter() - start


def _recognise(signals: list[Signal]) -> int:
    recognizer = make_recognizer("pocketsphinx")
    recognizer.ready("cpu")
    return len(recognizer.observe(signals))


def _dnsmos_alone(files: list[Path]) -> float:
    observer = make_metric("dnsmos").observer
    observer.ready("cpu")
    signals = _decode(files)
    observer.observe(signals[:1])
    start = time.perf_counter()
    observer.observe(signals)
    return time.perf_counter() - start


def _left_out(part: str) -> Row:
    return {"what": part, "left_out": "needs --audio FOLDER with FLAC files"}


PARTS: dict[str, Callable[[Path | None], list[Row]]] = {
    "startup": startup,
    "counting": counting,
    "memory": memory,
    "run": whole_run,
    "dnsmos": dnsmos,
}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--output", type=Path, help="JSON file; parts that it holds already are kept")
    arguments = parser.parse_args()
    results: dict[str, object] = json.loads(arguments.output.read_text()) if _exists(arguments.output) else {}
    for part in arguments.part:
        rows = PARTS[part](arguments.audio)
        for row in rows:
            print("  ".join(f"{key}: {_shown(value)}" for key, value in row.items()), flush=True)
        results[part] = {**stamp(), "rows": rows}
        if arguments.output:
            arguments.output.parent.mkdir(parents=True, exist_ok=True)
            arguments.output.write_text(json.dumps(results, indent=1) + "\n")


def _exists(path: Path | None) -> bool:
    return path is not None and path.exists()


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
