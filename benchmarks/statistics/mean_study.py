"""Do intervals of mean scores cover where scores are skewed and clusters uneven?

    python benchmarks/statistics/mean_study.py [--replicates 1000]    # about five minutes
    python benchmarks/statistics/mean_study.py --table                # what was measured, as Markdown

A score lies on a scale of 1 to 5: a quantile of a beta distribution, of a normal variable that clips of one cluster
share a part of (the correlation). Clusters have one clip, six, geometrically or lognormally many (mean 6), or the first
has as many as three quarters of all. What counts is how many degrees of freedom a sample has, so coverage is told by
these: of the interval on the logit of the scale, and of the plain t interval that it replaced.

The last shapes are no beta distributions: one clip in ten fails entirely; speakers who talk more score lower; and all
clips of one speaker in ten are bad, who in the very last shape says three times as much as others.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import stamp

from slm_eval.metrics.means import mean

RESULTS = Path(__file__).parent / "results" / "means.json"
SCALE = (1.0, 5.0)
# Parameters of beta distributions; the skewness of each.
SHAPES = {
    "even": (3.0, 3.0),  # 0
    "as good speech": (4.0, 1.2),  # -0.86
    "near the top": (20.0, 3.0),  # -0.78
    "at the top": (5.0, 0.5),  # -2.4
    "at the bottom": (0.8, 4.0),  # 1.6
}
SIZES: dict[str, Callable[[int, np.random.Generator], npt.NDArray[np.int64]]] = {
    "single clips": lambda n, rng: np.ones(n, dtype=np.int64),
    "six each": lambda n, rng: np.full(n, 6),
    "geometric": lambda n, rng: rng.geometric(1 / 6, n),
    "lognormal": lambda n, rng: np.maximum(1, np.round(6 * rng.lognormal(-0.5, 1, n))).astype(np.int64),
    "one of three quarters": lambda n, rng: np.where(np.arange(n) == 0, 9 * n, 3),
}
CORRELATIONS = (0.1, 0.5, 0.9)
CLUSTERS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30, 50)
FREEDOM = (1, 2, 3, 4, 6, 10, 20, 100)  # ends of the bins
FAILING, SPECIAL = 0.1, ("one in ten fails", "who talks more scores lower")
BAD, TALKATIVE = ("one speaker in ten is bad", "one in ten is bad and talks more"), 3
_GRID = np.linspace(0, 1, 20_001)


def main() -> None:
    """Measure, or print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=1000, help="of each case and number of clusters")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured as often")
    parser.add_argument("--table", action="store_true", help="print what was measured before, and measure nothing")
    options = parser.parse_args()
    if not options.table:
        known = {} if options.fresh else measured_before(options.replicates)
        cases = [known.get(case) or measure(*case, options.replicates) for case in all_cases()]
        RESULTS.parent.mkdir(exist_ok=True)
        head = {"replicates": options.replicates, **stamp(), "freedom": FREEDOM}
        lines = ",\n".join(json.dumps(case) for case in cases)
        RESULTS.write_text(f'{json.dumps(head)[:-1]}, "cases": [\n{lines}\n]}}\n')
    print(table(json.loads(RESULTS.read_text())["cases"]))


