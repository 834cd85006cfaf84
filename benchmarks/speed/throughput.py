"""How many times real time the metrics of the paper run on a device, and whether they see there what they see on a CPU.

    python benchmarks/speed/throughput.py --audio FOLDER [--device cuda:0] [--copies 4] [--workers 16] [--output FILE]
        [--observers allosaurus dnsmos nisqa audiobox] [--check 4]

Runs each observer alone, then all of them together, the way `slm-eval run` does: decoding processes, batches, an empty
cache. What bounds the whole is read off the parts: decoding alone (an observer that does nothing), each model alone.
On CUDA the first --check clips are observed on the CPU too, and the largest difference is printed. --copies reads the
clips of FOLDER several times, each time from 10 ms later on, as other audio. Weights come from the cache of slm-eval.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from slm_eval.base.device import resolve_device
from slm_eval.base.signature import Signature
from slm_eval.metrics.registry import make_metric
from slm_eval.observing.observe import observe
from slm_eval.observing.observer import Observation, Observer, Refusal, Signal
from slm_eval.observing.options import RunOptions
from slm_eval.observing.registry import RECOGNIZERS, make_recognizer
from slm_eval.speech.corpus import Corpus, load_corpus


class Nothing(Observer):
    """Takes every decoded clip, and looks at none: what is left is decoding, resampling and the observe loop."""

    name = "decoding"
    sample_rate = 16_000

    @property
    def fingerprint(self) -> Signature:
        return Signature(self.name)

    def observe(self, signals: Sequence[Signal]) -> list[Observation | Refusal]:
        return [{} for _ in signals]


def throughput(corpus: Corpus, observers: list[Observer], options: dict[str, object]) -> dict[str, object]:
    """Observe everything once, with models loaded and warm, and divide."""
    for observer in observers:
        observer.ready(str(options["device"]))
    with tempfile.TemporaryDirectory() as folder:
        observe({"warm": corpus.limit(2)}, observers, RunOptions(cache=Path(folder, "warm"), **options))  # type: ignore[arg-type]
        start = time.perf_counter()
        clips = observe({"all": corpus}, observers, RunOptions(cache=Path(folder, "all"), **options))["all"]  # type: ignore[arg-type]
        took = time.perf_counter() - start
    seconds = sum(clip.seconds or 0.0 for clip in clips)
    return {
        "observers": "+".join(observer.name for observer in observers),
        "clips": len(clips),
        "audio_seconds": round(seconds, 1),
        "seconds": took,
        "times_real_time": seconds / took,
        "failed": sum(clip.sound.failure is not None for clip in clips),
    }


def difference(corpus: Corpus, observer: Observer, other: Observer, device: str) -> dict[str, object]:
    """What the device sees against what the CPU sees."""
    with tempfile.TemporaryDirectory() as folder:
        seen = []
        for each, where in ((observer, device), (other, "cpu")):
            options = RunOptions(device=where, cache=Path(folder, where.replace(":", "")))
            seen.append([clip.to_dict() for clip in observe({"x": corpus}, [each], options)["x"]])
    scores = [
        abs(mine["scores"][key] - theirs["scores"][key])
        for mine, theirs in zip(*seen, strict=True)
        for key in mine["scores"]
    ]
    phones = sum(mine["phones"] != theirs["phones"] for mine, theirs in zip(*seen, strict=True))
    return {"largest_difference": max(scores, default=None), "clips_with_other_phones": phones}


def make(name: str) -> Observer:
    """An observer by the name of its metric or recogniser."""
    return make_recognizer(name) if name in RECOGNIZERS else make_metric(name).observer


def read(folder: Path, copies: int) -> Corpus:
    """The clips of a folder, several times over."""
    files = sorted(folder.resolve().glob("*.flac"))
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as manifest:
        for copy in range(copies):
            for file in files:
                manifest.write(json.dumps({"id": f"{copy}/{file.name}", "path": str(file), "start": copy / 100}) + "\n")
        manifest.flush()
        return load_corpus(manifest.name)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--batch-seconds", type=float, default=600.0)
    parser.add_argument("--observers", nargs="+", default=["allosaurus", "dnsmos", "nisqa", "audiobox"])
    parser.add_argument("--check", type=int, default=4)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    device = resolve_device(arguments.device)
    corpus = read(arguments.audio, arguments.copies).limit(arguments.limit)
    options = {"device": device, "workers": arguments.workers, "batch_seconds": arguments.batch_seconds}
    observers = [make(name) for name in arguments.observers]
    rows = [throughput(corpus, some, options) for some in ([Nothing()], *([each] for each in observers), observers)]
    for row, observer in zip(rows[1:], observers, strict=False):
        if device != "cpu":
            row.update(difference(corpus.limit(arguments.check), observer, make(observer.name), device))
    for row in rows:
        print(json.dumps(row), flush=True)
    if arguments.output:
        where = torch.cuda.get_device_name(device) if device != "cpu" else "cpu"
        table = {"device": where, "cores": os.cpu_count(), "date": time.strftime("%Y-%m-%d"), "rows": rows}
        arguments.output.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
