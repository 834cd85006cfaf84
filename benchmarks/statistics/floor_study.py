"""Is the floor of pJSD what fresh samples of one source score? Its bias, measured in worlds whose truth can be drawn.

    python benchmarks/statistics/floor_study.py              # all cases: 20 minutes of one core
    python benchmarks/statistics/floor_study.py --cases "200000 200000"
    python benchmarks/statistics/floor_study.py --table      # what was measured, as docs/floor-study.md
    python benchmarks/statistics/floor_study.py --results FILE   # kept elsewhere, for instance of an older slm_eval

A case is a world and the sizes of both sides, in phones. Real corpora are drawn afresh, 100 (30 at 2e5 phones), and as
many of the generated side's size where that differs. The floor is estimated from each real corpus alone; the truth is
the mean score over all pairs of corpora. Written per n:

- truth, sd: mean and standard deviation of the scores of pairs.
- floor, own_sd: mean and standard deviation of the estimates; floor_sd: root mean square of the sds that they state.
- error, error_se: floor - truth, and its standard error, by leaving out one corpus at a time.
- stated: share of corpora with a floor.

The method was chosen in the worlds of ``study.py`` ("seen"); the other worlds were run once, afterwards ("unseen").
"Real speech" deals out the clips of ``tests/data``; the pairs are disjoint, but all are of the same 251 clips, and
error_se does not know of other speech.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from floor_page import MIN_STATED, REAL_SPEECH, page
from real_speech import clips
from study import EVEN, ORDERS, UNEVEN_WORLDS
from study import WORLDS as SEEN
from worlds import World

sys.path.insert(1, str(Path(__file__).parent.parent))
from machine import stamp

from slm_eval.base.arrays import Floats
from slm_eval.divergence.estimators import LN2
from slm_eval.divergence.floor import Floor, draw_splits, floor
from slm_eval.divergence.incidence import Incidence
from slm_eval.divergence.ngrams import encode, window_keys

RESULTS = Path(__file__).parent / "results" / "floor.json"
BEFORE = RESULTS.with_name("floor-before.json")
SPLITS = 40


class Source(Protocol):
    """What corpora are drawn from."""

    def draw(self, n_phones: int, rng: np.random.Generator) -> tuple[Sequence[Sequence[Any]], Sequence[int]]:
        """Return clips and the speaker of each."""


@dataclass(frozen=True)
class Memoryless:
    """Phones independent of each other, the k-th of them in proportion to k^-power."""

    phones: int
    power: float
    length: int = 50

    def draw(self, n_phones: int, rng: np.random.Generator) -> tuple[list[list[int]], list[int]]:
        """Return clips of equal length, each of its own speaker."""
        frequencies = np.arange(1, self.phones + 1) ** -self.power
        spoken = rng.choice(self.phones, n_phones // self.length * self.length, p=frequencies / frequencies.sum())
        clips = spoken.reshape(-1, self.length).tolist()
        return clips, list(range(len(clips)))


UNSEEN: dict[str, Source] = {
    "30 phones, order 1, CV 0.3": World(order=1, phones=30, successors=8, length_cv=0.3, seed=11),
    "50 phones, order 2, CV 0.8, short": World(phones=50, successors=20, length=30, length_cv=0.8, seed=12),
    "36 phones, order 3, equal lengths": World(order=3, phones=36, successors=10, length_cv=0.0, seed=13),
    "two topics, speakers of 6": World(
        speaker_clips=6, accents=(0.5, 0.5), accent_strength=0.7, length_cv=1.0, seed=14
    ),
    "Zipf, no memory": Memoryless(45, 1.0),
    "equal phones, no memory": Memoryless(40, 0.0),
}
WORLDS: dict[str, Source] = {**SEEN, **UNSEEN}
# The last two: the real side is so small that its draws do not reach the sizes wanted.
UNEVEN = ((7_000, 21_000), (4_000, 40_000), (12_000, 10_000), (14_000, 10_000))
# Phones from which a case costs a minute: fewer worlds, and three replicates in ten.
LARGE = 100_000
LARGE_WORLDS = (
    "order 2, CV 1",
    "order 3",
    "speakers of 10",
    "speakers of 10, order 3",
    "36 phones, order 3, equal lengths",
    "two topics, speakers of 6",
    "order 1",
    "longwinded accent",
    "Zipf, no memory",
)
REAL_CLIPS = (30, 60, 120)


@dataclass(frozen=True)
class Case:
    """What is drawn; sizes are in phones, of real speech in clips."""

    world: str
    sizes: tuple[int, int]

    @property
    def name(self) -> str:
        """Key in the results."""
        return f"{self.world} | {self.sizes[0]} {self.sizes[1]}"


def cases() -> list[Case]:
    """Return all of them, small sizes first."""
    even = [Case(world, sizes) for sizes in EVEN for world in (LARGE_WORLDS if max(sizes) >= LARGE else WORLDS)]
    unseen = "50 phones, order 2, CV 0.8, short"
    uneven = [Case(world, sizes) for sizes in UNEVEN for world in (*UNEVEN_WORLDS, unseen)]
    real = [Case(REAL_SPEECH, (n_clips, n_clips)) for n_clips in REAL_CLIPS]
    return sorted([*even, *uneven, *real], key=lambda case: sum(case.sizes))


# ---- drawing ----

Corpora = list[tuple[Sequence[Sequence[Any]], npt.NDArray[Any]]]


def draw(case: Case, replicates: int) -> tuple[Corpora, Corpora]:
    """Return corpora of the generated side's size and of the real side's, each with the cluster of each clip.

    Corpora of equal sizes are the same ones.
    """
    if case.world == REAL_SPEECH:
        return _deal(case.sizes[0], replicates)
    world = WORLDS[case.world]
    rng = np.random.default_rng((*case.sizes, *case.world.encode()))
    named = isinstance(world, World) and world.speaker_clips > 1

    def corpora(size: int) -> Corpora:
        drawn = (world.draw(size, rng) for _ in range(replicates))
        return [(spoken, np.array(speakers) if named else np.arange(len(spoken))) for spoken, speakers in drawn]

    real = corpora(case.sizes[1])
    return real if case.sizes[0] == case.sizes[1] else corpora(case.sizes[0]), real


def _deal(n_clips: int, replicates: int) -> tuple[Corpora, Corpora]:
    """Return pairs of disjoint samples of real clips."""
    speech = clips()
    rng = np.random.default_rng(n_clips)
    orders = [rng.permutation(len(speech)).tolist() for _ in range(replicates)]

    def dealt(part: slice) -> Corpora:
        return [([speech[index] for index in order[part]], np.arange(n_clips)) for order in orders]

    return dealt(slice(n_clips)), dealt(slice(n_clips, 2 * n_clips))


# ---- measuring ----


def measure(case: Case, replicates: int) -> dict[str, Any]:
    """Return an entry per n."""
    first, second = draw(case, replicates)
    corpora = first if first is second else first + second
    both = encode(clip for spoken, _ in corpora for clip in spoken)
    ends = np.cumsum([len(spoken) for spoken, _ in corpora])
    entries = {}
    for n, windows in window_keys(both, ORDERS):
        parts = list(_parts(windows, both.n_windows(n), ends))
        scores = _scores(parts, first is second, case.world == REAL_SPEECH)
        generated = round(np.mean([part[0].size for part in parts[:replicates]]))
        floors = [
            _floor(*part, clusters, generated if case.sizes[0] != case.sizes[1] else part[0].size, seed)
            for seed, (part, (_, clusters)) in enumerate(zip(parts[-replicates:], second, strict=True))
        ]
        entries[str(n)] = _entry(scores, np.array(floors))
    return {"replicates": replicates, **stamp(), "results": entries}


def _parts(windows: Any, n_windows: Any, ends: Any) -> Iterator[tuple[Any, Any]]:
    """Windows of each corpus, and windows per utterance of it."""
    edges = np.concatenate(([0], np.cumsum(n_windows)))
    for first, last in zip([0, *ends[:-1]], ends, strict=True):
        yield windows[edges[first] : edges[last]], n_windows[first:last]


def _floor(windows: Any, n_windows: Any, clusters: Any, generated: int, seed: int) -> tuple[float, float]:
    """Value and sd; NaN where there is none."""
    rng = np.random.default_rng(seed)
    estimate = floor(
        Incidence.build(windows, n_windows),
        slice(0, n_windows.size),
        clusters,
        (generated, windows.size),
        draw_splits(clusters, SPLITS, rng),
    )
    return (estimate.value, estimate.sd) if isinstance(estimate, Floor) else (math.nan, math.nan)


def _scores(parts: list[Any], same: bool, paired: bool) -> Floats:
    """Scores of each first corpus against each second one: shape (R, R), NaN where they are not independent."""
    types, inverse = np.unique(np.concatenate([windows for windows, _ in parts]), return_inverse=True)
    ends = np.cumsum([windows.size for windows, _ in parts])
    known = []
    for rows in np.split(inverse, ends[:-1]):
        counts = np.bincount(rows, minlength=types.size)
        present = np.flatnonzero(counts)
        known.append((present, counts[present] / rows.size))
    replicates = len(parts) if same else len(parts) // 2
    second = known if same else known[replicates:]
    scores = np.full((replicates, replicates), np.nan)
    dense = np.zeros(types.size)
    for row, (present, frequencies) in enumerate(known[:replicates]):
        dense[:] = 0
        dense[present] = frequencies
        for column in [row] if paired else range(row + 1 if same else 0, replicates):
            q, p = second[column][1], dense[second[column][0]]
            p, q = p[p > 0], q[p > 0]
            overlap = (p + q) * np.log(p + q) - p * np.log(p) - q * np.log(q)
            scores[row, column] = LN2 - overlap.sum() / 2
            if same:
                scores[column, row] = scores[row, column]
    return scores


def _entry(scores: Floats, floors: Floats) -> dict[str, Any]:
    truth, sd = float(np.nanmean(scores)), float(np.nanstd(scores))
    values, sds = floors.T
    stated = ~np.isnan(values)
    entry: dict[str, Any] = {"truth": truth, "sd": sd, "stated": float(stated.mean())}
    if stated.sum() < MIN_STATED:
        return entry
    # Leave corpus i out: its floor, and its row and its column of the scores.
    alone = np.diag(scores)
    left = np.nansum(scores) - np.nansum(scores, axis=0) - np.nansum(scores, axis=1) + np.nan_to_num(alone)
    known = ~np.isnan(scores)
    left /= known.sum() - known.sum(axis=0) - known.sum(axis=1) + np.diag(known)
    floors_left = (np.nansum(values) - np.nan_to_num(values)) / (stated.sum() - stated)
    errors = floors_left - left
    n_corpora = errors.size
    return {
        **entry,
        "floor": float(np.nanmean(values)),
        "own_sd": float(np.nanstd(values, ddof=1)),
        "floor_sd": math.sqrt(float(np.nanmean(np.square(sds)))),
        "error": float(np.nanmean(values)) - truth,
        "error_se": math.sqrt((n_corpora - 1) / n_corpora * float(np.square(errors - errors.mean()).sum())),
    }


def main() -> None:
    """Measure the cases that were asked for and are not measured yet, small ones first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=100, help="of each case; 0.3 times as many at 2e5 phones")
    parser.add_argument("--cases", default="", help="a part of their names")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where they are kept")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured")
    parser.add_argument("--table", action="store_true", help="print what was measured, and measure nothing")
    options = parser.parse_args()
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    if not options.table:
        todo = [case for case in cases() if options.cases in case.name]
        todo = [case for case in todo if options.fresh or case.name not in results]
        replicates = [options.replicates * 3 // 10 if max(c.sizes) >= LARGE else options.replicates for c in todo]
        options.results.parent.mkdir(exist_ok=True)
        with ProcessPoolExecutor(options.workers) as pool:
            for case, found in zip(todo, pool.map(measure, todo, replicates), strict=True):
                results[case.name] = found
                options.results.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")
                print(case.name, file=sys.stderr, flush=True)
    print(page(cases(), results, json.loads(BEFORE.read_text())), end="")


if __name__ == "__main__":
    main()
