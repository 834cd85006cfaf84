"""Jensen-Shannon divergence of two count vectors, and estimators that correct it for finite samples.

``jensen_shannon`` is the plug-in of the paper: the divergence of the observed frequencies. It is biased upwards while
most types are rare, and the estimators below remove part of that bias; none removes all of it. ``cwj`` is what the
package reports as ``corrected``.

All results are in nats. Count vectors are aligned: entry t of both counts the same n-gram, and 0 means unseen. They
are called a and b, with N_a = sum(a), p = a / N_a, q = b / N_b, m = (p + q) / 2; f1 and f2 are the numbers of types
seen once and twice, S the number of types seen.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from slm_eval.errors import SlmEvalError
from slm_eval.ngrams import NGramCounts, unify

LN2 = math.log(2)

CountsLike = npt.ArrayLike
Floats = npt.NDArray[np.float64]


class UndefinedError(SlmEvalError, ValueError):
    """The quantity does not exist for these counts: a side has no n-grams."""


def align(a: NGramCounts, b: NGramCounts) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Counts of the n-grams of either corpus, in one order: two arrays of shape (T,).

    Raises:
        ValueError: the two count n-grams of different n.

    >>> align(NGramCounts.from_phones(["aab"], 1), NGramCounts.from_phones(["cb"], 1))
    (array([2, 1, 0]), array([0, 1, 1]))
    """
    a, b = unify(a, b)
    return align_keys(a.keys, a.counts, b.keys, b.counts)


