"""How long `slm-eval compare` takes for two finished runs of 10,000 clips: at most 15 s on 2 cores.

    python benchmarks/compare_speed.py [--clips 10000] [--score-keys 9] [--unpaired]

The runs are synthetic: 100 phones a clip from Markov chains of 40 phones, the second system mixed with a little more of
another chain than the first, and scores of normal noise. What is timed is the whole command, from its start to the end
of its output: reading both runs, five orders of pJSD and all scores, each with 1,999 labellings.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import stamp
from report_speed import chain

from slm_eval import launching

RESULTS = Path(__file__).parent / "results" / "compare_speed.json"
COMMAND = launching.python("slm_eval.cli", "compare")
ORDERS = range(1, 6)


def main() -> None:
    """Print the command's own table, then seconds and peak memory, and write them beside those of other sizes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--score-keys", type=int, default=9)
    parser.add_argument("--unpaired", action="store_true", help="clips of other names in the second run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rng = np.random.default_rng(0)
        real = chain(rng, options.clips, mixed=0.0)
        runs = [Path(folder, name) for name in ("first", "second")]
        for run, mixed in zip(runs, (0.15, 0.155), strict=True):
            prefix = run.name if options.unpaired else "clip"
            make_run(run, prefix, chain(rng, options.clips, mixed=mixed), real, options.score_keys, rng)
        start = time.perf_counter()
        subprocess.run([*COMMAND, *map(str, runs)], check=True)
        seconds = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6
    print(f"{options.clips} clips: {seconds:.1f} s, {processor:.1f} s of processor time, peak {peak:.2f} GB")
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[f"{options.clips} clips, {'unpaired' if options.unpaired else 'paired'}"] = {
        "clips": options.clips,
        "phones": sum(map(len, real)),
        "score_keys": options.score_keys,
        "seconds": round(seconds, 1),
        # Beside other load the seconds are too many, this hardly.
        "processor_seconds": round(processor, 1),
        "peak_gb": round(peak, 2),
        **stamp(),
    }
    RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")


def make_run(
    folder: Path, prefix: str, phones: list[list[str]], real: list[list[str]], n_keys: int, rng: np.random.Generator
) -> None:
    """summary.json and clips.jsonl as a run writes them, but for values that comparing does not read."""
    folder.mkdir()
    keys = [f"family{at // 3}.score{at}" for at in range(n_keys)]
    with (folder / "clips.jsonl").open("w") as file:
        for side, spoken in (("generated", phones), ("real", real)):
            scores = rng.normal(3.0, 0.4, (len(spoken), n_keys)).tolist()
            for at, clip in enumerate(spoken):
                line: dict[str, Any] = {"id": f"{prefix}{at:06}.wav", "side": side, "seconds": 10.0, "status": "ok"}
                line |= {"error": None, "scores": dict(zip(keys, scores[at], strict=True)), "phones": clip}
                file.write(json.dumps(line) + "\n")
    metrics: dict[str, dict[str, Any]] = {
        f"pjsd.{n}": {"unit": "nats", "higher_is_better": False, "signature": f"pjsd|n:{n}|base:e|real:made"}
        for n in ORDERS
    }
    for key in keys:
        metrics[key] = {"sd": 0.4, "n": len(phones), "unit": "MOS", "higher_is_better": True, "signature": "made|rev:1"}
    summary = {
        "schema": 1,
        "version": "made",
        "corpora": {
            side: {"path": side, "n_total": len(each)} for side, each in (("generated", phones), ("real", real))
        },
        "metrics": {key: {"value": 0.1, **each} for key, each in metrics.items()},
    }
    (folder / "summary.json").write_text(json.dumps(summary))


if __name__ == "__main__":
    main()
