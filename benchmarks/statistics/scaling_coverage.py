"""Do the intervals of scaling laws hold the truth as often as they say, and how much does a small sweep tell?

    python benchmarks/statistics/scaling_coverage.py [--sweeps 60] [--resamples 200] [--worlds NAME ...]

Sweeps are drawn again and again from a known law and bootstrapped by point and by budget; ``auto`` is, for each sweep,
the one of the two that `slm-eval scaling fit` chooses by itself. A result is the share of 95 % intervals that hold the
truth, and the median width of them relative to the truth.

- "paper": ten budgets from 1e18 to 1e21, 15 sizes within 1.2 decades of the optimum, noise of 1 %.
- "12 budgets", "6 budgets": 3 to 15 and 4 to 12 sizes, drawn for each budget, within a decade; noise of 0.5 %.
- "small": four budgets from 1e15 to 3e16, 5 sizes within 0.6 decades, three seeds: what a sweep of days can afford.
- "240 points": in the style of the points that Epoch read off the figures of Hoffmann et al.: nine budgets from 6e18 to
  3e21, C up to some 40 % off, noise with heavy tails that falls with C. The budgets are not named, and C is spread
  nearly continuously; gamma is fixed to 1.

Each comes a second time "with noise by budget" of the same size as that by point, which all points of a budget share.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt

sys.path.append(str(Path(__file__).parents[1]))
from machine import stamp

from slm_eval.base.arrays import Floats
from slm_eval.scaling import PUBLISHED, LossLaw, bootstrap_loss_law, fit_loss_law

RESULTS = Path(__file__).parent / "results" / "scaling-coverage.json"
Sweep = tuple[Floats, Floats, Floats]  # N, D, loss

# Refitted to the points of Hoffmann et al. by Besiroglu et al. (arXiv 2404.10102).
CHINCHILLA = LossLaw(E=1.8172, A=477.83, B=2143.4, alpha=0.34731, beta=0.36717, gamma=1.0)
PAPER = (1e18, 3e18, 6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21)
HOFFMANN = (6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21, 3e21)


@dataclass(frozen=True)
class World:
    """A law and how its sweeps are drawn; ``by_budget`` is the sd of the noise that all points of a budget share."""

    law: LossLaw
    draw: Callable[[np.random.Generator, float], Sweep]
    by_budget: float
    gamma: float | None = None


def isoflops(
    rng: np.random.Generator,
    by_budget: float,
    *,
    budgets: npt.ArrayLike,
    sizes: tuple[int, int],
    span: float,
    noise: float,
    seeds: int = 1,
) -> Sweep:
    """Return budgets with evenly spaced sizes within ``span`` decades of the optimum, their number drawn."""
    budgets = np.asarray(budgets)
    counts = rng.integers(sizes[0], sizes[1] + 1, budgets.size)
    label = np.repeat(np.arange(budgets.size), counts)
    steps = np.concatenate([np.linspace(-span, span, count) for count in counts])
    N = PUBLISHED.optimal(budgets[label]).N * 10**steps
    D = budgets[label] / (6 * N)
    shared = by_budget * rng.standard_normal(budgets.size)[label]
    N, D, shared = (np.tile(column, seeds) for column in (N, D, shared))
    return N, D, PUBLISHED(N, D) * np.exp(shared + noise * rng.standard_normal(N.size))


def scattered(rng: np.random.Generator, by_budget: float, *, points: int = 240) -> Sweep:
    """Return points around nine budgets whose C runs into each other."""
    plan = np.array(HOFFMANN)
    label = rng.integers(plan.size, size=points)
    C = plan[label] * np.exp(0.15 * rng.standard_normal(points))
    N = np.clip(CHINCHILLA.optimal(C).N * 10 ** rng.uniform(-0.9, 0.9, points), 4e7, 1.6e10)
    D = C / (6 * N)
    shared = by_budget * rng.standard_normal(plan.size)[label]
    own = 0.004 * (C / 1e20) ** -0.1 * rng.standard_t(4, points)
    return N, D, CHINCHILLA(N, D) * np.exp(shared + own)


PAPERS = partial(isoflops, budgets=PAPER, sizes=(15, 15), span=1.2, noise=0.01)
TWELVE = partial(isoflops, budgets=np.geomspace(1e18, 1e21, 12), sizes=(3, 15), span=1.0, noise=0.005)
SIX = partial(isoflops, budgets=np.geomspace(1e18, 1e21, 6), sizes=(4, 12), span=1.0, noise=0.005)
SMALL = partial(isoflops, budgets=(1e15, 3e15, 1e16, 3e16), sizes=(5, 5), span=0.6, noise=0.01, seeds=3)
SHARED = " with noise by budget"
WORLDS = {
    "paper": World(PUBLISHED, PAPERS, 0.0),
    "paper" + SHARED: World(PUBLISHED, PAPERS, 0.01),
    "12 budgets": World(PUBLISHED, TWELVE, 0.0),
    "12 budgets" + SHARED: World(PUBLISHED, TWELVE, 0.005),
    "6 budgets": World(PUBLISHED, SIX, 0.0),
    "6 budgets" + SHARED: World(PUBLISHED, SIX, 0.005),
    "small": World(PUBLISHED, SMALL, 0.0),
    "small" + SHARED: World(PUBLISHED, SMALL, 0.006),
    "240 points": World(CHINCHILLA, scattered, 0.0, gamma=1.0),
    "240 points" + SHARED: World(CHINCHILLA, scattered, 0.004, gamma=1.0),
}
UNITS = ("point", "budget")


def quantities(largest: float) -> dict[str, Callable[[LossLaw], float]]:
    return {
        "E": lambda law: law.E,
        "alpha": lambda law: law.alpha,
        "beta": lambda law: law.beta,
        "gamma": lambda law: law.gamma,
        "exponent of N*": lambda law: law.exponents.N,
        "N* at the largest budget": lambda law: float(law.optimal(largest).N),
        "N* at ten times that": lambda law: float(law.optimal(10 * largest).N),
        "L* at ten times that": lambda law: float(law.optimal(10 * largest).loss),
    }


def sweep(seed: int, world: str, resamples: int) -> dict[str, Any]:
    """Return what was chosen, and unit -> quantity -> whether its interval holds the truth, and its relative width."""
    made = WORLDS[world]
    N, D, loss = made.draw(np.random.default_rng(seed), made.by_budget)
    fit = fit_loss_law(N, D, loss, made.gamma)
    outcome: dict[str, Any] = {"chosen": bootstrap_loss_law(N, D, loss, n=2, fit=fit).unit}
    of_law = quantities(float((6 * N * D).max()))
    if made.gamma is not None:
        del of_law["gamma"]
    for unit in UNITS:
        boot = bootstrap_loss_law(N, D, loss, n=resamples, unit=unit, seed=seed, fit=fit)
        outcome[unit] = {}
        for name, of in of_law.items():
            low, high = boot.interval(of)
            outcome[unit][name] = (bool(low <= of(made.law) <= high), float((high - low) / of(made.law)))
    return outcome


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the share of sweeps in which budgets are chosen, and coverage and median width by unit."""

    def of(unit_of: Callable[[dict[str, Any]], str]) -> dict[str, dict[str, float]]:
        return {
            name: {
                "holds": float(np.mean([row[unit_of(row)][name][0] for row in rows])),
                "width": float(np.median([row[unit_of(row)][name][1] for row in rows])),
            }
            for name in rows[0]["point"]
        }

    return {
        "budgets chosen": float(np.mean([row["chosen"] == "budget" for row in rows])),
        "auto": of(lambda row: row["chosen"]),
        **{unit: of(lambda row, unit=unit: unit) for unit in UNITS},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=60)
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS))
    options = parser.parse_args()
    result: dict[str, Any] = {**stamp(), "options": vars(options), "worlds": {}}
    with ProcessPoolExecutor(options.processes) as pool:
        for world in options.worlds:
            rows = list(pool.map(partial(sweep, world=world, resamples=options.resamples), range(options.sweeps)))
            result["worlds"][world] = summary(rows)
            shares = {
                unit: {k: v["holds"] for k, v in result["worlds"][world][unit].items()} for unit in ("auto", *UNITS)
            }
            print(world, f"(budgets chosen in {result['worlds'][world]['budgets chosen']:.0%})", flush=True)
            for unit, share in shares.items():
                print(f"  {unit:7}", "  ".join(f"{name} {value:.2f}" for name, value in share.items()), flush=True)
            RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    warnings.simplefilter("error")
    main()
