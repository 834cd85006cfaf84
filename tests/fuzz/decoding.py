"""Damaged files through the decoder: each ends as audio or as an ``AudioError``, within 10 s and 1.5 GB.

    python tests/fuzz/decoding.py --files 100000 [--seed 0]
    python tests/fuzz/decoding.py --cuts 30       how many cuts of whole files are found, by format

Files are decoded in a process of their own, many in a row, so that one that ends or stops it is known by its number;
``--only N`` writes that file to the current folder.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import selectors
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from tests.fuzz.damaged_audio import mutated, originals

SECONDS, MEGABYTES = 10.0, 1_500
_START_SECONDS = 120.0  # for the process to start, and to make the originals


def fuzz(seed: int, numbers: range, seconds: float = float("inf")) -> Iterator[dict[str, Any]]:
    """Yield what became of each file: its number, format, outcome ("ok", a reason code, or what must not be), and the
    megabytes that the process and its programs took at most so far."""
    end = time.monotonic() + seconds
    at = numbers.start
    while at < numbers.stop and time.monotonic() < end:
        for told in _one_process(seed, range(at, numbers.stop)):
            at = told["number"] + 1
            yield told
            if time.monotonic() > end:
                break


def _one_process(seed: int, numbers: range) -> Iterator[dict[str, Any]]:
    with (
        tempfile.TemporaryFile("w+", errors="replace") as said,
        subprocess.Popen(_command(seed, numbers), stdout=subprocess.PIPE, stderr=said, text=True, bufsize=1) as process,
    ):
        assert process.stdout is not None
        begun: dict[str, Any] = {}
        waiting = selectors.DefaultSelector()
        waiting.register(process.stdout, selectors.EVENT_READ)
        try:
            while True:
                if not waiting.select(SECONDS if begun else _START_SECONDS):
                    yield {**begun, "outcome": f"HANG of {SECONDS:.0f} s"}
                    return
                line = process.stdout.readline()
                if not line:
                    if process.wait() or begun.get("open"):
                        said.seek(0)
                        yield {**begun, "outcome": f"DEATH {process.returncode}: {said.read()[-500:]}"}
                    return
                told = json.loads(line)
                if "outcome" in told:
                    yield told
                    begun = {**told, "open": False}
                else:
                    begun = {**told, "open": True}
        finally:
            process.kill()


def _command(seed: int, numbers: range) -> list[str]:
    return [sys.executable, __file__, "--child", str(seed), str(numbers.start), str(numbers.stop)]


def child(seed: int, numbers: range) -> None:
    """Decode, saying before each file which one it is, and after it what became of it."""
    from slm_eval.speech.audio import AudioError, read_audio

    # What libraries print must not get between the lines.
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    mutated(seed, 0)  # makes the originals
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            name, ending, content = mutated(seed, number)
            path = Path(folder, f"damaged{ending}")
            path.write_bytes(content)
            told: dict[str, Any] = {"number": number, "format": name}
            print(json.dumps(told), file=output, flush=True)
            try:
                audio = read_audio(path)
                whole = len(audio.samples) == round(audio.facts.seconds * audio.facts.sample_rate)
                told["outcome"] = "ok" if whole else "LENGTH"
            except AudioError as error:
                told["outcome"] = error.code if "\n" not in error.message else f"LINES {error.message!r}"
            except Exception as error:  # noqa: BLE001 - any other one is what is looked for
                told["outcome"] = f"RAISED {type(error).__name__}: {error}"
            path.unlink()
            peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
            told["megabytes"] = max(peaks) // 1024
            print(json.dumps(told), file=output, flush=True)


def cuts(count: int) -> Iterator[tuple[str, int]]:
    """Yield by format how many of so many cuts, at places drawn at random, are refused or change nothing."""
    from slm_eval.speech.audio import AudioError, read_audio

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for name, (ending, content) in originals(unstated=True).items():
            path = Path(folder, f"cut{ending}")
            path.write_bytes(content)
            whole = read_audio(path).samples
            found = 0
            for length in rng.integers(1, len(content), count):
                path.write_bytes(content[:length])
                try:
                    found += np.array_equal(read_audio(path).samples, whole)
                except AudioError:
                    found += 1
            yield name, found


def main() -> None:
    """Fuzz, and print a table of formats by outcomes; status 1 where a file did what none may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", type=int)
    parser.add_argument("--cuts", type=int)
    arguments = parser.parse_args()
    if arguments.cuts is not None:
        for name, found in cuts(arguments.cuts):
            print(f"{name}: {found} of {arguments.cuts}", flush=True)
        return
    if arguments.only is not None:
        name, ending, content = mutated(arguments.seed, arguments.only)
        Path(f"{name}-{arguments.only}{ending}").write_bytes(content)
        return
    outcomes: Counter[tuple[str, str]] = Counter()
    bad = most = 0
    for told in fuzz(arguments.seed, range(arguments.first, arguments.first + arguments.files)):
        outcome = told["outcome"]
        if told.get("megabytes", 0) > max(most, MEGABYTES):
            outcome = f"MEMORY {told['megabytes']} MB"
        most = max(most, told.get("megabytes", 0))
        if not outcome.islower():
            bad += 1
            print(f"file {told.get('number')}, {told.get('format')}: {outcome}", file=sys.stderr, flush=True)
            outcome = outcome.split(" ")[0]
        outcomes[told.get("format", "?"), outcome] += 1
    columns = sorted({outcome for _, outcome in outcomes})
    print("| format |", " | ".join(columns), "|")
    for name in sorted({name for name, _ in outcomes}):
        print(f"| {name} |", " | ".join(str(outcomes[name, column]) for column in columns), "|")
    print(f"{outcomes.total()} files, {bad} bad, at most {most} MB")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(int(sys.argv[2]), range(int(sys.argv[3]), int(sys.argv[4])))
    else:
        main()
