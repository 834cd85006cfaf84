"""Jensen-Shannon divergence of two count vectors, the coverage of their n-grams, and an entropy.

``jensen_shannon`` is the plug-in of the paper: the divergence of the observed frequencies. It is biased upwards while
most types are rare; ``correction`` has what is done about that.

All results are in nats. Count vectors are aligned: entry t of both counts the same n-gram, and 0 means unseen. They
are called a and b, with N_a = sum(a), p = a / N_a, q = b / N_b; f1 and f2 are the numbers of types seen once and twice.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats
from slm_eval.base.errors import SlmEvalError

LN2 = math.log(2)

CountsLike = npt.ArrayLike


class UndefinedError(SlmEvalError, ValueError):
    """The quantity does not exist for these counts: a side has no n-grams."""


def align_keys(
    keys_a: npt.NDArray[Any],
    counts_a: npt.NDArray[np.int64],
    keys_b: npt.NDArray[Any],
    counts_b: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return counts over the union of two ascending arrays of distinct keys."""
    union = np.union1d(keys_a, keys_b)
    a, b = np.zeros(union.size, dtype=np.int64), np.zeros(union.size, dtype=np.int64)
    a[np.searchsorted(union, keys_a)] = counts_a
    b[np.searchsorted(union, keys_b)] = counts_b
    return a, b


# ---- Jensen-Shannon divergence ----


def jensen_shannon(a: CountsLike, b: CountsLike) -> float:
    """Return the plug-in Jensen-Shannon divergence, in [0, ln 2].

    Equations 3.4 to 3.6 of arXiv 2604.24416: 1/2 KL(p || m) + 1/2 KL(q || m).

    Args:
        a, b: shape (T,), aligned counts; not negative. Frequencies do as well, since each side is divided by its sum.

    Raises:
        UndefinedError: a side sums to 0.
        ValueError: shapes differ, or an entry is negative or not finite.

    >>> round(jensen_shannon([1, 1], [1, 0]), 12)
    0.215761554339
    """
    p, q = _frequencies(a, b)
    # p ln(p/m) = p ln 2 - p ln((p+q)/p) vanishes against p ln 2 unless both sides have the n-gram, but small
    # divergences would drown in that cancellation: sum the two KL terms as they are written.
    return _clamp(0.5 * _kl_to_mixture(p, q) + 0.5 * _kl_to_mixture(q, p))


def coverage(a: CountsLike, b: CountsLike) -> float:
    """Return 1 - f1/N of the pooled counts (Good 1953): the share of the next n-grams that were seen before.

    Raises:
        UndefinedError: there are no n-grams at all.

    >>> coverage([2, 1, 0], [0, 0, 1])
    0.5
    """
    pooled = np.asarray(a) + np.asarray(b)
    total = int(pooled.sum())
    if total == 0:
        raise UndefinedError("expected at least one n-gram; both sides are empty, so their coverage is undefined")
    return 1 - int(np.count_nonzero(pooled == 1)) / total


# ---- entropy of one count vector ----


def entropy_cwj(counts: CountsLike) -> float:
    """Return the entropy estimate of Chao, Wang and Jost (2013), doi 10.1111/2041-210X.12108, of integer counts.

    sum (c/N)(psi(N) - psi(c)) + (f1/N) sum_{k>=0} (1-A)^{k+1} / (N+k), with A = 2 f2 / ((N-1) f1 + 2 f2), or
    2 / ((N-1)(f1-1) + 2) if f2 = 0; the second term, for what was not seen, is 0 if f1 = 0 or A = 1.

    Raises:
        UndefinedError: they sum to 0.
    """
    from scipy.special import digamma

    c, how_many, total = _multiplicities(counts)
    observed = float(np.sum(how_many * c * (digamma(total) - digamma(c)))) / total
    f1, f2 = float(how_many[c == 1].sum()), float(how_many[c == 2].sum())
    if f1 == 0:
        return observed
    # 1 - A, written without the subtraction.
    missed = (total - 1) * f1 / ((total - 1) * f1 + 2 * f2) if f2 > 0 else _ratio((total - 1) * (f1 - 1), 2)
    return observed + f1 / total * _power_tail(missed, total)


# ---- parts ----


def _frequencies(a: CountsLike, b: CountsLike) -> tuple[Floats, Floats]:
    """Return both sides as float64 frequencies of shape (T,)."""
    sides = [np.asarray(side, dtype=np.float64) for side in (a, b)]
    if sides[0].shape != sides[1].shape or sides[0].ndim != 1:
        raise ValueError(f"expected two aligned vectors of counts; got shapes {sides[0].shape} and {sides[1].shape}")
    for name, side in zip("ab", sides, strict=True):
        if not np.all(np.isfinite(side)) or np.any(side < 0):
            wrong = side[~(np.isfinite(side) & (side >= 0))][0]
            raise ValueError(f"counts of side {name} must be finite and not negative; got {wrong}")
        if side.sum() == 0:
            raise UndefinedError(f"side {name} has no n-grams: the divergence is undefined")
    return sides[0] / sides[0].sum(), sides[1] / sides[1].sum()


def _kl_to_mixture(p: Floats, q: Floats) -> float:
    """Return KL(p || (p+q)/2), with 0 ln 0 = 0."""
    seen = p > 0
    p, q = p[seen], q[seen]
    return float(np.sum(p * np.log(p / ((p + q) / 2))))


def _clamp(divergence: float) -> float:
    """Return 0 for a rounding error below it; anything further down is a mistake and is not hidden."""
    if divergence <= -1e-12:
        raise ArithmeticError(
            f"expected a Jensen-Shannon divergence of at least 0, got {divergence}; please report this"
        )
    return max(divergence, 0.0)


def _seen(counts: CountsLike) -> tuple[Floats, float]:
    """Return the positive counts as float64, and their sum."""
    c = np.asarray(counts, dtype=np.float64)
    c = c[c > 0]
    if c.size == 0:
        raise UndefinedError("expected at least one n-gram; there is none, so the entropy is undefined")
    return c, float(c.sum())


def _multiplicities(counts: CountsLike) -> tuple[Floats, Floats, float]:
    """Return distinct positive counts, how many types have each, and N: sums over types become sums over few values."""
    c, total = _seen(counts)
    values, how_many = np.unique(c, return_counts=True)
    return values, how_many.astype(np.float64), total


def _ratio(x: float, y: float) -> float:
    return x / (x + y)


def _power_tail(x: float, n: float) -> float:
    """Return sum_{k>=0} x^(k+1) / (n+k) for 0 <= x < 1 and n >= 1, to about 1e-15 relative.

    The first terms are added up. Where x is so near 1 that more remain, they are an integral plus three corrections
    at its lower end (Euler-Maclaurin): the integral of x^k/(n+k) from M is x^-n E1((n+M) ln 1/x).
    """
    if x == 0:
        return 0.0
    m = 4096  # terms that are added up as they are
    k = np.arange(m)
    rate = -math.log(x)
    total = float(np.sum(np.exp(-rate * k) / (n + k)))
    if rate * m < 40:  # e^-40 of the sum remains: below the last digit of a double
        # e^z E1(z) is U(1, 1, z): e^z alone overflows for large z.
        from scipy.special import hyperu

        u = n + m
        edge = math.exp(-rate * m) / u
        first = rate + 1 / u  # minus the logarithmic derivative of the term
        third = rate**3 + 3 * rate**2 / u + 6 * rate / u**2 + 6 / u**3
        total += math.exp(-rate * m) * float(hyperu(1, 1, u * rate)) + edge * (0.5 + first / 12 - third / 720)
    return x * total