def align_keys(
    keys_a: npt.NDArray[Any],
    counts_a: npt.NDArray[np.int64],
    keys_b: npt.NDArray[Any],
    counts_b: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Counts over the union of two ascending arrays of distinct keys."""
    union = np.union1d(keys_a, keys_b)
    a, b = np.zeros(union.size, dtype=np.int64), np.zeros(union.size, dtype=np.int64)
    a[np.searchsorted(union, keys_a)] = counts_a
    b[np.searchsorted(union, keys_b)] = counts_b
    return a, b


# ---- Jensen-Shannon divergence ----


def jensen_shannon(a: CountsLike, b: CountsLike) -> float:
    """Plug-in Jensen-Shannon divergence, in [0, ln 2].

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


def miller_madow(a: CountsLike, b: CountsLike) -> float:
    """Jensen-Shannon divergence less its bias to first order in 1/N. Arguments and errors: ``jensen_shannon``.

    J - [(S_a - 1)/4N_a + (S_b - 1)/4N_b - 1/8 (sum((p/N_a + q/N_b) / m) - 1/N_a - 1/N_b)]: Miller (1955) for the two
    entropies, the same expansion for that of the mixture. May be negative.
    """
    p, q = _frequencies(a, b)
    n_a, n_b = float(np.sum(a)), float(np.sum(b))
    seen = (p > 0) | (q > 0)
    p, q = p[seen], q[seen]
    of_sides = (np.count_nonzero(p) - 1) / (4 * n_a) + (np.count_nonzero(q) - 1) / (4 * n_b)
    of_mixture = (np.sum((p / n_a + q / n_b) / ((p + q) / 2)) - 1 / n_a - 1 / n_b) / 8
    return jensen_shannon(a, b) - float(of_sides - of_mixture)


def grassberger(a: CountsLike, b: CountsLike) -> float:
    """H(a + b) - 1/2 H(a) - 1/2 H(b) with ``entropy_grassberger``. Arguments and errors: ``cwj``."""
    return _from_entropies(entropy_grassberger, a, b)


def chao_shen(a: CountsLike, b: CountsLike) -> float:
    """H(a + b) - 1/2 H(a) - 1/2 H(b) with ``entropy_chao_shen``. Arguments and errors: ``cwj``."""
    return _from_entropies(entropy_chao_shen, a, b)


def cwj(a: CountsLike, b: CountsLike) -> float:
    """H(a + b) - 1/2 H(a) - 1/2 H(b) with ``entropy_cwj``: what the package reports as ``corrected``.

    Less biased than the plug-in, not unbiased. Only for N_a = N_b: with other sizes the pooled counts are not a sample
    of the mixture m. May be negative, or above ln 2.

    Args:
        a, b: shape (T,), aligned integer counts of equal sum.

    Raises:
        UndefinedError: a side sums to 0.
        ValueError: the sums differ, shapes differ, or an entry is negative or not finite.

    >>> round(cwj([4, 2, 1, 1, 0], [2, 2, 0, 1, 3]), 12)
    0.059661443722
    """
    return _from_entropies(entropy_cwj, a, b)


def jackknife(a: CountsLike, b: CountsLike) -> float:
    """Token jackknife: J + (N_a - 1)(J - J_a) + (N_b - 1)(J - J_b), J_a the mean over deletions of one n-gram of a.

    Quenouille (1956), once per side. Arguments as ``jensen_shannon``, integer counts; may be negative.

    Raises:
        UndefinedError: a side has fewer than two n-grams, so that deleting one leaves nothing.
        ValueError: as ``jensen_shannon``.
    """
    p, q = _frequencies(a, b)
    n_a, n_b = float(np.sum(a)), float(np.sum(b))
    if min(n_a, n_b) < 2:
        raise UndefinedError(f"the jackknife needs two n-grams on each side; got {n_a:.0f} and {n_b:.0f}")
    value = jensen_shannon(a, b)
    without_a = _mean_after_deletion(p, q, n_a)
    without_b = _mean_after_deletion(q, p, n_b)
    return value + (n_a - 1) * (value - without_a) + (n_b - 1) * (value - without_b)


def coverage(a: CountsLike, b: CountsLike) -> float:
    """1 - f1/N of the pooled counts (Good 1953): the share of the next n-grams that would have been seen before.

    Raises:
        UndefinedError: there are no n-grams at all.

    >>> coverage([2, 1, 0], [0, 0, 1])
    0.5
    """
    pooled = np.asarray(a) + np.asarray(b)
    total = int(pooled.sum())
    if total == 0:
        raise UndefinedError("there are no n-grams")
    return 1 - int(np.count_nonzero(pooled == 1)) / total


# ---- entropies of one count vector ----


def entropy(counts: CountsLike) -> float:
    """Plug-in entropy, -sum (c/N) ln(c/N).

    Args:
        counts: shape (T,), not negative.

    Raises:
        UndefinedError: they sum to 0.
    """
    c, total = _seen(counts)
    return float(-np.sum(c / total * np.log(c / total)))


def entropy_miller_madow(counts: CountsLike) -> float:
    """H + (S - 1)/2N (Miller 1955). Arguments and errors: ``entropy``."""
    c, total = _seen(counts)
    return entropy(c) + (c.size - 1) / (2 * total)


def entropy_grassberger(counts: CountsLike) -> float:
    """ln N - sum (c/N) G(c) (Grassberger 2003, arXiv physics/0307138). Integer counts; errors: ``entropy``.

    G(1) = -gamma - ln 2, G(2) = 2 - gamma - ln 2, G(2k+1) = G(2k), G(2k+2) = G(2k) + 2/(2k+1).
    """
    from scipy.special import digamma

    c, how_many, total = _multiplicities(counts)
    half = np.floor(c / 2)
    # sum of 2/(2j+1) for j < k is digamma(k + 1/2) + gamma + 2 ln 2, and digamma(1/2) = -gamma - 2 ln 2.
    g = digamma(half + 0.5) + LN2
    return math.log(total) - float(np.sum(how_many * c * g)) / total


def entropy_chao_shen(counts: CountsLike) -> float:
    """-sum r ln r / (1 - (1-r)^N) with r = C c/N, C = 1 - f1/N (Chao and Shen 2003). Errors: ``entropy``.

    f1 counts as N - 1 where every n-gram is a singleton, since C = 0 would leave nothing to sum.
    """
    c, how_many, total = _multiplicities(counts)
    f1 = min(float(how_many[c == 1].sum()), total - 1)
    r = (1 - f1 / total) * c / total
    # 1 - (1-r)^N without cancellation where r is small; r = 1 only for N = 1 or a single type, where it is 1.
    with np.errstate(divide="ignore"):
        detected = -np.expm1(total * np.log1p(-r))
    return float(np.sum(how_many * r * -np.log(r) / detected))


def entropy_cwj(counts: CountsLike) -> float:
    """Chao, Wang and Jost (2013), doi 10.1111/2041-210X.12108. Integer counts; errors: ``entropy``.

    sum (c/N)(psi(N) - psi(c)) + (f1/N) sum_{k>=0} (1-A)^{k+1} / (N+k), with A = 2 f2 / ((N-1) f1 + 2 f2), or
    2 / ((N-1)(f1-1) + 2) if f2 = 0; the second term, for what was not seen, is 0 if f1 = 0 or A = 1.
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
    """Both sides as float64 frequencies of shape (T,)."""
    sides = [np.asarray(side, dtype=np.float64) for side in (a, b)]
    if sides[0].shape != sides[1].shape or sides[0].ndim != 1:
        raise ValueError(f"two aligned vectors of counts are needed; got shapes {sides[0].shape} and {sides[1].shape}")
    for name, side in zip("ab", sides, strict=True):
        if not np.all(np.isfinite(side)) or np.any(side < 0):
            wrong = side[~(np.isfinite(side) & (side >= 0))][0]
            raise ValueError(f"counts are finite and not negative; side {name} has {wrong}")
        if side.sum() == 0:
            raise UndefinedError(f"side {name} has no n-grams: the divergence is undefined")
    return sides[0] / sides[0].sum(), sides[1] / sides[1].sum()


def _kl_to_mixture(p: Floats, q: Floats) -> float:
    """KL(p || (p+q)/2), with 0 ln 0 = 0."""
    seen = p > 0
    p, q = p[seen], q[seen]
    return float(np.sum(p * np.log(p / ((p + q) / 2))))


def _clamp(divergence: float) -> float:
    """0 for a rounding error below it; anything further down is a mistake and is not hidden."""
    if divergence <= -1e-12:
        raise ArithmeticError(f"a Jensen-Shannon divergence came out as {divergence}: please report this")
    return max(divergence, 0.0)


def _from_entropies(estimator: Any, a: CountsLike, b: CountsLike) -> float:
    _frequencies(a, b)  # the checks
    a, b = np.asarray(a), np.asarray(b)
    if a.sum() != b.sum():
        raise ValueError(f"this estimator needs equally many n-grams on both sides; got {a.sum()} and {b.sum()}")
    return float(estimator(a + b) - 0.5 * estimator(a) - 0.5 * estimator(b))


def _mean_after_deletion(p: Floats, q: Floats, n: float) -> float:
    """Mean over the n n-grams of the first side of the divergence without that one.

    J = ln 2 - 1/2 sum phi(p, q), so deleting one n-gram of type t from side p renormalised to n - 1 changes one term.
    """
    p_kept = p * (n / (n - 1))
    whole = _phi(p_kept, q)
    less_one = _phi(np.maximum(p_kept - 1 / (n - 1), 0), q)
    return LN2 - 0.5 * float(whole.sum() + np.sum(p * (less_one - whole)))


def _phi(p: Floats, q: Floats) -> Floats:
    """(p+q) ln(p+q) - p ln p - q ln q: 0 unless both are positive."""
    both = (p > 0) & (q > 0)
    result = np.zeros_like(p)
    p, q = p[both], q[both]
    result[both] = p * np.log1p(q / p) + q * np.log1p(p / q)
    return result


def _seen(counts: CountsLike) -> tuple[Floats, float]:
    """The positive counts as float64, and their sum."""
    c = np.asarray(counts, dtype=np.float64)
    c = c[c > 0]
    if c.size == 0:
        raise UndefinedError("there are no n-grams: the entropy is undefined")
    return c, float(c.sum())


def _multiplicities(counts: CountsLike) -> tuple[Floats, Floats, float]:
    """Distinct positive counts, how many types have each, and N: sums over types become sums over few values."""
    c, total = _seen(counts)
    values, how_many = np.unique(c, return_counts=True)
    return values, how_many.astype(np.float64), total


def _ratio(x: float, y: float) -> float:
    return x / (x + y)


def _power_tail(x: float, n: float) -> float:
    """sum_{k>=0} x^(k+1) / (n+k) for 0 <= x < 1 and n >= 1, to about 1e-15 relative.

    The first terms are added up. Where x is so near 1 that more remain, they are an integral plus three corrections
    at its lower end (Euler-Maclaurin): the integral of x^k/(n+k) from M is x^-n E1((n+M) ln 1/x).
    """
    if x == 0:
        return 0.0
    m = 4096
    k = np.arange(m)
    rate = -math.log(x)
    total = float(np.sum(np.exp(-rate * k) / (n + k)))
    if rate * m < 40:
        # e^z E1(z) is U(1, 1, z): e^z alone overflows for large z.
        from scipy.special import hyperu

        u = n + m
        edge = math.exp(-rate * m) / u
        first = rate + 1 / u  # minus the logarithmic derivative of the term
        third = rate**3 + 3 * rate**2 / u + 6 * rate / u**2 + 6 / u**3
        total += math.exp(-rate * m) * float(hyperu(1, 1, u * rate)) + edge * (0.5 + first / 12 - third / 720)
    return x * total
