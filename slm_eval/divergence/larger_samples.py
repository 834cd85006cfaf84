"""What two samples of a source would score that are larger than the one at hand: an unbiased estimate by signed draws.

Let each cluster of utterances fall to sample a with probability s_a, to b with s_b, to neither with 1 - s_a - s_b.
Where s_a + s_b is 1 at most, a and b are disjoint parts of the side. The expectation over the draws is a polynomial in
s_a and s_b. It stays an unbiased estimate for two fresh samples of s_a N and s_b N n-grams where the last of the
"probabilities" is negative, as the estimate of unseen species of Good and Toulmin (1956) does. Up to s_a + s_b = 2 its
noise is bounded; beyond, it explodes.

J = ln 2 - sum phi / 2, and the overlap of a type, phi(p, q) = (p+q) ln(p+q) - p ln p - q ln q, is the integral of
(1 - exp(-u p)) (1 - exp(-u q)) / u^2 over u > 0. Exponentials of sums over clusters are products over clusters, so the
expectation is written down without drawing anything. With f = 1 - s + s exp(-u m / n) for a cluster that has the type m
times, and n the size that is wanted, that of (1 - exp(-u p)) (1 - exp(-u q)) is

    1 - prod f_a - prod f_b + prod (f_a + f_b - 1)

Letters: N n-grams of the side, E entries (a type in a cluster), M distinct multiplicities, D distinct patterns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats
from slm_eval.divergence.incidence import Incidence
from slm_eval.divergence.ngrams import Counts

# Largest s_a + s_b.
MAX_SHARES = 2.0
# Step of ln u: the sum is within 1e-6 of the integral (measured against a step of 0.1).
_STEP = 0.4
# First node, and last one as a multiple of the larger size. Beyond them the integrand is a power of u.
_FIRST, _LAST = 1e-5, 25.0
# A product of k negative factors stands for what is 0 in expectation but for small k, and is pure noise for large k. It
# is faded out by a binomial tail (Efron and Thisted 1976), which leaves alternating sums as they are.
_FADING = 12
# Change of the shares from which the curvature of the expectation is measured.
_CHANGE = 0.1


@dataclass(frozen=True, eq=False)
class Spectrum:
    """How the types of a side are spread over its clusters.

    Types that occur equally often in equally many clusters are one pattern, so there are a few thousand at most for a
    million n-grams.

    Attributes:
        sizes: n-grams of each cluster that has any.
        multiplicities: shape (M,), ascending.
        patterns: sparse, shape (D, M): clusters that have the type so many times. The last is of all types together.
        weights: shape (D,), types of each pattern; -1 for that of all types.
    """

    sizes: Counts
    multiplicities: Counts
    patterns: Any
    weights: Floats

    @classmethod
    def from_side(cls, incidence: Incidence, side: slice, clusters: npt.NDArray[np.intp]) -> Spectrum:
        """Count patterns; arguments as of ``floor.floor``."""
        from scipy.sparse import csr_matrix

        sizes = np.bincount(clusters, weights=incidence.n_windows[side]).astype(np.int64)
        sizes = sizes[sizes > 0]
        lengths, entries = _entries(incidence, side, clusters)
        entries, lengths = np.concatenate((entries, sizes)), np.append(lengths, sizes.size)
        multiplicities, columns = _rank(entries)
        starts = np.cumsum(lengths) - lengths
        # Equal multisets have equal sums of random numbers; unequal ones do not, but for one case in 2^64.
        marks = np.random.default_rng(0).integers(2**64, size=multiplicities.size, dtype=np.uint64)
        marks = np.add.reduceat(marks[columns], starts)
        _, firsts, types = np.unique(marks[:-1], return_index=True, return_counts=True)
        chosen = np.append(firsts, lengths.size - 1)
        taken = np.zeros(lengths.size, dtype=bool)
        taken[chosen] = True
        columns, lengths = columns[np.repeat(taken, lengths)], lengths[taken]
        weights = np.empty(taken.size)
        weights[chosen] = np.append(types, -1.0)
        patterns = csr_matrix(
            (np.ones(columns.size), columns, np.concatenate(([0], np.cumsum(lengths)))),
            shape=(lengths.size, multiplicities.size),
        )
        patterns.sum_duplicates()
        return cls(sizes, multiplicities, patterns, weights[taken])


def expected_score(spectrum: Spectrum, wanted: tuple[float, float]) -> float:
    """Return the expected divergence of two fresh samples of a source.

    The draws leave the sizes of the samples to chance. What that adds is, to second order, half the curvature of the
    score in the sizes times their variance; both are known.

    Args:
        spectrum: of one sample of the source, N n-grams.
        wanted: n-grams of the two samples, together 2 N at most.

    Returns:
        nats, with noise: not bound to [0, ln 2].
    """
    total = float(spectrum.sizes.sum())
    a, b = (size / total for size in wanted)
    score = _mean_score(spectrum, wanted, (a, b))
    # Sizes of drawn samples have the covariances diag(s) - s s', s = (a, b), times the sum of the clusters' squared
    # sizes. That matrix is v v' times ``across`` plus s s' times ``along``, v = (1, -1): two directions are enough.
    across, along = a * b / (a + b), 1 / (a + b) - 1
    spread = float(np.square(spectrum.sizes.astype(np.float64)).sum()) / total**2
    curvature = across * _across(spectrum, wanted, (a, b), score) + along * _along(spectrum, wanted, (a, b), score)
    return score - spread * curvature / 2


def _across(spectrum: Spectrum, wanted: tuple[float, float], shares: tuple[float, float], score: float) -> float:
    """Return the second derivative of the mean score in the direction (1, -1)."""
    step = _CHANGE * min(shares)
    a, b = shares
    up = _mean_score(spectrum, wanted, (a + step, b - step))
    down = up if wanted[0] == wanted[1] else _mean_score(spectrum, wanted, (a - step, b + step))
    return (up - 2 * score + down) / step**2


def _along(spectrum: Spectrum, wanted: tuple[float, float], shares: tuple[float, float], score: float) -> float:
    """Return the second derivative in the direction of the shares, from smaller ones: larger ones have more noise."""
    one, two = (
        _mean_score(spectrum, wanted, (shares[0] * less, shares[1] * less)) for less in (1 - _CHANGE, 1 - 2 * _CHANGE)
    )
    return (score - 2 * one + two) / _CHANGE**2


def _mean_score(spectrum: Spectrum, wanted: tuple[float, float], shares: tuple[float, float]) -> float:
    """Return the expectation over draws of shares s_a, s_b: minus half of the sum of phi, that of all types taken off.

    Frequencies are counts over the sizes that are wanted, whatever the draws bring.
    """
    largest = max(wanted)
    ln_u = np.arange(math.log(_FIRST), math.log(_LAST * largest) + _STEP, _STEP)
    nodes = -np.outer(spectrum.multiplicities, np.exp(ln_u))
    a, b = (share * np.expm1(nodes / size) for share, size in zip(shares, wanted, strict=True))
    product_a = _products(spectrum, a)
    product_b = product_a if wanted[0] == wanted[1] and shares[0] == shares[1] else _products(spectrum, b)
    overlap = spectrum.weights @ (_products(spectrum, a + b) - product_a - product_b)
    integrand = overlap * np.exp(-ln_u)
    # Below the first node the integrand is proportional to u, beyond the last one to 1 / u: geometric series.
    ends = (integrand[0] + integrand[-1]) / math.expm1(_STEP)
    return -_STEP * float(integrand.sum() + ends) / 2


def _products(spectrum: Spectrum, factors: Floats) -> Floats:
    """Multiply factors over the clusters of each pattern.

    Args:
        spectrum: of a side.
        factors: less 1, shape (M, nodes), from -2 to 0. Near 0 they would lose in digits what thousands of them need.

    Returns:
        products less 1, shape (D, nodes).
    """
    # The smallest normal number stands for a factor of 0.
    size = np.maximum(np.abs(1 + factors), np.finfo(np.float64).tiny)
    products: Floats = np.expm1(
        spectrum.patterns @ np.where(factors > -0.5, np.log1p(np.maximum(factors, -0.5)), np.log(size))
    )
    negative = factors < -1
    nodes = negative.any(axis=0)
    if nodes.any():
        counts = (spectrum.patterns @ negative[:, nodes]).astype(np.intp)
        products[:, nodes] = (products[:, nodes] + 1) * _signs()[np.minimum(counts, _FADING + 1)] - 1
    return products


@lru_cache
def _signs() -> Floats:
    """Return the sign of a product of k negative factors, faded out: shape (_FADING + 2,)."""
    tails = [sum(math.comb(_FADING, i) for i in range(k, _FADING + 1)) / 2**_FADING for k in range(_FADING + 2)]
    return np.array(tails) * (-1.0) ** np.arange(_FADING + 2)


def _entries(
    incidence: Incidence, side: slice, clusters: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return how many clusters have each type that two or more have, and how often each of them has it."""
    from scipy.sparse import csr_matrix

    kept = (incidence.utterances >= side.start) & (incidence.utterances < side.stop)
    lengths = np.add.reduceat(kept, incidence.starts[:-1], dtype=np.int64)
    # A type of one cluster overlaps with nothing. Most are of one utterance: without these the rest is cheap.
    kept &= np.repeat(lengths > 1, np.diff(incidence.starts))
    lengths = lengths[lengths > 1]
    counts = csr_matrix(
        (
            incidence.multiplicities[kept].astype(np.int64),
            clusters[incidence.utterances[kept] - side.start],
            np.concatenate(([0], np.cumsum(lengths))),
        ),
        shape=(lengths.size, int(clusters.max()) + 1),
    )
    counts.sum_duplicates()
    lengths = np.diff(counts.indptr).astype(np.int64)
    return lengths[lengths > 1], counts.data[np.repeat(lengths > 1, lengths)]


def _rank(values: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.intp]]:
    """Return distinct values, ascending, and which of them each value is: a table is faster than sorting."""
    present = np.bincount(values) > 0
    return np.flatnonzero(present), (np.cumsum(present) - 1)[values]
