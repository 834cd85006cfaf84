"""Which n-grams make two corpora differ, by how much, and whether that is more than chance.

Counts by clip from phone sequences; no audio and no model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats
from slm_eval.divergence.incidence import Incidence
from slm_eval.divergence.ngrams import Encoded, encode, window_keys
from slm_eval.run.finished import SIDES, FinishedRun
from slm_eval.speech.clusters import Clusters

# n-grams shown per direction.
SHOWN = 8
# Clusters a side below which no frequency is told from another: their spread is not known.
MIN_CLUSTERS = 8


@dataclass(frozen=True)
class Difference:
    """One n-gram that one side has more of.

    Attributes:
        phones: the n-gram.
        counts: occurrences, generated and real.
        share: of the divergence, 0 to 1.
        z: difference of the frequencies by its standard error; positive: more in generated speech.
    """

    phones: tuple[str, ...]
    counts: tuple[int, int]
    share: float
    z: float


@dataclass(frozen=True)
class Differences:
    """The n-grams of one order that contribute most to the divergence, among those that are not chance.

    Attributes:
        n: phones per n-gram.
        value: the divergence, nats: the sum of the contributions of all types.
        n_types: types on either side.
        n_significant: types whose frequencies differ by more than chance, with 5 % of false discoveries among them
            (Benjamini and Hochberg 1995; Student's t with the clusters of the smaller side less one).
        significant_share: what these types contribute to the divergence, 0 to 1.
        too_often, too_rare: at most ``SHOWN`` each, those that contribute most first.
    """

    n: int
    value: float
    n_types: int
    n_significant: int
    significant_share: float
    too_often: tuple[Difference, ...]
    too_rare: tuple[Difference, ...]


def contributions(a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    """Return what each type adds to a divergence, 1/2 p ln(p/m) + 1/2 q ln(q/m), m = (p + q) / 2, nats, never negative.

    The terms of equation 3.4 of arXiv 2604.24416; they sum to ``divergence.jensen_shannon``.

    Args:
        a, b: shape (T,), aligned counts.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    p, q = a / a.sum(), b / b.sum()
    m = (p + q) / 2
    terms = np.zeros_like(m)
    for side in (p, q):
        seen = side > 0
        terms[seen] += side[seen] * np.log(side[seen] / m[seen]) / 2
    return np.maximum(terms, 0)


def _discoveries(t: Floats, freedom: int) -> npt.NDArray[np.bool_]:
    """Tell which of many t statistics are not 0, at a false discovery rate of 5 %."""
    from scipy.special import stdtr

    p = 2 * stdtr(freedom, -np.abs(t))
    ranked = np.sort(p)
    passed = np.flatnonzero(ranked <= 0.05 * np.arange(1, p.size + 1) / p.size)
    return p <= ranked[passed[-1]] if passed.size else np.zeros(p.size, dtype=bool)


def differences(run: FinishedRun, orders: Iterable[int]) -> list[Differences]:
    """Return the n-grams that make two sides of a run differ, for each n of which both sides have some.

    The standard error of a frequency c/N is that of a ratio over clusters of clips (speakers or prompts where the run
    knows them, else clips): with c_u and n_u the n-gram's count and the number of n-grams of cluster u,
    sum_u (c_u - n_u c/N)^2 U/(U-1) / N^2. An n-gram of a single clip, however often it occurs there, is therefore
    never more than chance.
    """
    spoken: list[list[str]] = []
    clusters: list[npt.NDArray[np.intp]] = []
    for side in SIDES:
        clips = [clip for clip in run.clips[side] if clip["phones"] is not None]
        of_side = Clusters.from_clips(clips).numbered
        # In the order of the clusters, the windows of a cluster stand together: it takes the place of an utterance.
        spoken += [clips[index]["phones"] for index in np.argsort(of_side, kind="stable").tolist()]
        clusters.append(np.sort(of_side))
    n_clusters = [int(numbers[-1]) + 1 if numbers.size else 0 for numbers in clusters]
    numbers = np.concatenate((clusters[0], clusters[1] + n_clusters[0]))
    generated = np.arange(sum(n_clusters)) < n_clusters[0]
    encoded = encode(spoken)
    results = []
    for n, windows in window_keys(encoded, orders):
        sizes = np.bincount(numbers, weights=encoded.n_windows(n), minlength=generated.size).astype(np.int64)
        incidence = Incidence.build(windows, sizes)
        if sizes[generated].any() and sizes[~generated].any():
            results.append(_differences(encoded, n, incidence, generated))
    return results


def _differences(encoded: Encoded, n: int, incidence: Incidence, generated: npt.NDArray[np.bool_]) -> Differences:
    """Compare two sides for one n; ``incidence`` is by cluster, and ``generated`` says which clusters are."""
    counts = incidence.counts(generated), incidence.counts(~generated)
    terms = contributions(*counts)
    frequencies = [side / side.sum() for side in counts]
    variance = _variance(incidence, frequencies[0], generated) + _variance(incidence, frequencies[1], ~generated)
    z = np.where(variance > 0, frequencies[0] - frequencies[1], 0.0) / np.sqrt(np.where(variance > 0, variance, 1.0))
    judged = min(int(np.count_nonzero(incidence.n_windows[side])) for side in (generated, ~generated))
    significant = _discoveries(z, judged - 1) if judged >= MIN_CLUSTERS else np.zeros(z.size, dtype=bool)
    value = float(terms.sum())
    # Equal contributions in the order of the n-grams, so that equal runs write equal reports.
    ranked = np.argsort(-terms, kind="stable")
    ranked = ranked[significant[ranked]]

    def shown(rows: npt.NDArray[np.intp]) -> tuple[Difference, ...]:
        return tuple(
            Difference(
                _phones(encoded, n, int(np.argmax(incidence.windows == incidence.keys[row]))),
                (int(counts[0][row]), int(counts[1][row])),
                float(terms[row] / value),
                float(z[row]),
            )
            for row in rows[:SHOWN].tolist()
        )

    return Differences(
        n=n,
        value=value,
        n_types=terms.size,
        n_significant=ranked.size,
        significant_share=float(terms[significant].sum() / value) if value else 0.0,
        too_often=shown(ranked[z[ranked] > 0]),
        too_rare=shown(ranked[z[ranked] < 0]),
    )


def strangeness(run: FinishedRun, n: int) -> dict[str, float]:
    """Return generated clip id -> mean over its n-grams of 1/2 ln(p/m), nats, for the clips that have n-grams.

    What a clip adds to the divergence: high where it has n-grams that generated speech has too much of.
    """
    spoken = {side: run.phones(side) for side in SIDES}
    n_generated = len(spoken["generated"])
    encoded = encode([*spoken["generated"].values(), *spoken["real"].values()])
    [(_, windows)] = window_keys(encoded, [n])
    sizes = encoded.n_windows(n)
    incidence = Incidence.build(windows, sizes)
    generated = np.arange(sizes.size) < n_generated
    p, q = (counts / max(counts.sum(), 1) for counts in (incidence.counts(generated), incidence.counts(~generated)))
    own = incidence.utterances < n_generated
    rows = np.repeat(np.arange(incidence.keys.size), np.diff(incidence.starts))[own]
    terms = np.log(p[rows] / ((p[rows] + q[rows]) / 2)) / 2
    sums = np.bincount(incidence.utterances[own], weights=terms * incidence.multiplicities[own], minlength=n_generated)
    return {
        clip: total / size
        for clip, total, size in zip(spoken["generated"], sums.tolist(), sizes[:n_generated].tolist(), strict=True)
        if size
    }


def _phones(encoded: Encoded, n: int, window: int) -> tuple[str, ...]:
    """Return the n-gram at a window: keys of large inventories cannot be taken apart."""
    ends = np.cumsum(encoded.n_windows(n))
    clip = int(np.searchsorted(ends, window, side="right"))
    start = int(encoded.lengths[:clip].sum()) + window - (int(ends[clip - 1]) if clip else 0)
    return tuple(str(encoded.inventory[index]) for index in encoded.ids[start : start + n].tolist())


def _variance(incidence: Incidence, frequency: Floats, chosen: npt.NDArray[np.bool_]) -> Floats:
    """Return the squared standard error of each type's frequency in the chosen clusters, (T,); 0 of less than two."""
    sizes = np.where(chosen, incidence.n_windows, 0).astype(np.float64)
    clusters = int(np.count_nonzero(sizes))
    if clusters < 2:
        return np.zeros_like(frequency)
    counts = np.where(chosen[incidence.utterances], incidence.multiplicities, 0).astype(np.float64)
    starts = incidence.starts[:-1]
    squares = np.add.reduceat(counts * counts, starts)
    products = np.add.reduceat(counts * incidence.n_windows[incidence.utterances], starts)
    spread = squares - 2 * frequency * products + frequency**2 * float(sizes @ sizes)
    return np.maximum(spread, 0) * clusters / (clusters - 1) / sizes.sum() ** 2
