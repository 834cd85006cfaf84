"""How often do ranks of a leaderboard say something false, and how much do they tell apart?

    python benchmarks/statistics/rank_study.py [--replicates 400]    # about eight minutes of one core
    python benchmarks/statistics/rank_study.py --table               # what was measured, as Markdown

Means of scores of K systems, skewed as those of good speech are, of sd 0.65. A false statement is "A is better than B"
where B is as good or better; a table is false if any statement of it is. Beside the rule of
``slm_eval.compare.leaderboard`` stands the one that it replaced: A is better where the 95 % t intervals of both do
not overlap.

- equal: nobody differs, so every statement is false; apart: neighbours differ by 0.1.
- clips a system: 10, 30 or 300 each; or uneven: 5 to 300, the first system has the most.
- sd: the same for all, or a third of it for every second system.
- pairs: clips of all systems answer the same prompts, with a correlation of 0.7 (uneven: as far as they reach).
- speakers: clips are of geometrically many of a speaker, mean 6, with a correlation of 0.5 among them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import stamp

from slm_eval.compare.leaderboard.ranking import judge
from slm_eval.metrics.means import Sample, difference, mean_of_sample

RESULTS = Path(__file__).parent / "results" / "ranks.json"
SYSTEMS = (3, 5, 10)
STEPS = {"equal": 0.0, "apart": 0.1}
CLIPS: dict[str, tuple[int, int]] = {
    "10": (10, 10),
    "30": (30, 30),
    "300": (300, 300),
    "uneven": (300, 5),
}  # first, last
DESIGNS = ("single clips", "pairs", "speakers", "pairs of speakers")
PAIRED, SHARED, SPEAKER_CLIPS = 0.7, 0.5, 6
BETA, SD = (4.0, 1.2), 0.65  # of the scores of good speech: sd on the scale of 1 to 5
_GRID = np.linspace(0, 1, 4001)


def main() -> None:
    """Measure, or print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=400, help="of each case; a quarter where systems differ")
    parser.add_argument("--table", action="store_true", help="print what was measured before, and measure nothing")
    options = parser.parse_args()
    if not options.table:
        cases = [measure(*case, options.replicates) for case in all_cases()]
        RESULTS.parent.mkdir(exist_ok=True)
        lines = ",\n".join(json.dumps(case) for case in cases)
        head = json.dumps({"replicates": options.replicates, **stamp()})[:-1]
        RESULTS.write_text(f'{head}, "cases": [\n{lines}\n]}}\n')
    print(table(json.loads(RESULTS.read_text())["cases"]))


def all_cases() -> Iterator[tuple[int, str, str, bool, str]]:
    """Systems, step, clips, uneven sds and design of each case."""
    yield from itertools.product(SYSTEMS, STEPS, CLIPS, (False, True), DESIGNS)


def measure(k: int, step: str, clips: str, uneven_sd: bool, design: str, replicates: int) -> dict[str, Any]:
    """Share of tables with a false statement and share of true differences that are told, by both rules."""
    rng = np.random.default_rng(list(f"{k} {step} {clips} {uneven_sd} {design}".encode()))
    replicates //= 4 if STEPS[step] else 1
    truth = -STEPS[step] * np.arange(k)
    counts = np.linspace(*CLIPS[clips], k).round().astype(int)
    sds = np.where(np.arange(k) % 2, SD / 3, SD) if uneven_sd else np.full(k, SD)
    pairs = list(itertools.combinations(range(k), 2))
    false = {"ranks": 0, "intervals": 0}
    told = {"ranks": 0, "intervals": 0}
    ranked = 0
    for _ in range(replicates):
        samples = draw(truth, counts, sds, design, rng)
        estimates = [mean_of_sample(sample) for sample in samples]
        usable = [at for at in range(k) if estimates[at].withheld is None]
        ranked += len(usable)
        tested = {}
        for a, b in itertools.combinations(usable, 2):
            estimate = difference(samples[a], samples[b])
            tested[str(a), str(b)] = estimate.value, estimate.p_value()
        verdicts = {"ranks": set(), "intervals": set()}
        for pair in judge(tested, higher_is_better=True):
            if pair.better is not None:
                worse = pair.a if pair.better == pair.b else pair.b
                verdicts["ranks"].add((int(pair.better), int(worse)))
        for a, b in pairs:
            verdicts["intervals"] |= apart(a, b, estimates)
        for rule, shown in verdicts.items():
            right = sum(truth[better] > truth[worse] for better, worse in shown)
            told[rule] += right
            false[rule] += right < len(shown)
    different = len(pairs) if STEPS[step] else 0
    return {
        "systems": k,
        "step": step,
        "clips": clips,
        "uneven_sd": uneven_sd,
        "design": design,
        "ranked": ranked / replicates / k,
        "false": {rule: each / replicates for rule, each in false.items()},
        "told": {rule: each / replicates / different for rule, each in told.items()} if different else None,
    }


