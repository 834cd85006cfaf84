"""Do the tests of `slm-eval compare` hold their level where speech is uneven, and which of them finds a difference?

    python benchmarks/statistics/compare_study.py                     # all cases: a quarter of an hour of one core
    python benchmarks/statistics/compare_study.py --cases "order 2" --replicates 40
    python benchmarks/statistics/compare_study.py --table             # what was measured, as Markdown

What was measured before, as often, is kept; `--fresh` measures it again.

A case is a world (``worlds.py``), phones of A, B and real speech, and how far each system is from real speech. Each
replicate draws all three afresh and compares A with B, unpaired, speakers named where the world has any. Counted are
the replicates in which a p-value is at most 5 %: that of each n and of plm.3 by itself, of all n together, of these and
plm.3 together, and of each n's second question, "is one closer to real speech"; and those in which anything is claimed
of real speech. Where A and B are the same the first are false alarms, and where they are equally far from real speech,
the second.

Where 5 % are expected, a share of 200 replicates has a standard error of 1.5 %. Cases in which one system differs, of
which the power is asked, are measured half as often.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from worlds import World

sys.path.insert(1, str(Path(__file__).parent.parent))
from machine import stamp

from slm_eval.compare import LEVEL
from slm_eval.compare.cross_entropies import cross_entropy_differences
from slm_eval.compare.design import Design
from slm_eval.compare.divergences import divergence_changes
from slm_eval.compare.judgement import PHONES, REAL_SPEECH, judge
from slm_eval.compare.permutation import omnibus
from slm_eval.compare.result import Tested
from slm_eval.run.finished import FinishedRun

RESULTS = Path(__file__).parent / "results" / "compare_study.json"
ORDERS = (1, 2, 3, 4, 5)
PLM = "plm.3"
_OF_PLM = {"unit": "nats", "signature": f"plm|n:{PLM[-1]}"}
KEYS = (*(f"pjsd.{n}" for n in ORDERS), PLM)
PERMUTATIONS = 199
ACCENTS = (0.6, 0.3, 0.1)
WORLDS = {
    "order 1, CV 0": World(order=1, length_cv=0.0),
    "order 1": World(order=1),
    "order 2": World(),
    "order 2, CV 1": World(length_cv=1.0),
    "order 3": World(order=3),
    "speakers of 10": World(speaker_clips=10, accents=ACCENTS),
    "speakers of 30": World(speaker_clips=30, accents=ACCENTS),
    "longwinded accent": World(speaker_clips=3, accents=(0.6, 0.4), longwinded=4.0),
    "mirrored, order 1": World(order=1, mirrored=True),
    "mirrored, order 2": World(mirrored=True),
    "mirrored, speakers of 3": World(speaker_clips=3, accents=ACCENTS, mirrored=True),
    "mirrored, speakers of 10": World(speaker_clips=10, accents=ACCENTS, mirrored=True),
}
# Of A and B: none, and of B alone.
_SHIFTS = ((0.0, 0.0), (0.0, 0.06))


@dataclass(frozen=True)
class Case:
    """What is drawn.

    Attributes:
        world: name.
        sizes: phones of A, B and real speech.
        shifts: of A and B from real speech.
        towards: the chains that A and B are shifted to; where these differ, mirror images of each other, which are
            exactly as far from real speech.
        longer: how many times as long the clips of A are.
    """

    world: str
    sizes: tuple[int, int, int]
    shifts: tuple[float, float] = (0.0, 0.0)
    towards: tuple[int, int] = (0, 0)
    longer: float = 1.0

    def replicates(self, wanted: int) -> int:
        """Return how many of them to measure: half where it is power that is asked for."""
        return wanted if self.shifts[0] == self.shifts[1] else wanted // 2

    @property
    def name(self) -> str:
        """Return the key in the results."""
        parts = [self.world, "/".join(f"{size // 1000}k" for size in self.sizes)]
        parts.append(f"shifts {self.shifts[0]} and {self.shifts[1]}")
        if self.towards[0] != self.towards[1]:
            parts.append("to mirror images")
        if self.longer != 1:
            parts.append(f"clips of A {self.longer:g} times as long")
        return ", ".join(parts)


def cases() -> list[Case]:
    """Return all of them: nothing differs, B differs, or both differ from real speech alike."""
    equal, real_large, uneven = (7_000, 7_000, 7_000), (7_000, 7_000, 35_000), (35_000, 7_000, 35_000)
    small_real, more, most = (14_000, 14_000, 4_700), (28_000, 28_000, 9_400), (70_000, 70_000, 23_400)
    alike = partial(Case, shifts=(0.2, 0.2), towards=(0, 1))
    found = [alike(f"mirrored, order {order}", small_real) for order in (1, 2)]
    found += [alike("mirrored, speakers of 3", more), alike("mirrored, speakers of 10", most)]
    for world, size in (("order 2", uneven), ("speakers of 10", uneven), ("order 2", real_large)):
        found += [Case(world, size, shifts) for shifts in _SHIFTS]
    found += [Case("order 2", (7_000, 7_000, 14_000), longer=longer) for longer in (2.0, 4.0)]
    names = [name for name in WORLDS if not name.startswith("mirrored")]
    found += [Case(world, equal, shifts) for shifts in _SHIFTS for world in names]
    found.append(alike("mirrored, order 2", (14_000, 14_000, 14_000)))
    found += [Case("speakers of 10", (70_000, 7_000, 35_000), shifts) for shifts in _SHIFTS]
    return found


def replicate(case: Case, number: int) -> list[float]:
    """Return p-values of fresh corpora: of each key, of all n, of all keys, of each second question, and the claims."""
    world = WORLDS[case.world]
    rng = np.random.default_rng((*case.sizes, round(100 * case.shifts[1]), number))
    of_a = replace(world, length=world.length * case.longer, target=case.towards[0])
    of_b = replace(world, target=case.towards[1])
    drawn = {
        "a": of_a.draw(case.sizes[0], rng, case.shifts[0]),
        "b": of_b.draw(case.sizes[1], rng, case.shifts[1]),
        "real": world.draw(case.sizes[2], rng),
    }
    phones = {side: {f"{side}{at}": clip for at, clip in enumerate(clips)} for side, (clips, _) in drawn.items()}
    speakers = None
    if world.speaker_clips > 1:
        speakers = {f"{side}{at}": f"{side}{who}" for side, (_, names) in drawn.items() for at, who in enumerate(names)}
    a, b = (finished_run(side, phones[side], phones["real"], speakers, ORDERS) for side in ("a", "b"))
    # As ``compare`` does it, without the estimate of how much speech would tell.
    design = Design.from_runs(a, b, False, PERMUTATIONS, number)
    tested = divergence_changes(ORDERS, a.metrics, design) | cross_entropy_differences([PLM], {PLM: _OF_PLM}, design)
    differences, together = judge({key: each for key, each in tested.items() if isinstance(each, Tested)})
    rows = [differences[f"pjsd.{n}"] for n in ORDERS]
    of_pjsd = omnibus([each.statistics for key in KEYS[:-1] if isinstance(each := tested[key], Tested)])
    claims = [each.claim is not None and each.claim.endswith(REAL_SPEECH) for each in rows]
    source = [1.0 if each.p_source is None else each.p_source for each in rows]
    return [*(differences[key].p for key in KEYS), of_pjsd, together[PHONES].p, *source, 0.0 if any(claims) else 1.0]


def finished_run(
    name: str, phones: dict[str, Any], real: dict[str, Any], by: dict[str, str] | None, orders: Sequence[int]
) -> FinishedRun:
    """Return phones as a finished run has them, but for values that comparing does not read.

    Args:
        phones, real: by clip.
        by: the speaker of each clip.
    """
    clips = {
        side: [
            {"id": each, "side": side, "scores": {}, "phones": spoken, **({} if by is None else {"speaker": by[each]})}
            for each, spoken in of_side.items()
        ]
        for side, of_side in (("generated", phones), ("real", real))
    }
    metrics = {
        f"pjsd.{n}": {"value": 0.0, "unit": "nats", "higher_is_better": False, "signature": f"pjsd|n:{n}"}
        for n in orders
    }
    return FinishedRun(name, {"metrics": metrics}, clips)


def summarise(case: Case, rows: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Return the shares of replicates in which a p-value is at most 5 %."""
    shares = (np.array(rows) <= LEVEL).mean(axis=0).round(4).tolist()
    split = len(KEYS)
    sources = [replace(WORLDS[case.world], target=target) for target in case.towards]
    return {
        "sizes": case.sizes,
        "shifts": case.shifts,
        # Of A and of B, by n.
        "true_divergence": [
            [source.truth(n, shift) for n in ORDERS] for source, shift in zip(sources, case.shifts, strict=True)
        ],
        "replicates": len(rows),
        "same": dict(zip(KEYS, shares[:split], strict=True)),
        "pjsd_together": shares[split],
        "together": shares[split + 1],
        "source": dict(zip(KEYS, shares[split + 2 : -1], strict=False)),
        "claimed_of_real_speech": shares[-1],
    }


