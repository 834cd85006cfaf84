"""Do the intervals of scaling laws hold the truth as often as they say, and how much does a small sweep tell?

    python benchmarks/scaling_coverage.py [--sweeps 100] [--resamples 300]

Sweeps are drawn again and again from the published surface, 1 % noise on every run, and bootstrapped in each unit. A
result is the share of 95 % intervals that hold the truth, and the median width of them relative to the truth.

- "paper": ten budgets from 1e18 to 1e21, 15 sizes within 1.2 decades of the optimum, one seed.
- "paper, 3 seeds": the same with three seeds, averaged.
- "small": four budgets from 1e15 to 3e16, 5 sizes within 0.6 decades, three seeds: what a sweep of days can afford.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from machine import stamp

from slm_eval.scaling import PUBLISHED, LossLaw, bootstrap_loss_law

RESULTS = Path(__file__).parent / "results" / "scaling-coverage.json"
NOISE = 0.01
# name -> budgets, sizes, decades to either side, seeds
DESIGNS: dict[str, tuple[list[float], int, float, int]] = {
    "paper": ([1e18, 3e18, 6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21], 15, 1.2, 1),
    "paper, 3 seeds": ([1e18, 3e18, 6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21], 15, 1.2, 3),
    "small": ([1e15, 3e15, 1e16, 3e16], 5, 0.6, 3),
}
UNITS = ("point", "budget", "seed")


def quantities(largest: float) -> dict[str, Callable[[LossLaw], float]]:
    return {
        "alpha": lambda law: law.alpha,
        "beta": lambda law: law.beta,
        "gamma": lambda law: law.gamma,
        "E": lambda law: law.E,
        "exponent of N*": lambda law: law.exponents.N,
        "N* at the largest budget": lambda law: float(law.optimal(largest).N),
        "N* at ten times that": lambda law: float(law.optimal(10 * largest).N),
        "L* at ten times that": lambda law: float(law.optimal(10 * largest).loss),
    }


def sweep(seed: int, design: str, resamples: int) -> dict[str, dict[str, tuple[bool, float]]]:
    """unit -> quantity -> whether its interval holds the truth, and its width relative to the truth."""
    budgets, sizes, span, seeds = DESIGNS[design]
    C = np.repeat(budgets, sizes)
    N = PUBLISHED.optimal(C).N * np.tile(10 ** np.linspace(-span, span, sizes), len(budgets))
    N, C = np.tile(N, seeds), np.tile(C, seeds)
    D = C / (6 * N)
    loss = PUBLISHED(N, D) * np.exp(NOISE * np.random.default_rng(seed).standard_normal(N.size))
    found: dict[str, dict[str, tuple[bool, float]]] = {}
    for unit in UNITS if seeds > 1 else UNITS[:2]:
        boot = bootstrap_loss_law(N, D, loss, n=resamples, unit=unit, seed=seed)
        found[unit] = {}
        for name, of in quantities(max(budgets)).items():
            low, high = boot.interval(of)
            found[unit][name] = (bool(low <= of(PUBLISHED) <= high), float((high - low) / of(PUBLISHED)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=100)
    parser.add_argument("--resamples", type=int, default=300)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    result: dict[str, Any] = {**stamp(), "options": vars(options), "designs": {}}
    with ProcessPoolExecutor(options.processes) as pool:
        for design in DESIGNS:
            rows = list(pool.map(partial(sweep, design=design, resamples=options.resamples), range(options.sweeps)))
            table = {
                unit: {
                    name: {
                        "holds": float(np.mean([row[unit][name][0] for row in rows])),
                        "width": float(np.median([row[unit][name][1] for row in rows])),
                    }
                    for name in rows[0][unit]
                }
                for unit in rows[0]
            }
            result["designs"][design] = table
            print(design, json.dumps(table, indent=1), flush=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    warnings.simplefilter("error")
    main()