def draw(
    truth: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
    sds: npt.NDArray[np.float64],
    design: str,
    rng: np.random.Generator,
) -> list[Sample]:
    """Scores of all systems, with their clusters."""
    most, paired = int(counts.max()), design.startswith("pairs")
    prompts = rng.normal(size=most)
    clusters = np.arange(most)
    if design.endswith("speakers"):
        clusters = np.repeat(np.arange(most), rng.geometric(1 / SPEAKER_CLIPS, most))[:most]
        clusters = rng.permutation(most)[clusters] if design == "speakers" else clusters
    samples = []
    for system, (mean, n, sd) in enumerate(zip(truth, counts, sds, strict=True)):
        normal = rng.normal(size=n)
        if design.endswith("speakers"):
            own = rng.normal(size=most)[clusters[:n]]
            normal = np.sqrt(SHARED) * own + np.sqrt(1 - SHARED) * normal
        if paired:
            normal = np.sqrt(PAIRED) * prompts[:n] + np.sqrt(1 - PAIRED) * normal
        scores = mean + sd * skewed(normal)
        samples.append(Sample.from_scores(scores, clusters[:n] if paired else clusters[:n] + system * most))
    return samples


def skewed(normal: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Scores of mean 0 and variance 1, with a skewness of -0.86."""
    from scipy.special import ndtr

    a, b = BETA
    mean, sd = a / (a + b), np.sqrt(a * b / (a + b) ** 2 / (a + b + 1))
    return np.asarray((np.interp(ndtr(normal), _GRID, _quantiles()) - mean) / sd)


@lru_cache
def _quantiles() -> npt.NDArray[np.float64]:
    from scipy.special import betaincinv

    return np.asarray(betaincinv(*BETA, _GRID))


def apart(a: int, b: int, estimates: list[Any]) -> set[tuple[int, int]]:
    """What the old rule says of two systems: from two clips on, by t intervals."""
    ends = [replace(estimates[at], withheld=None).interval() for at in (a, b) if estimates[at].freedom > 0]
    if len(ends) < 2:
        return set()
    (low_a, high_a), (low_b, high_b) = ends
    return {(a, b)} if low_a > high_b else {(b, a)} if low_b > high_a else set()


def table(cases: list[dict[str, Any]]) -> str:
    """Share of false tables where nobody differs, mean and highest of the cases, and of true differences told, in %."""
    lines = [
        "| systems | clips | false: mean, highest | before | told | before | told, pairs | before |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for k, clips in itertools.product(SYSTEMS, CLIPS):
        chosen = [case for case in cases if case["systems"] == k and case["clips"] == clips]
        null = [case["false"] for case in chosen if case["step"] == "equal"]
        cells = [_mean_and_highest([false[rule] for false in null]) for rule in ("ranks", "intervals")]
        for paired in (False, True):
            told = [case["told"] for case in chosen if case["told"] and case["design"].startswith("pairs") == paired]
            cells += [f"{100 * np.mean([each[rule] for each in told]):.0f}" for rule in ("ranks", "intervals")]
        lines.append(f"| {k} | {clips} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean_and_highest(shares: list[float]) -> str:
    return f"{100 * np.mean(shares):.1f}, {100 * max(shares):.1f}"


if __name__ == "__main__":
    main()
