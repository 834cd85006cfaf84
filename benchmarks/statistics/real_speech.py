"""One half of real speech against the other: floor, correction and test where the truth is 0, on real clips.

    python benchmarks/statistics/real_speech.py [--splits 20]

251 LibriSpeech utterances of as many speakers, their phones as pocketsphinx heard them (`tests/data`). Each split deals
them out to two halves at random. Halves of one sample are not independent of each other: of the sds only the order of
magnitude can be read off.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(1, str(Path(__file__).parent.parent))
from machine import stamp

from slm_eval.divergence.analysis import Analysis, analyse

PHONES = Path(__file__).parent.parent.parent / "tests" / "data" / "librispeech-phones.txt"
RESULTS = Path(__file__).parent / "results" / "real-speech.json"
ORDERS = (1, 2, 3, 4, 5)


def clips() -> list[list[str]]:
    """Phones of each utterance."""
    lines = PHONES.read_text(encoding="utf-8").split("\n")
    return [line.split(" ")[1:] for line in lines if line and not line.startswith("#")]


def measure(splits: int) -> dict[str, Any]:
    """Return means over random halves, by n."""
    speech = clips()
    rows: dict[int, list[Analysis]] = {n: [] for n in ORDERS}
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(len(speech)).tolist()
        halves = [[speech[at] for at in part] for part in (order[::2], order[1::2])]
        for n, found in analyse(*halves, ORDERS, seed=seed).items():
            assert isinstance(found, Analysis)
            rows[n].append(found)
    return {str(n): _entry(found) for n, found in rows.items()}


def _entry(found: list[Analysis]) -> dict[str, Any]:
    corrected = [each.corrected for each in found if each.corrected is not None]
    return {
        "value": float(np.mean([each.value for each in found])),
        "floor": float(np.mean([math.nan if each.floor is None else each.floor for each in found])),
        "excess_sd": float(np.std([math.nan if each.excess is None else each.excess for each in found], ddof=1)),
        "corrected": float(np.mean(corrected)) if corrected else None,
        "corrected_n": len(corrected),
        "p_below_5_percent": sum(each.p is not None and each.p <= 0.05 for each in found),
        "below_floor_warnings": sum("below the floor" in line for each in found for line in each.warnings),
    }


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=20)
    options = parser.parse_args()
    found = {"splits": options.splits, **stamp(), "results": measure(options.splits)}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found["results"], indent=1))


if __name__ == "__main__":
    main()
