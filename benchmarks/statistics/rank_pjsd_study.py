"""How often do ranks by pJSD say something false, where clips, speakers and accents are uneven?

    python benchmarks/statistics/rank_pjsd_study.py [--replicates 400]    # ten minutes of one core
    python benchmarks/statistics/rank_pjsd_study.py --table               # what was measured, as Markdown

Systems of one size against real speech of that size, in worlds of ``worlds.py``: order 2, clips of lognormal length
with a coefficient of variation of 0.6, single ones or about ten of a speaker, in three accents. "equal": all systems
have a shift of 0.1, so that every statement is false; "apart": the shifts are 0, 0.1, 0.2, ...
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from worlds import World

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import stamp

from slm_eval.compare.leaderboard.divergence_pairs import Speech, pair_tests
from slm_eval.compare.leaderboard.ranking import judge

RESULTS = Path(__file__).parent / "results" / "ranks-pjsd.json"
WORLDS = {
    "single clips": World(order=2, length_cv=0.6),
    "speakers": World(order=2, length_cv=0.6, speaker_clips=10, accents=(0.6, 0.3, 0.1)),
}
ORDERS, SYSTEMS, PHONES, STEP = (1, 2, 3), (3, 10), (5_000, 20_000), 0.1


def main() -> None:
    """Measure, or print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=400, help="of each case; a fifth where systems differ")
    parser.add_argument("--table", action="store_true", help="print what was measured before, and measure nothing")
    options = parser.parse_args()
    if not options.table:
        head, cases = stamp(), []
        for world, phones, k, apart in itertools.product(WORLDS, PHONES, SYSTEMS, (False, True)):
            replicates = options.replicates // 5 if apart else options.replicates
            cases += measure(world, phones, k, apart, replicates)
            lines = ",\n".join(json.dumps(case) for case in cases)
            RESULTS.write_text(f'{json.dumps(head)[:-1]}, "cases": [\n{lines}\n]}}\n')
    print(table(json.loads(RESULTS.read_text())["cases"]))


def measure(world: str, phones: int, k: int, apart: bool, replicates: int) -> list[dict[str, Any]]:
    """Return the share of tables with a false statement, of differences told, and of systems ranked: an entry per n."""
    rng = np.random.default_rng([len(world), phones, k, apart])
    false, told, ranked = (dict.fromkeys(ORDERS, 0) for _ in range(3))
    for seed in range(replicates):
        shifts = [STEP * at if apart else STEP for at in range(k)]
        systems = {str(at): drawn(WORLDS[world], phones, rng, shift, str(at)) for at, shift in enumerate(shifts)}
        real = drawn(WORLDS[world], phones, rng, 0.0, "real")
        for n in ORDERS:
            tested, reasons = pair_tests(n, systems, real, seed)
            ranked[n] += k - len(reasons)
            pairs = judge({pair: (each.value, each.p_value()) for pair, each in tested.items()}, False)
            shown = [(pair.better, pair.a if pair.better == pair.b else pair.b) for pair in pairs if pair.better]
            right = sum(apart and int(better) < int(worse) for better, worse in shown)
            told[n] += right
            false[n] += right < len(shown)
    return [
        {
            "world": world,
            "phones": phones,
            "systems": k,
            "apart": apart,
            "n": n,
            "replicates": replicates,
            "ranked": ranked[n] / replicates / k,
            "false": false[n] / replicates,
            "told": told[n] / replicates / (k * (k - 1) / 2) if apart else None,
        }
        for n in ORDERS
    ]


def drawn(world: World, phones: int, rng: np.random.Generator, shift: float, name: str) -> Speech:
    """Return a corpus, its speakers its own."""
    clips, speakers = world.draw(phones, rng, shift)
    return Speech(clips, [(name, speaker) for speaker in speakers])  # type: ignore[arg-type]


def table(cases: list[dict[str, Any]]) -> str:
    """Return Markdown: false tables where systems are equal, differences told where they are not, in %, by n."""
    lines = ["| clips | phones a system | systems | false, n = 1 to 3 | told, n = 1 to 3 |", "|---|---|---|---|---|"]
    for world, phones, k in itertools.product(WORLDS, PHONES, SYSTEMS):
        chosen = [case for case in cases if (case["world"], case["phones"], case["systems"]) == (world, phones, k)]
        if any(case["ranked"] for case in chosen):
            cells = [
                ", ".join(f"{100 * case[name]:.0f}" for case in chosen if case["apart"] == apart)
                for apart, name in ((False, "false"), (True, "told"))
            ]
            lines.append(f"| {world} | {phones:,} | {k} | {' | '.join(cells)} |")
        elif chosen:
            lines.append(f"| {world} | {phones:,} | {k} | no ranks | |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