def table(results: dict[str, Any]) -> str:
    """Return Markdown: per cent of comparisons with p at most 5 %, cases in the order of ``cases``."""
    head = [*(f"n={n}" for n in ORDERS), "plm", "all n", "all", "source, n=1 to 5", "claimed"]
    lines = [f"| A / B / real speech | comparisons | {' | '.join(head)} |", "|---" * (len(head) + 2) + "|"]
    for name in (case.name for case in cases() if case.name in results):
        found = results[name]
        first = (*found["same"].values(), found["pjsd_together"], found["together"])
        source = ", ".join(f"{100 * share:.0f}" for share in found["source"].values())
        cells = [f"{100 * share:.0f}" for share in first] + [source, f"{100 * found['claimed_of_real_speech']:.0f}"]
        lines.append(f"| {name} | {found['replicates']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def measure(wanted: Iterable[Case], replicates: int, workers: int, results: dict[str, Any], fresh: bool) -> None:
    """Measure the cases that were not measured as often, and write each when it is done."""
    with ProcessPoolExecutor(workers) as pool:
        for case in wanted:
            number = case.replicates(replicates)
            if not fresh and results.get(case.name, {}).get("replicates") == number:
                continue
            rows = list(pool.map(partial(replicate, case), range(number), chunksize=5))
            results[case.name] = {**summarise(case, rows), **stamp()}
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def main() -> None:
    """Measure, and write results/compare_study.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="", help="only those whose name contains this")
    parser.add_argument("--replicates", type=int, default=200, help="of each case; half where one differs")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured before")
    parser.add_argument("--table", action="store_true", help="print what was measured before, and measure nothing")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if not options.table:
        wanted = [case for case in cases() if options.cases in case.name]
        measure(wanted, options.replicates, options.workers, results, options.fresh)
    print(table(results))


if __name__ == "__main__":
    main()
