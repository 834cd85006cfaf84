"""pJSD against the amount of speech: rarefaction curves, and how much speech tells two systems apart.

A plug-in divergence falls as the samples grow, and the smaller side sets it. So a value is read beside its curve
(``rarefaction``), and where two systems are not told apart the curves of their scores say how much speech would do it
(``phones_needed``).

Everything is measured on the speech at hand, by cutting it into nested parts: eighths, quarters, halves and all of it.
Disjoint parts are fresh samples to each other, so their spread is the sampling sd at that size without any theory of
how it scales. The order of the utterances changes nothing; divergences are in nats.

Letters: S splits, P parts (eighths), U utterances, N n-grams a side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from slm_eval.base.arrays import Floats
from slm_eval.divergence.cutting import PIECES, Corpus, CutCorpora, Labels
from slm_eval.divergence.incidence import Incidence
from slm_eval.divergence.nested import Level, nested_scores
from slm_eval.divergence.resampling import Undefined

# Two-sided 5 % and a power of 80 %: quantiles 0.975 and 0.8 of the normal distribution.
_DETECTABLE = 1.959964 + 0.841621
# Below this many standard errors even the sign of a difference is not known, and so no size that would show it.
_MIN_Z = 1.0
# No further than this beyond the speech at hand: a straight line fitted over a factor of 8 is not to be carried on.
MAX_GROWTH = 32.0
# Exponents of z = difference / sd against size: 1/2 where utterances count each by itself, 1 where pairs of them do.
_EXPONENTS = (0.35, 1.0)


@dataclass(frozen=True)
class Point:
    """The score at one size.

    Attributes:
        n_phones, n_ngrams: of one side, in the mean.
        value: mean score, nats.
        sd: sampling sd of one such score; of the largest size carried on from the two below it.
    """

    n_phones: float
    n_ngrams: float
    value: float
    sd: float


@dataclass(frozen=True)
class Rarefaction:
    """Scores against size for one n, small sizes first.

    Attributes:
        generated: generated against real speech, up to the size of the smaller side.
        real: one part of real speech against another, up to half of it.
    """

    n: int
    generated: tuple[Point, ...]
    real: tuple[Point, ...] | Undefined


@dataclass(frozen=True)
class PhonesNeeded:
    """How much speech would tell two systems apart, at 5 % two-sided with a power of 80 %.

    Attributes:
        n_phones: of each system and of real speech, rounded to two digits.
        at: phones a side at which the difference was measured.
        difference: J(A, R) - J(B, R) there, nats.
        sd: sampling sd of that difference.
    """

    n: int
    n_phones: int
    at: int
    difference: float
    sd: float

    @property
    def z(self) -> float:
        """Return the difference in standard deviations, at the size at hand."""
        return abs(self.difference) / self.sd if self.sd else math.inf


def rarefaction(
    generated: Corpus,
    real: Corpus,
    orders: Iterable[int],
    *,
    seed: int = 0,
    splits: int = 8,
    generated_clusters: Labels = None,
    real_clusters: Labels = None,
) -> dict[int, Rarefaction | Undefined]:
    """Measure how pJSD falls with size, generated against real and real against real.

    Args:
        generated, real: one sequence of phones per utterance.
        orders: values of n.
        seed: of the random splits.
        splits: S, random cuts into eighths that are averaged.
        generated_clusters, real_clusters: a sortable label per utterance; those of one label stay together.

    Returns:
        n -> its curves, or why there are none.

    Raises:
        ValueError: labels that do not match the utterances in number.
    """
    corpora = CutCorpora.from_corpora([generated, real], [generated_clusters, real_clusters], seed)
    return {n: _curves(n, corpora.incidence(n, windows), corpora, splits) for n, windows in corpora.windows(orders)}


def phones_needed(
    first: Corpus,
    second: Corpus,
    real: Corpus,
    orders: Iterable[int],
    *,
    seed: int = 0,
    splits: int = 16,
    clusters: tuple[Labels, Labels, Labels] = (None, None, None),
    paired: bool = False,
) -> dict[int, PhonesNeeded | Undefined]:
    """Estimate the size at which J(first, real) and J(second, real) would be told apart, for each n.

    All three are cut to equal size. How the difference, its sd, and so their ratio z change with size is measured from
    N/8 to N; ln z against ln N is carried on as a straight line to z = 2.80, the sum of the normal quantiles of 97.5 %
    and 80 %. Real speech grows with the systems. The observed difference is taken for the true one: with z of 1.4
    today, the truth may as well be half or one and a half of it, and the size needed four times as large or half.

    Args:
        first, second, real: one sequence of phones per utterance.
        orders: values of n.
        seed: of the random splits.
        splits: S, random cuts into eighths that are averaged.
        clusters: of each, a sortable label per utterance; those of one label stay together.
        paired: utterance i of the first and of the second answer the same prompt, and fall into the same part; what the
            prompt does to both is then no part of the difference. Labels are those of the first.

    Returns:
        n -> the size, or why it cannot be said.

    Raises:
        ValueError: paired corpora of different length, or labels that do not match the utterances in number.
    """
    corpora = CutCorpora.from_corpora([first, second, real], list(clusters), seed, paired=paired)
    return {n: _needed(n, corpora.incidence(n, windows), corpora, splits) for n, windows in corpora.windows(orders)}


# ---- curves ----


def _curves(n: int, incidence: Incidence, corpora: CutCorpora, splits: int) -> Rarefaction | Undefined:
    generated, real = corpora.ranges
    cuts = corpora.equal_cuts(incidence, splits)
    if isinstance(cuts, Undefined):
        return cuts
    per_ngram = corpora.phones_per_ngram(incidence)
    points = _points(nested_scores(incidence, (generated, real), (cuts[0], cuts[1]), PIECES), float(np.mean(per_ngram)))
    whole = corpora.cut(1, incidence.n_windows[real], 2 * PIECES, splits)
    if isinstance(whole, Undefined):
        return Rarefaction(n, points, whole)
    halves = np.where(whole < PIECES, whole, PIECES), np.where(whole >= PIECES, whole - PIECES, PIECES)
    of_real = nested_scores(incidence, (real, real), halves, PIECES)
    return Rarefaction(n, points, _points(of_real, per_ngram[1]))


def _points(levels: list[Level], phones_per_ngram: float) -> tuple[Point, ...]:
    sds = _sds([level.scores for level in levels])
    points = []
    for level, sd in zip(levels, sds, strict=True):
        n_ngrams = float(np.mean(level.n_ngrams))
        points.append(Point(n_ngrams * phones_per_ngram, n_ngrams, float(level.scores.mean()), sd))
    return tuple(reversed(points))


def _sds(scores: list[Floats]) -> list[float]:
    """Return the sampling sd of one score at each size, all of the speech first.

    Disjoint parts of one split are fresh samples to each other: their variance, averaged over the splits, is unbiased.
    All of the speech is there only once; its sd is carried on from halves and quarters as a power of the size, between
    1/N (where only pairs of utterances matter) and the square root of N (where hardly any n-gram is shared).
    """
    measured = [math.sqrt(float(np.mean(np.var(level, axis=1, ddof=1)))) for level in scores[1:]]
    halves, quarters = measured[0], measured[1]
    change = min(max(halves / quarters, 0.5), math.sqrt(2)) if quarters else 1.0
    return [halves * change, *measured]


# ---- two systems ----


def _needed(n: int, incidence: Incidence, corpora: CutCorpora, splits: int) -> PhonesNeeded | Undefined:
    first, second, real = corpora.ranges
    cuts = corpora.equal_cuts(incidence, splits)
    if isinstance(cuts, Undefined):
        return cuts
    # Both against the same parts of real speech: what these contribute to both scores is no part of the difference.
    of_first = nested_scores(incidence, (first, real), (cuts[0], cuts[2]), PIECES)
    of_second = nested_scores(incidence, (second, real), (cuts[1], cuts[2]), PIECES)
    differences = [a.scores - b.scores for a, b in zip(of_first, of_second, strict=True)]
    at_hand = float(np.mean(of_first[0].n_ngrams)) * float(np.mean(corpora.phones_per_ngram(incidence)))
    means = [float(level.mean()) for level in differences]
    sds = _sds(differences)
    if not all(sds):
        return Undefined("the scores of the parts do not vary: too few n-grams are shared, or all are the same")
    measured = PhonesNeeded(n, 0, round(at_hand), means[0], sds[0])
    if measured.z < _MIN_Z:
        return Undefined(
            f"the difference of {measured.difference:.2g} nats at {measured.at} phones is within its standard error "
            f"({measured.sd:.2g}): which system is better is not known, nor how much speech would show it"
        )
    if len(set(np.sign(means[:3]))) > 1:
        return Undefined("which system is better changes with the amount of speech; more of it is needed to say")
    growth = (_DETECTABLE / measured.z) ** (1 / _exponent(means, sds))
    if growth > MAX_GROWTH:
        return Undefined(f"more than {MAX_GROWTH:.0f} times the {measured.at} phones at hand, further than can be told")
    needed = at_hand * max(growth, 1 / PIECES)
    return replace(measured, n_phones=int(round(needed, 1 - math.floor(math.log10(needed)))))


def _exponent(means: list[float], sds: list[float]) -> float:
    """Return the exponent of z against size, from means of all, halves, quarters and sds of halves to eighths."""
    log_sizes = np.log([1.0, 0.5, 0.25])
    of_mean = np.polyfit(log_sizes, np.log(np.abs(means[:3])), 1)[0]
    of_sd = np.polyfit(log_sizes, np.log(sds[1:4]), 1)[0]
    return float(np.clip(of_mean - of_sd, *_EXPONENTS))
