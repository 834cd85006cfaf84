"""How long a report of 10,000 clips a side takes, and how large it is: at most 10 s and 15 MB.

    python benchmarks/speed/report_speed.py [--clips 10000] [--score-keys 14]

A synthetic run: 100 phones a clip from a Markov chain of 40 phones, scores of normal noise, and audio of 10 s for the
clips that the page plays. The summary's numbers are computed, so that the page is as of a real run; that time is not
counted.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

sys.path.append(str(Path(__file__).parents[1]))
from machine import stamp

from slm_eval.metrics.pjsd import pJSD
from slm_eval.observing.phones.given import GivenPhones
from slm_eval.report.page.html import write_html
from slm_eval.run.finished import SIDES, read_run

RESULTS = Path(__file__).parents[1] / "results" / "report_speed.json"
PHONES, LENGTH, SECONDS, RATE, VOICES = 40, 100, 10.0, 16_000, 50


def main() -> None:
    """Print seconds, megabytes and peak memory, and write them beside those of other sizes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--score-keys", type=int, default=14)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_run(Path(folder), options.clips, options.score_keys)
        start, before = time.perf_counter(), time.process_time()
        path = write_html(read_run(Path(folder)), Path(folder))
        seconds, processor = time.perf_counter() - start, time.process_time() - before
        megabytes = path.stat().st_size / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{options.clips} clips a side: {seconds:.1f} s, {processor:.1f} s of processor time, {megabytes:.1f} MB, "
        f"peak {peak:.2f} GB"
    )
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[f"{options.clips} clips"] = {
        "score_keys": options.score_keys,
        "seconds": round(seconds, 1),
        # Beside other load the seconds are too many, this hardly.
        "processor_seconds": round(processor, 1),
        "megabytes": round(megabytes, 1),
        "peak_gb": round(peak, 2),
        **stamp(),
    }
    RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")


def make_run(folder: Path, n_clips: int, n_keys: int) -> None:
    """summary.json, clips.jsonl, and a file for every clip; few sounds, many links to them."""
    rng = np.random.default_rng(0)
    keys = [f"family{at // 3}.score{at}" for at in range(n_keys)]
    lines, observed = [], {}
    for side in SIDES:
        (folder / side).mkdir()
        for voice in range(VOICES):
            soundfile.write(folder / f"{side}-{voice}.wav", 0.1 * rng.standard_normal(round(SECONDS * RATE)), RATE)
        phones = chain(rng, n_clips, mixed=0.15 if side == "generated" else 0.0)
        scores = rng.normal(3.0, 0.4, (n_clips, n_keys))
        observed[side] = [{"phones": spoken} for spoken in phones]
        for at in range(n_clips):
            name = f"{at:06}.wav"
            (folder / side / name).symlink_to(folder / f"{side}-{at % VOICES}.wav")
            lines.append(
                {
                    "id": name,
                    "side": side,
                    "seconds": SECONDS,
                    "status": "ok",
                    "error": None,
                    "scores": dict(zip(keys, scores[at].tolist(), strict=True)),
                    "phones": phones[at],
                    "audio": {"sample_rate": RATE, "channels": 1, "peak": 0.5, "silence": float(rng.random())},
                }
            )
    (folder / "clips.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    metric = pJSD(recognizer=GivenPhones(None))
    metrics = {key: summary.to_dict() for key, summary in metric.summarise(*observed.values()).items()}
    for key in keys:
        moments = {"value": 3.0, "sd": 0.4, "ci95": [2.99, 3.01], "n": n_clips}
        metrics[key] = {**moments, "unit": "MOS", "higher_is_better": True, "real": moments, "signature": "made|rev:1"}
    corpora = {
        side: {"path": str(folder / side), "n_total": n_clips, "n_scored": n_clips, "n_failed": 0, "seconds": 1.0}
        for side in SIDES
    }
    summary = {"schema": 1, "version": "made", "corpora": corpora, "metrics": metrics, "environment": {}}
    (folder / "summary.json").write_text(json.dumps(summary))


def chain(rng: np.random.Generator, n_clips: int, *, mixed: float) -> list[list[str]]:
    """Clips of phones from one Markov chain, and with some probability from another."""
    first, second = (np.random.default_rng(seed).dirichlet(np.full(PHONES, 0.3), PHONES) for seed in (1, 2))
    steps = np.cumsum((1 - mixed) * first + mixed * second, axis=1)
    states = rng.integers(PHONES, size=n_clips)
    columns = [states]
    for _ in range(LENGTH - 1):
        draws = rng.random(n_clips)
        states = np.minimum((steps[states] < draws[:, None]).sum(axis=1), PHONES - 1)
        columns.append(states)
    names = [f"p{phone}" for phone in range(PHONES)]
    return [[names[phone] for phone in row] for row in np.stack(columns, axis=1).tolist()]


if __name__ == "__main__":
    main()
