"""Does the test of plm.3 hold, do its intervals cover, and what does it find that pJSD does not?

    python benchmarks/statistics/plm_study.py [--replicates 100]    # about three minutes of one core
    python benchmarks/statistics/plm_study.py --table               # what was measured, as Markdown

*Holds*: generated against real speech of one source, and of a source that a fifth was taken of another chain from; the
interval should contain the mean difference of all replicates. *Finds*: two systems of 7,000 phones against 7,000 phones
of real speech, one of its source, the other shifted; shares of unpaired comparisons with p < .05, 199 labellings.

Shifts: to another chain (as in ``worlds``); *frequency*, to a chain in which every phone is half or twice as likely
wherever it can come; *likelihood*, to a chain that real speech finds as surprising as itself: what may follow is in
part drawn by squared probabilities, in part all alike; *replaced*, phones are replaced by any phone at random.

*Ends*: what symbols for where clips begin, or begin and end, would change: how often a shift is found against real
speech, and how often speech of the same source is called different because its clips are half as long.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import stamp
from worlds import World

from slm_eval.base.arrays import Floats
from slm_eval.compare.cross_entropies import cross_entropy_differences
from slm_eval.compare.design import Design
from slm_eval.compare.divergences import _incidence, _statistics
from slm_eval.compare.permutation import p_value
from slm_eval.compare.result import Tested
from slm_eval.compare.speech import Speech
from slm_eval.metrics.crossentropy import CrossEntropy, cross_entropy
from slm_eval.run.finished import FinishedRun

RESULTS = Path(__file__).parent / "results" / "plm.json"
ACCENTS = (0.6, 0.3, 0.1)
N_POWER = 7_000
ORDERS = (1, 2, 3, 4)


@dataclass(frozen=True)
class FrequencyWorld(World):
    """A world whose shift changes how often each phone comes, and hardly what follows what."""

    @cached_property
    def _probabilities(self) -> tuple[Floats, Floats]:
        own, _ = super()._probabilities
        weights = np.random.default_rng((self.seed, 4)).choice([0.5, 2.0], self.phones)[self._successors]
        return own, own * weights / (own * weights).sum(axis=2, keepdims=True)


@dataclass(frozen=True)
class LikelihoodWorld(World):
    """A world whose shift leaves the expected likelihood of what follows each context as it is."""

    @cached_property
    def _probabilities(self) -> tuple[Floats, Floats]:
        own, _ = super()._probabilities
        sharp = own**2 / (own**2).sum(axis=2, keepdims=True)
        even = np.full_like(own, 1 / self.successors)
        surprise = -np.log(np.maximum(own, 1e-300))
        mean, low, high = ((each * surprise).sum(axis=2, keepdims=True) for each in (own, sharp, even))
        share = (high - mean) / (high - low)
        return own, share * sharp + (1 - share) * even


@dataclass(frozen=True)
class ReplacingWorld(World):
    """A world whose shift is a share of phones that any phone stands in the place of."""

    def draw(self, n_phones: int, rng: np.random.Generator, shift: float = 0.0) -> tuple[list[list[int]], list[int]]:
        """Return clips and the speaker of each."""
        return World(self.order, errors=shift).draw(n_phones, rng)


def holding() -> list[tuple[str, World, int, int]]:
    """Name, world, generated and real phones of each case."""
    uneven = World(order=2, speaker_clips=10, accents=ACCENTS)
    return [
        ("order 1, equal lengths", World(order=1, length_cv=0.0), 7_000, 7_000),
        ("order 2, CV 0.6", World(), 7_000, 7_000),
        ("order 3, CV 1", World(order=3, length_cv=1.0), 7_000, 7_000),
        ("order 2, CV 0.6", World(), 7_000, 70_000),
        ("order 2, CV 0.6", World(), 70_000, 7_000),
        ("order 3, 3 clips a speaker", World(order=3, speaker_clips=3), 35_000, 7_000),
        ("order 3, 3 clips a speaker", World(order=3, speaker_clips=3), 7_000, 35_000),
        ("order 2, 10 clips a speaker, 3 accents", uneven, 35_000, 35_000),
        ("order 2, 10 clips a speaker, 3 accents", uneven, 25_000, 75_000),
        ("the same, one accent speaks twice as long", replace(uneven, longwinded=2.0), 35_000, 35_000),
        ("order 1, 30 clips a speaker, CV 1", World(order=1, speaker_clips=30, length_cv=1.0), 60_000, 60_000),
    ]


def finding() -> list[tuple[str, World, float]]:
    """Name, world and shift of each case."""
    return [
        ("order 2, another chain", World(), 0.06),
        ("order 1, another chain", World(order=1), 0.03),
        ("order 3, another chain", World(order=3), 0.1),
        ("order 2, frequency", FrequencyWorld(), 0.06),
        ("order 1, frequency", FrequencyWorld(order=1), 0.06),
        ("order 2, likelihood", LikelihoodWorld(), 0.4),
        ("order 2, replaced", ReplacingWorld(), 0.05),
        ("none", World(), 0.0),
    ]


def hold(name: str, world: World, n_generated: int, n_real: int, shift: float, replicates: int) -> dict[str, Any]:
    """Return false alarms or power, coverage, and standard error over true sd, of the difference to real speech."""
    rng = np.random.default_rng(7)
    found = [_against_real(world, n_generated, n_real, shift, rng) for _ in range(replicates)]
    gaps = [each.difference for each in found if each.difference.withheld is None]
    values, errors = np.array([gap.value for gap in gaps]), np.array([gap.error for gap in gaps])
    mean = values.mean()
    inside = [low <= mean <= high for low, high in (gap.interval() for gap in gaps)]  # type: ignore[misc]
    rejected = [gap.p_value() < 0.05 for gap in gaps]
    return {
        "world": name,
        "generated": n_generated,
        "real": n_real,
        "shift": shift,
        "given": len(gaps),
        "mean": float(mean),
        "sd": float(values.std(ddof=1)),
        "error_over_sd": float(np.sqrt(np.mean(errors**2)) / values.std(ddof=1)),
        "covers": float(np.mean(inside)),
        "rejects": float(np.mean(rejected)),
    }


def _against_real(world: World, n_generated: int, n_real: int, shift: float, rng: np.random.Generator) -> CrossEntropy:
    real, of_real = world.draw(n_real, rng)
    generated, of_generated = world.draw(n_generated, rng, shift)
    clusters = {"generated_clusters": np.array(of_generated), "real_clusters": np.array(of_real)}
    found = cross_entropy(generated, real, 3, **clusters)
    assert isinstance(found, CrossEntropy)
    return found


def find(name: str, world: World, shift: float, replicates: int) -> dict[str, Any]:
    """Return how many comparisons of two systems find that one of them is shifted, by metric."""
    rng = np.random.default_rng(8)
    p = [_p_values(world, shift, rng, at) for at in range(replicates)]
    found = {key: int(sum(each[key] < 0.05 for each in p)) for key in p[0]}
    return {"world": name, "shift": shift, "comparisons": replicates, "found": found}


def _p_values(world: World, shift: float, rng: np.random.Generator, seed: int) -> dict[str, float]:
    real, _ = world.draw(N_POWER, rng)
    runs = [_run(name, world.draw(N_POWER, rng, of)[0], real) for name, of in (("a", 0.0), ("b", shift))]
    design = Design.from_runs(*runs, False, 199, seed)
    entropy = cross_entropy_differences(["plm.3"], {"plm.3": {"unit": "nats/phone", "signature": ""}}, design)["plm.3"]
    assert isinstance(entropy, Tested)
    speech = Speech.from_design(design)
    assert isinstance(speech, Speech)
    statistics = {f"pjsd.{n}": _statistics(_incidence(n, speech), speech, seed) for n in ORDERS}
    return {**{key: p_value(each) for key, each in statistics.items()}, "plm.3": entropy.difference.p}


def _run(name: str, generated: list[list[int]], real: list[list[int]]) -> FinishedRun:
    clips = {
        side: [{"id": f"{name}{at:05}", "phones": [f"{phone:02}" for phone in clip]} for at, clip in enumerate(of_side)]
        for side, of_side in (("generated", generated), ("real", real))
    }
    return FinishedRun(name, {}, clips)


def write(results: dict[str, Any]) -> None:
    """Write JSON, a line for each row."""
    parts = []
    for name, held in results.items():
        rows = ",\n".join(json.dumps(row) for row in held) if isinstance(held, list) else None
        parts.append(f'"{name}": ' + (json.dumps(held) if rows is None else f"[\n{rows}\n]"))
    RESULTS.write_text("{" + ", ".join(parts) + "}\n")


def ends(replicates: int) -> list[dict[str, Any]]:
    """Return what symbols at the ends of clips do to the test against real speech."""
    rows = []
    for symbols, (before, after) in {"none": (0, 0), "beginning": (2, 0), "beginning and end": (2, 1)}.items():
        rng, p = np.random.default_rng(9), {"shift": [], "half as long": []}
        for _ in range(replicates):
            real = World().draw(N_POWER, rng)[0]
            others = {
                "shift": World().draw(N_POWER, rng, 0.06)[0],
                "half as long": World(length=35.0).draw(N_POWER, rng)[0],
            }
            for case, generated in others.items():
                sides = (
                    [[*["<"] * before, *map(str, clip), *[">"] * after] for clip in side] for side in (generated, real)
                )
                found = cross_entropy(*sides, 3)
                assert isinstance(found, CrossEntropy)
                p[case].append(found.difference.p_value())
        shares = {case: float(np.mean(np.array(of_case) < 0.05)) for case, of_case in p.items()}
        rows.append({"symbols": symbols, "replicates": replicates, "rejects": shares})
    return rows


def table(results: dict[str, Any]) -> str:
    """Return what was measured as Markdown."""
    lines = [
        "| world | phones, generated : real | false alarms | se / sd | coverage, shifted | se / sd |",
        "|---|---|---|---|---|---|",
    ]
    pairs = zip(results["holds"][::2], results["holds"][1::2], strict=True)
    for same, shifted in pairs:
        sizes = f"{same['generated'] // 1000}k : {same['real'] // 1000}k"
        withheld = results["replicates"] - same["given"]
        name = same["world"] + (f" ({withheld} withheld)" if withheld else "")
        lines.append(
            f"| {name} | {sizes} | {same['rejects']:.1%} | {same['error_over_sd']:.2f} "
            f"| {shifted['covers']:.1%} | {shifted['error_over_sd']:.2f} |"
        )
    keys = list(results["finds"][0]["found"])
    lines += ["", f"| shift | share | {' | '.join(keys)} | of |", f"|---|---|{'---|' * len(keys)}---|"]
    for row in results["finds"]:
        shares = " | ".join(str(row["found"][key]) for key in keys)
        lines.append(f"| {row['world']} | {row['shift']:.0%} | {shares} | {row['comparisons']} |")
    lines += ["", "| symbols | shift of 6 % found | half as long, called different | of |", "|---|---|---|---|"]
    for row in results["ends"]:
        shift, shorter = row["rejects"]["shift"], row["rejects"]["half as long"]
        lines.append(f"| {row['symbols']} | {shift:.1%} | {shorter:.1%} | {row['replicates']} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, or print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=100, help="of each case; half as many comparisons")
    parser.add_argument("--table", action="store_true", help="print what was measured before, and measure nothing")
    options = parser.parse_args()
    if not options.table:
        n = options.replicates
        held = [hold(*case, shift, n) for case in holding() for shift in (0.0, 0.2)]
        found = [find(*case, max(n // 2, 1)) for case in finding()]
        RESULTS.parent.mkdir(exist_ok=True)
        head = {"replicates": n, **stamp()}
        write({**head, "holds": held, "finds": found, "ends": ends(n)})
    print(table(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
