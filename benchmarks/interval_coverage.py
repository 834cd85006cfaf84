"""Do 95 % intervals cover? Measured by simulation, where the truth is known. ``coverage.py`` runs it.

Each case draws fresh corpora again and again. What an interval of pJSD should cover is the expectation of the plug-in
value at these sizes, so the truth is the mean over the replicates, and the true sd is theirs. A case is written to
results/coverage.json as soon as it is measured and replaces what was there; others stay, so large sizes may run apart.

Phones: two order-1 Markov chains of 40 phones; an utterance takes each step by the second chain with a probability w
of its own. Real speech has w of mean 0.1. "same": so has generated speech; "shifted": there it is 0.3.

- homogeneous: one w for all; 120 phones each.
- heterogeneous: w from a beta distribution per utterance; 40 to 199 phones.
- speakers: w from a beta distribution per speaker, four utterances each, drawn together; 40 to 199 phones.

Means of scores are in ``statistics/mean_study.py``.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from machine import stamp

from slm_eval.divergence import jensen_shannon
from slm_eval.incidence import Incidence, side_ranges
from slm_eval.ngrams import Encoded, window_keys
from slm_eval.statistics import draw_halves, half_sampling, interval

RESULTS = Path(__file__).parent / "results" / "coverage.json"
ORDERS = range(1, 6)
N_PHONES, PHONES_PER_UTTERANCE, UTTERANCES_PER_SPEAKER, PAIRS = 40, 120, 4, 64
MEAN_W = {"same": 0.1, "shifted": 0.3}
# Beta distributions have mean w and these sums of both parameters: sds of 0.17 and 0.13 at w = 0.1.
SPREAD = {"heterogeneous": 2.0, "speakers": 4.0}
SOURCES = ("homogeneous", *SPREAD)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]
# Of one replicate and n: value, sd, low, high; NaN where withheld.
Row = tuple[float, float, float, float]


# ---- phones ----


def utterances(source: str, w: float, n_phones: int, rng: np.random.Generator) -> tuple[Any, Ints, Ints]:
    """One side: flat phones, length and cluster of each utterance."""
    size = round(n_phones / PHONES_PER_UTTERANCE)
    clusters = np.arange(size) // (UTTERANCES_PER_SPEAKER if source == "speakers" else 1)
    lengths = np.full(size, PHONES_PER_UTTERANCE) if source == "homogeneous" else rng.integers(40, 200, size)
    shares = np.full(size, w)
    if source in SPREAD:
        shares = rng.beta(SPREAD[source] * w, SPREAD[source] * (1 - w), size=int(clusters.max()) + 1)[clusters]
    rows = [np.random.default_rng(seed).dirichlet(np.full(N_PHONES, 0.3), N_PHONES) for seed in (1, 9)]
    cumulative = np.stack(rows).cumsum(axis=2)
    states = rng.integers(N_PHONES, size=size)
    # The first five steps forget the uniform start.
    phones = np.empty((size, 5 + lengths.max()), dtype=np.uint8)
    for position in range(phones.shape[1]):
        second = (rng.random(size) < shares).astype(np.intp)
        below = cumulative[second, states] < rng.random(size)[:, None]
        states = np.minimum(below.sum(axis=1), N_PHONES - 1)
        phones[:, position] = states
    return phones[:, 5:][np.arange(lengths.max()) < lengths[:, None]], lengths, clusters


def divergence_replicate(source: str, difference: str, n_phones: int, replicate: int) -> list[Row]:
    """One pair of fresh corpora: a row per n."""
    case = (SOURCES.index(source), list(MEAN_W).index(difference))
    rng = np.random.default_rng((*case, n_phones, replicate))
    generated = utterances(source, MEAN_W[difference], n_phones, rng)
    real = utterances(source, MEAN_W["same"], n_phones, rng)
    encoded = Encoded(
        np.concatenate((generated[0], real[0])), np.concatenate((generated[1], real[1])), tuple(range(N_PHONES))
    )
    halves = draw_halves(generated[2], PAIRS, rng), draw_halves(real[2], PAIRS, rng)
    return [
        _row(Incidence.build(keys, encoded.n_windows(n)), (generated[2], real[2]), halves)
        for n, keys in window_keys(encoded, ORDERS)
    ]


def _row(incidence: Incidence, clusters: tuple[Ints, Ints], halves: Any) -> Row:
    of_side, n_generated = np.arange(incidence.n_windows.size), clusters[0].size
    ranges = side_ranges(incidence, n_generated)
    counts = [incidence.counts((of_side >= side.start) & (of_side < side.stop)) for side in ranges]
    value, sd = jensen_shannon(*counts), half_sampling(incidence, n_generated, halves)
    if sd is None:
        return value, math.nan, math.nan, math.nan
    around = interval(value, sd, clusters, int(np.minimum(*counts).sum()))
    return (value, sd, *(around if isinstance(around, tuple) else (math.nan, math.nan)))


def divergence_case(rows: list[list[Row]]) -> list[dict[str, Any]]:
    """Of all replicates, an entry per n."""
    entries = []
    for n, (values, sds, low, high) in zip(ORDERS, np.array(rows).transpose(1, 2, 0), strict=True):
        given = ~np.isnan(low)
        truth, sd = float(values.mean()), float(values.std(ddof=1))
        entries.append(
            {
                "n": n,
                "truth": truth,
                "sd": sd,
                "sd_ratio": float(np.nanmean(sds)) / sd,
                # Of the true sd, for values that are nearly normal.
                "sd_ratio_error": float(np.nanmean(sds)) / sd / math.sqrt(2 * (values.size - 1)),
                "withheld": float(1 - given.mean()),
                **_coverage((low <= truth)[given] & (truth <= high)[given]),
            }
        )
    return entries


# ---- measuring ----


def measure(
    at: dict[str, Any],
    replicate: Callable[[int], Any],
    summarise: Callable[..., list[dict[str, Any]]],
    replicates: int,
    workers: int,
) -> None:
    """Measure a case and write it beside the others."""
    with ProcessPoolExecutor(workers) as pool:
        rows = list(pool.map(replicate, range(replicates), chunksize=max(replicates // 50, 1)))
    name = " ".join(map(str, at.values()))
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[name] = {**at, "replicates": replicates, **stamp(), "results": summarise(rows)}
    RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")
    print(name, flush=True)


def _coverage(covered: npt.NDArray[np.bool_]) -> dict[str, float | None]:
    """Share that covers, and its Monte Carlo error: one standard error of a share."""
    if not covered.size:
        return {"coverage": None, "coverage_error": None}
    share = float(covered.mean())
    return {"coverage": share, "coverage_error": math.sqrt(share * (1 - share) / covered.size)}


def table(results: dict[str, Any]) -> str:
    """A Markdown table: coverage in % (sd over the true sd)."""
    lines = ["| phones a side | utterances | generated | replicates | " + " | ".join(f"n={n}" for n in ORDERS) + " |"]
    lines.append("|" + "---|" * (4 + len(ORDERS)))
    order = {name: at for at, name in enumerate(SOURCES)}
    for each in sorted(results.values(), key=lambda case: (case["phones"], order[case["source"]], case["difference"])):
        cells = [_cell(entry) for entry in each["results"]]
        head = [f"{each['phones']:.0e}".replace("e+0", "e"), each["source"], each["difference"], each["replicates"]]
        lines.append(f"| {' | '.join(map(str, [*head, *cells]))} |")
    return "\n".join(lines)


def _cell(entry: dict[str, Any]) -> str:
    if entry["coverage"] is None:
        return "withheld"
    partly = f", {100 * entry['withheld']:.0f} % withheld" if entry["withheld"] else ""
    return f"{100 * entry['coverage']:.0f} % ({entry['sd_ratio']:.2f}{partly})"


def main() -> None:
    """Measure the cases that were asked for, small sizes first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phones", type=float, nargs="*", help="a side; without it 1e3, 1e4, 1e5")
    parser.add_argument("--replicates", type=int, default=400, help="of each case")
    parser.add_argument("--sources", nargs="*", choices=SOURCES, default=SOURCES, help="of phones")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--table", action="store_true", help="print what was measured before, and measure nothing")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(RESULTS.read_text())))
        return
    for n_phones in map(int, options.phones or (1e3, 1e4, 1e5)):
        for source in options.sources:
            for difference in MEAN_W:
                at = {"of": "pJSD", "phones": n_phones, "source": source, "difference": difference}
                once = partial(divergence_replicate, source, difference, n_phones)
                measure(at, once, divergence_case, options.replicates, options.workers)
