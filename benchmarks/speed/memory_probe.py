"""Peak memory of a run over a corpus, with observers that cost nothing: what is measured is what carries them.

    python benchmarks/speed/memory_probe.py FOLDER COPIES

Scores the FLAC files of FOLDER, COPIES times: each copy begins 10 ms later, and so is another content. Prints the
peak resident memory, in MB, of this process (torch, which is most of it, included) and of its largest worker once all
is observed, and of this process after pJSD-1..5, whose n-grams grow with the corpus.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

from slm_eval.base.signature import Signature
from slm_eval.metrics.pjsd import pJSD
from slm_eval.metrics.scores import ScoreMetric
from slm_eval.observing.observe import observe
from slm_eval.observing.observer import Observation, Observer, Refusal, Signal
from slm_eval.observing.options import RunOptions
from slm_eval.run.evaluate import summarise
from slm_eval.speech.corpus import load_corpus


class Loudness(Observer):
    """A model that takes batches: every decoded signal travels to the main process."""

    name = "loudness"
    sample_rate = 16_000

    @property
    def fingerprint(self) -> Signature:
        return Signature(self.name)

    def observe(self, signals: Sequence[Signal]) -> list[Observation | Refusal]:
        return [{"scores": {"loudness.rms": float(np.sqrt(np.mean(signal.samples**2)))}} for signal in signals]


class LoudnessMetric(ScoreMetric):
    """loudness.rms"""

    name = "loudness"

    def __init__(self) -> None:
        super().__init__(Loudness(), device="cpu")

    @property
    def keys(self) -> tuple[str, ...]:
        return ("loudness.rms",)


class Peaks(Observer):
    """A recogniser in the workers: about eight phones a second, as of speech."""

    name = "peaks"
    sample_rate = 8_000
    in_worker = True
    observes_phones = True

    @property
    def fingerprint(self) -> Signature:
        return Signature(self.name)

    def observe(self, signals: Sequence[Signal]) -> list[Observation | Refusal]:
        return [{"phones": [f"p{abs(int(1e4 * each)) % 40}" for each in signal.samples[::1_000]]} for signal in signals]


def main() -> None:
    """Measure, and print one object of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds FLAC files")
    parser.add_argument("copies", type=int, help="score each file so often")
    arguments = parser.parse_args()
    files, copies = sorted(arguments.folder.resolve().glob("*.flac")), arguments.copies
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder, "corpus.jsonl")
        with manifest.open("w", encoding="utf-8") as lines:
            for copy in range(copies):
                for file in files:
                    entry = {"id": f"{copy}/{file.name}", "path": str(file), "start": copy / 100}
                    lines.write(json.dumps(entry) + "\n")
        options = RunOptions(device="cpu", cache=Path(folder, "cache.sqlite"))
        # By the name under which the workers can import it, which is not that of a script.
        metrics = [pJSD(recognizer=import_module("memory_probe").Peaks()), LoudnessMetric()]
        corpora = {side: load_corpus(manifest) for side in ("generated", "real")}
        clips = observe(corpora, [metric.observer for metric in metrics], options)
        observing, worker = _peak_mb(resource.RUSAGE_SELF), _peak_mb(resource.RUSAGE_CHILDREN)
        phones = summarise(corpora, clips, metrics, {}).to_dict()["metrics"]["pjsd.1"]["n_phones"]["generated"]
        whole = _peak_mb(resource.RUSAGE_SELF)
    peaks = {"observing_MB": observing, "one_worker_MB": worker, "with_pjsd_MB": whole}
    print(json.dumps({"clips": copies * len(files), "phones_a_side": phones, **peaks}))


def _peak_mb(who: int) -> int:
    return round(resource.getrusage(who).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