def measured_before(replicates: int) -> dict[tuple[str, str, float], dict[str, Any]]:
    """Return the cases that were measured with so many replicates; none draws from the random numbers of another."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"replicates": None}
    if results["replicates"] != replicates:
        return {}
    return {(case["shape"], case["sizes"], case["correlation"]): case for case in results["cases"]}


def all_cases() -> Iterator[tuple[str, str, float]]:
    """Shape, sizes and correlation of each case."""
    for shape in (*SHAPES, *SPECIAL, *BAD):
        for sizes in SIZES:
            if shape == SPECIAL[1] and sizes not in ("geometric", "lognormal"):
                continue  # nobody talks more, or it is always the same one
            if shape in BAD and sizes == "single clips":
                continue  # a speaker of one clip is a clip
            for correlation in (0.0,) if sizes == "single clips" else CORRELATIONS:
                yield shape, sizes, correlation


def measure(shape: str, sizes: str, correlation: float, replicates: int) -> dict[str, Any]:
    """Coverage of both intervals by degrees of freedom."""
    rng = np.random.default_rng(list(f"{shape} {sizes} {correlation}".encode()))
    truth = _truth(shape, sizes, correlation)
    rows = []
    for n_clusters in CLUSTERS:
        for _ in range(replicates):
            scores, clusters = sample(shape, sizes, correlation, n_clusters, rng)
            estimate = mean(scores.tolist(), clusters)
            rows.append((estimate.freedom, *_covers(estimate, truth)))
    freedom, *covered = np.array(rows).T
    at = np.digitize(freedom + 1e-9, FREEDOM)
    found = {
        name: [
            (round(float(of_method[at == place].mean()), 4), int((at == place).sum())) if (at == place).any() else None
            for place in range(1, len(FREEDOM))
        ]
        for name, of_method in zip(("logit", "t"), covered, strict=True)
    }
    return {"shape": shape, "sizes": sizes, "correlation": correlation, "truth": truth, **found}


def sample(
    shape: str, sizes: str, correlation: float, n_clusters: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]:
    """Scores and the cluster of each."""
    from scipy.special import ndtr

    number = SIZES[sizes](n_clusters, rng)
    bad = rng.random(n_clusters) < FAILING if shape in BAD else np.zeros(n_clusters, dtype=bool)
    if shape == BAD[1]:
        number = np.where(bad, TALKATIVE * number, number)
    clusters = np.repeat(np.arange(n_clusters), number)
    of_cluster = rng.normal(size=n_clusters)
    if shape == SPECIAL[1]:
        of_cluster = (of_cluster - np.log(number) / 2) / np.sqrt(1.25)
    normal = np.sqrt(correlation) * of_cluster[clusters] + np.sqrt(1 - correlation) * rng.normal(size=clusters.size)
    scores = _quantiles(shape if shape in SHAPES else "as good speech", ndtr(normal))
    if bad.any():
        scores = np.where(bad[clusters], _quantiles("at the bottom", ndtr(normal)), scores)
    if shape == SPECIAL[0]:
        scores[rng.random(scores.size) < FAILING] = SCALE[0]
    return scores, clusters


def table(cases: list[dict[str, Any]]) -> str:
    """For each shape the lowest and the highest coverage of its cases, in %, by degrees of freedom; before and now."""
    spans = [f"{low} to {high}" for low, high in itertools.pairwise(FREEDOM)]
    lines = [f"| scores | interval | {' | '.join(spans)} |", "|---|---|" + "---|" * len(spans)]
    for shape in (*SHAPES, *SPECIAL, *BAD):
        for method in ("t", "logit"):
            of_shape = [case[method] for case in cases if case["shape"] == shape]
            cells = [_span([bins[place] for bins in of_shape]) for place in range(len(spans))]
            lines.append(f"| {shape} | {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _span(found: list[tuple[float, int] | None]) -> str:
    """Lowest and highest share of those that rest on at least 500 intervals."""
    shares = [100 * cell[0] for cell in found if cell is not None and cell[1] >= 500]
    return f"{min(shares):.0f}\N{EN DASH}{max(shares):.0f}" if shares else ""


def _covers(estimate: Any, truth: float) -> tuple[float, float]:
    """Whether the interval on the logit contains the truth, and the plain one; limits of freedom set aside."""
    if estimate.error == 0:
        return 0.0, 0.0
    anyhow = replace(estimate, withheld=None)
    logit, plain = anyhow.interval(SCALE), anyhow.interval()
    return float(logit[0] <= truth <= logit[1]), float(plain[0] <= truth <= plain[1])


def _quantiles(shape: str, shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    from scipy.special import betaincinv

    known = _quantiles.__dict__.setdefault("known", {})
    if shape not in known:
        known[shape] = SCALE[0] + (SCALE[1] - SCALE[0]) * betaincinv(*SHAPES[shape], _GRID)
    return np.interp(shares, _GRID, known[shape])


def _truth(shape: str, sizes: str, correlation: float) -> float:
    """The mean over clips."""
    if shape in SHAPES:
        a, b = SHAPES[shape]
        return SCALE[0] + (SCALE[1] - SCALE[0]) * a / (a + b)
    if shape in BAD:
        bad = FAILING * (TALKATIVE if shape == BAD[1] else 1)
        good, low = (_truth(each, sizes, correlation) for each in ("as good speech", "at the bottom"))
        return ((1 - FAILING) * good + bad * low) / (1 - FAILING + bad)
    if shape == SPECIAL[0]:
        return FAILING * SCALE[0] + (1 - FAILING) * _truth("as good speech", sizes, correlation)
    rng = np.random.default_rng(0)
    return float(sample(shape, sizes, correlation, 200_000, rng)[0].mean())


if __name__ == "__main__":
    main()
