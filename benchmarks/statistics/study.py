"""Do the numbers of pJSD hold where speech is uneven? Measured in worlds whose truth is known.

    python benchmarks/statistics/study.py                  # all cases, 60 replicates (10 at 2e5 phones): 15 minutes
    python benchmarks/statistics/study.py --replicates 40 --cases "order 2"
    python benchmarks/statistics/study.py --table          # what was measured, as docs/pjsd-study.md
    python benchmarks/statistics/study.py --results FILE   # kept elsewhere, for instance of an older slm_eval

A case is a world (``worlds.py``), a size of both sides and a shift of the generated side, or a share of its phones that
is replaced at random. Each replicate draws both sides afresh and analyses them. Written per n:

- sd_ratio: root mean square of the sds that were given, over the sd of the values.
- coverage: share of the 95 % intervals that hold the mean of the values, which is what they are for; withheld: share
  of replicates without one.
- floor, floor_own_sd: mean and sd of the estimate; ``floor_study.py`` measures its error.
- corrected, corrected_sd: mean and sd of the estimate; truth: what it is of; corrected_withheld.
- alarms: share of tests with p <= 5 %; at a shift of 0 these are false. p_withheld: share of replicates without a test.
  beyond_floor: of those with a value above floor + 2 floor_sd, which is no test.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from study_page import LABELS, ORDERS, page
from worlds import World

sys.path.insert(1, str(Path(__file__).parent.parent))
from machine import stamp

from slm_eval.divergence.analysis import Analysis, analyse

RESULTS = Path(__file__).parent / "results" / "study.json"
BEFORE = RESULTS.with_name("study-before.json")
SPEAKERS: dict[str, Any] = {"accents": (0.6, 0.3, 0.1)}
WORLDS = {
    "order 1, equal lengths": World(order=1, length_cv=0.0),
    "order 1": World(order=1),
    "order 2": World(),
    "order 2, CV 1": World(length_cv=1.0),
    "order 3": World(order=3),
    "speakers of 4": World(speaker_clips=4, **SPEAKERS),
    "speakers of 10": World(speaker_clips=10, **SPEAKERS),
    "speakers of 30": World(speaker_clips=30, **SPEAKERS),
    "speakers of 10, order 1": World(order=1, speaker_clips=10, **SPEAKERS),
    "speakers of 10, order 3": World(order=3, speaker_clips=10, **SPEAKERS),
    "longwinded accent": World(speaker_clips=3, accents=(0.6, 0.4), longwinded=4.0),
}
# What labels are for: speakers of unlike topics; clips said eight times, with a recogniser's errors.
GROUPED = {
    "speakers of 4, topics": World(speaker_clips=4, topics=0.3, **SPEAKERS),
    "speakers of 10, topics": World(speaker_clips=10, topics=0.3, **SPEAKERS),
    "each said 8 times": World(repeats=8, errors=0.02),
}
SHIFTS = (0.0, 0.1)
ERRORS = (0.05, 0.15)
EVEN = ((2_000, 2_000), (20_000, 20_000), (200_000, 200_000))
ERRORS_SIZES = ((8_000, 8_000), (20_000, 20_000))
GROUPED_SIZES = EVEN[1]
UNEVEN = ((7_000, 21_000), (21_000, 7_000), (4_000, 40_000), (40_000, 10_000))
UNEVEN_WORLDS = ("order 2", "speakers of 10", "order 3")
# One replicate and n: value, sd, low, high, floor, floor_sd, corrected, p; NaN where there is none.
FIELDS = ("value", "sd", "low", "high", "floor", "floor_sd", "corrected", "p")


@dataclass(frozen=True)
class Case:
    """What is drawn.

    Attributes:
        world: name.
        sizes: phones of generated and of real speech.
        shift: of generated speech.
        labels: "both", or of whose clips the speakers are named: "real" or "none".
        errors: share of generated phones that is replaced.
    """

    world: str
    sizes: tuple[int, int]
    shift: float
    labels: str = "both"
    errors: float = 0.0

    @property
    def name(self) -> str:
        """Return the key in the results."""
        name = f"{self.world} | {self.sizes[0]} {self.sizes[1]} | {self.shift} | {self.labels}"
        return name + (f" | {self.errors} replaced" if self.errors else "")


def cases() -> list[Case]:
    """Return all of them, small sizes first."""
    even = [Case(world, sizes, shift) for sizes in EVEN for world in WORLDS for shift in SHIFTS]
    uneven = [Case(world, sizes, shift) for sizes in UNEVEN for world in UNEVEN_WORLDS for shift in SHIFTS]
    unnamed = [Case("speakers of 10", sizes, shift, "real") for sizes in (EVEN[1], *UNEVEN[:2]) for shift in SHIFTS]
    replaced = [Case("order 2", sizes, 0.0, errors=errors) for sizes in ERRORS_SIZES for errors in ERRORS]
    grouped = [Case(world, GROUPED_SIZES, 0.0, labels) for world in GROUPED for labels in LABELS]
    return sorted([*even, *uneven, *unnamed, *replaced, *grouped], key=lambda case: sum(case.sizes))


def replicate(case: Case, number: int) -> list[list[float]]:
    """Return what is said of one pair of fresh corpora: a row per n."""
    world = (WORLDS | GROUPED)[case.world]
    # By name, so that the cells of two worlds do not err alike.
    rng = np.random.default_rng([*case.name.encode(), number])
    of_generated = replace(world, errors=case.errors) if case.errors else world
    generated, speakers = of_generated.draw(case.sizes[0], rng, case.shift)
    real, real_speakers = world.draw(case.sizes[1], rng)
    grouped = world.speaker_clips > 1 or world.repeats > 1
    found = analyse(
        generated,
        real,
        ORDERS,
        generated_clusters=speakers if grouped and case.labels == "both" else None,
        real_clusters=real_speakers if grouped and case.labels != "none" else None,
    )
    return [_row(found[n]) for n in ORDERS]


def _row(of: Any) -> list[float]:
    if not isinstance(of, Analysis):
        return [math.nan] * len(FIELDS)
    low, high = of.ci95 or (None, None)
    row = (of.value, of.sd, low, high, of.floor, of.floor_sd, of.corrected, getattr(of, "p", None))
    return [math.nan if each is None else each for each in row]


def summarise(case: Case, rows: list[list[list[float]]]) -> dict[str, Any]:
    """Return what all replicates say, an entry per n."""
    world = (WORLDS | GROUPED)[case.world]
    entries = {}
    for n, of_n in zip(ORDERS, np.array(rows).transpose(1, 2, 0), strict=True):
        of = dict(zip(FIELDS, of_n, strict=True))
        mean, sd = float(np.mean(of["value"])), float(np.std(of["value"], ddof=1))
        given = ~np.isnan(of["low"])
        beyond = of["value"] > of["floor"] + 2 * of["floor_sd"]
        entries[str(n)] = {
            "value": mean,
            "sd": sd,
            "sd_ratio": _root_mean_square(of["sd"]) / sd,
            "withheld": float(1 - given.mean()),
            "coverage": float(((of["low"] <= mean) & (mean <= of["high"]))[given].mean()) if given.any() else None,
            "floor": _mean(of["floor"]),
            "floor_own_sd": _sd(of["floor"]),
            "floor_sd": _root_mean_square(of["floor_sd"]),
            "truth": world.truth(n, case.shift, case.errors) if case.shift or case.errors else 0.0,
            "corrected": _mean(of["corrected"]),
            "corrected_sd": _sd(of["corrected"]),
            "corrected_withheld": float(np.isnan(of["corrected"]).mean()),
            "p_withheld": float(np.isnan(of["p"]).mean()),
            "alarms": None if np.isnan(of["p"]).all() else float(np.nanmean(of["p"] <= 0.05)),
            "beyond_floor": float(beyond[~np.isnan(of["floor"])].mean()) if (~np.isnan(of["floor"])).any() else None,
        }
    return {"replicates": len(rows), **stamp(), "results": entries}


def _mean(values: Any) -> float | None:
    return None if np.isnan(values).all() else float(np.nanmean(values))


def _sd(values: Any) -> float | None:
    return None if np.count_nonzero(~np.isnan(values)) < 2 else float(np.nanstd(values, ddof=1))


def _root_mean_square(values: Any) -> float:
    return math.nan if np.isnan(values).all() else math.sqrt(float(np.nanmean(np.square(values))))


def main() -> None:
    """Measure the cases that were asked for and are not measured yet, small ones first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=60, help="of each case; a tenth, at least 10, at 2e5 phones")
    parser.add_argument("--cases", help="a part of their names")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where they are kept")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured")
    parser.add_argument("--table", action="store_true", help="print the page of what was measured, and measure nothing")
    options = parser.parse_args()
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    if options.table:
        print(page(cases(), results, json.loads(BEFORE.read_text())), end="")
        return
    options.results.parent.mkdir(exist_ok=True)
    with ProcessPoolExecutor(options.workers) as pool:
        for case in cases():
            if (options.cases and options.cases not in case.name) or (case.name in results and not options.fresh):
                continue
            replicates = max(options.replicates // (10 if max(case.sizes) >= 100_000 else 1), 10)
            rows = list(pool.map(replicate, [case] * replicates, range(replicates)))
            results[case.name] = summarise(case, rows)
            options.results.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")
            print(case.name, flush=True)


if __name__ == "__main__":
    main()
