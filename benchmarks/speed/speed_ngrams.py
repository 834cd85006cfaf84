"""Speed and memory of n-gram counting and of half-sampling, n = 1..5, on 40 phones and 360-phone utterances.

    python benchmarks/speed/speed_ngrams.py

Each figure comes from a process of its own, so that its peak memory is that of the task (interpreter, libraries and
data included). Seconds are those of the fastest repeat, since other work on the machine can only add to them; CPU
seconds, of all threads, suffer less from it, so the ratio is taken of them (both sides run in one thread).
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from slm_eval.divergence.analysis import Analysis, analyse
from slm_eval.divergence.incidence import Incidence, divergences
from slm_eval.divergence.ngrams import Encoded, count_keys, window_keys
from slm_eval.divergence.resampling import draw_halves

ORDERS = range(1, 6)
N_PHONES, LENGTH = 40, 360
Row = dict[str, Any]
Seconds = tuple[float, float]  # elapsed, CPU


def markov(n_phones: int, seed: int, *, mixed: float = 0.0) -> npt.NDArray[np.uint8]:
    """Utterances (U, 360) of an order-1 Markov chain of 40 phones, mixed with another chain by the given share."""
    rows = [np.random.default_rng(chain).dirichlet(np.full(N_PHONES, 0.3), N_PHONES) for chain in (1, 9)]
    cumulative = ((1 - mixed) * rows[0] + mixed * rows[1]).cumsum(axis=1)
    rng = np.random.default_rng(seed)
    n_utterances = n_phones // LENGTH
    states = rng.integers(N_PHONES, size=n_utterances)
    result = np.empty((n_utterances, LENGTH), dtype=np.uint8)
    for position in range(LENGTH):
        below = cumulative[states] < rng.random(n_utterances)[:, None]
        states = np.minimum(below.sum(axis=1), N_PHONES - 1)
        result[:, position] = states
    return result


def count(n_phones: int) -> Seconds:
    """Seconds to count all orders, from ids."""
    utterances = markov(n_phones, 0)
    encoded = Encoded(utterances.ravel(), np.full(len(utterances), LENGTH), tuple(range(N_PHONES)))

    def work() -> None:
        for _, keys in window_keys(encoded, ORDERS):
            count_keys(keys)

    # The first call also pays for fresh pages; later ones show the algorithm, as all of Counter's 17 s do.
    return min(_seconds(work) for _ in range(3))


def count_by_counter(n_phones: int) -> Seconds:
    """Seconds of collections.Counter over tuples for the same, from lists of ids."""
    utterances = markov(n_phones, 0).tolist()

    def work() -> None:
        for n in ORDERS:
            counts: Counter[tuple[int, ...]] = Counter()
            for each in utterances:
                counts.update(zip(*(each[start:] for start in range(n)), strict=False))

    return _seconds(work)


def half_sample(n_phones: int, draws: int) -> Seconds:
    """Seconds for half-samples of two corpora, all orders, from ids: incidence, draws and divergences."""
    sides = markov(n_phones, 0), markov(n_phones, 1, mixed=0.15)
    size = len(sides[0])
    encoded = Encoded(np.concatenate(sides).ravel(), np.full(2 * size, LENGTH), tuple(range(N_PHONES)))

    def work() -> None:
        rng = np.random.default_rng(0)
        halves = draw_halves(np.arange(size), draws, rng), draw_halves(np.arange(size), draws, rng)
        for n, keys in window_keys(encoded, ORDERS):
            incidence = Incidence.build(keys, encoded.n_windows(n))
            divergences(incidence, (slice(0, size), slice(size, 2 * size)), halves)

    return _seconds(work)


def whole_analysis(n_phones: int, length: int) -> Seconds:
    """Seconds of ``analyse``, all orders, from lists of strings: what a summary costs."""
    names = [f"p{phone}" for phone in range(N_PHONES)]
    sides = [
        [[names[phone] for phone in each] for each in markov(n_phones, seed, mixed=mixed).reshape(-1, length).tolist()]
        for seed, mixed in ((0, 0.15), (1, 0.0))
    ]

    def work() -> None:
        assert all(isinstance(each, Analysis) for each in analyse(sides[0], sides[1], ORDERS).values())

    return _seconds(work)


def run() -> list[Row]:
    """One row per task: name, phones (per side), seconds, CPU seconds, peak GB; ``ratio`` against Counter."""
    rows = [
        _measure("count n=1..5", count, 10_000_000),
        _measure("Counter over tuples, n=1..5", count_by_counter, 10_000_000, repeats=1),
        _measure("1,000 half-samples, n=1..5", half_sample, 1_000_000, 1000, repeats=2),
        _measure("whole analysis, n=1..5, 120-phone utterances", whole_analysis, 13_400, 120),
        _measure("whole analysis, n=1..5, 360-phone utterances", whole_analysis, 1_000_000, LENGTH),
    ]
    rows[0]["ratio"] = rows[1]["cpu_seconds"] / rows[0]["cpu_seconds"]
    return rows


def main() -> None:
    """Print the rows as a table."""
    print(f"{'task':46} {'phones':>10} {'seconds':>8} {'CPU s':>8} {'peak GB':>8} {'faster':>7}")
    for row in run():
        ratio = f"{row['ratio']:6.0f}x" if "ratio" in row else ""
        figures = f"{row['seconds']:8.3f} {row['cpu_seconds']:8.3f} {row['peak_gb']:8.2f}"
        print(f"{row['task']:46} {row['phones']:10,} {figures} {ratio:>7}")


def _measure(task: str, work: Callable[..., Seconds], n_phones: int, *rest: int, repeats: int = 3) -> Row:
    """Fastest repeat, and largest peak memory, over fresh processes."""
    results = []
    for _ in range(repeats):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            results.append(pool.submit(_with_peak, work, n_phones, *rest).result())
    elapsed, cpu = min(seconds for seconds, _ in results)
    return {
        "task": task,
        "phones": n_phones,
        "seconds": elapsed,
        "cpu_seconds": cpu,
        "peak_gb": max(peak for _, peak in results),
    }


def _with_peak(work: Callable[..., Seconds], *arguments: int) -> tuple[Seconds, float]:
    seconds = work(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes on Linux, bytes on macOS.
    return seconds, peak / (1e9 if sys.platform == "darwin" else 1e6)


def _seconds(work: Callable[[], Any]) -> Seconds:
    start = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start[0], time.process_time() - start[1]


if __name__ == "__main__":
    main()
