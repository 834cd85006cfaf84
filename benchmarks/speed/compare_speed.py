"""How long `slm-eval compare` takes for two finished runs, and how much memory.

    python benchmarks/speed/compare_speed.py [--clips 10000] [--score-keys 9] [--unpaired] [--without-plm]

The runs are synthetic: 100 phones a clip from Markov chains of 40 phones, the second system mixed with a little more of
another chain than the first, and scores of normal noise. What is timed is the whole command, from its start to the end
of its output: reading both runs, five orders of pJSD, plm.3 and all scores, each with 1,999 labellings.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from report_speed import LENGTH, chain

sys.path.append(str(Path(__file__).parents[1]))
from machine import stamp

from slm_eval.base import launching

RESULTS = Path(__file__).parents[1] / "results" / "compare_speed.json"
COMMAND = launching.python("slm_eval.cli.main", "compare")
ORDERS = range(1, 6)


def main() -> None:
    """Print the command's own table, then seconds and peak memory, and write them beside those of other sizes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--score-keys", type=int, default=9)
    parser.add_argument("--unpaired", action="store_true", help="clips of other names in the second run")
    parser.add_argument("--without-plm", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = [Path(folder, name) for name in ("first", "second")]
        # In a process of its own: a command's peak is never below that of the process that starts it.
        with ProcessPoolExecutor(1) as pool:
            pool.submit(
                make_runs, runs, options.clips, options.score_keys, options.unpaired, options.without_plm
            ).result()
        start = time.perf_counter()
        process = subprocess.Popen([*COMMAND, *map(str, runs)])
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"slm-eval compare ended with status {status}")
    processor, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6
    print(f"{options.clips} clips: {seconds:.1f} s, {processor:.1f} s of processor time, peak {peak:.2f} GB")
    name = f"{options.clips} clips, {'unpaired' if options.unpaired else 'paired'}"
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[f"{name}, without plm" if options.without_plm else name] = {
        "clips": options.clips,
        "phones": options.clips * LENGTH,
        "score_keys": options.score_keys,
        "seconds": round(seconds, 1),
        # Beside other load the seconds are too many, this hardly.
        "processor_seconds": round(processor, 1),
        "peak_gb": round(peak, 2),
        **stamp(),
    }
    RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")


def make_runs(folders: list[Path], n_clips: int, n_keys: int, unpaired: bool, without_plm: bool) -> None:
    """Two systems against the same real speech."""
    rng = np.random.default_rng(0)
    real = chain(rng, n_clips, mixed=0.0)
    for folder, mixed in zip(folders, (0.15, 0.155), strict=True):
        prefix = folder.name if unpaired else "clip"
        make_run(folder, prefix, chain(rng, n_clips, mixed=mixed), real, n_keys, rng, with_plm=not without_plm)


def make_run(
    folder: Path,
    prefix: str,
    phones: list[list[str]],
    real: list[list[str]],
    n_keys: int,
    rng: np.random.Generator,
    *,
    with_plm: bool,
) -> None:
    """summary.json and clips.jsonl as a run writes them, but for values that comparing does not read."""
    folder.mkdir()
    keys = [f"family{at // 3}.score{at}" for at in range(n_keys)]
    with (folder / "clips.jsonl").open("w") as file:
        for side, spoken in (("generated", phones), ("real", real)):
            # Both runs have the same real speech.
            scores = (rng if side == "generated" else np.random.default_rng(1)).normal(3.0, 0.4, (len(spoken), n_keys))
            name = prefix if side == "generated" else "real"
            for at, clip in enumerate(spoken):
                line: dict[str, Any] = {"id": f"{name}{at:06}.wav", "side": side, "seconds": 10.0, "status": "ok"}
                line |= {"error": None, "scores": dict(zip(keys, scores[at].tolist(), strict=True)), "phones": clip}
                file.write(json.dumps(line) + "\n")
    gap = {"value": 0.1, "ci95": [0.0, 0.2], "p": 0.5}
    common = {"value": 0.1, "ci95": [0.0, 0.2], "unit": "nats", "higher_is_better": False}
    sizes = {side: len(each) * LENGTH for side, each in (("generated", phones), ("real", real))}
    metrics: dict[str, dict[str, Any]] = {
        f"pjsd.{n}": {
            **common,
            **dict.fromkeys(("floor", "floor_sd", "excess", "corrected", "coverage"), 0.1),
            "n_ngrams": sizes,
            "signature": f"pjsd|n:{n}|base:e|real:made",
        }
        for n in ORDERS
    }
    if with_plm:
        metrics["plm.3"] = {
            **common, "real": gap, "difference": gap, "n_phones": sizes, "signature": "plm|n:3|base:e|real:made"
        }  # fmt: skip
    for key in keys:
        metrics[key] = {**common, "sd": 0.4, "n": len(phones), "higher_is_better": True, "signature": "made|rev:1"}
    corpora = {
        side: {"path": side, "n_total": size // LENGTH, "n_scored": size // LENGTH, "n_failed": 0}
        for side, size in sizes.items()
    }
    summary = {"schema": 1, "version": "made", "corpora": corpora, "metrics": metrics}
    (folder / "summary.json").write_text(json.dumps(summary))


if __name__ == "__main__":
    main()
