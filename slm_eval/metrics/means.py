"""Means of per-clip scores: their intervals, and the differences of two of them, where clips of one cluster are alike.

Letters: n clips, C clusters (clips that are drawn together: one speaker, one prompt), p_c the share of the clips that
cluster c has, e_c the sum of their deviations from the mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats

Numbers = npt.NDArray[np.intp]
Interval = tuple[float, float]

# Below so many degrees of freedom there is no interval: five clips, or five speakers with equally many clips, have
# four. With fewer the quantile of t is over 3, the width of an interval tells mostly of luck, and Satterthwaite's
# approximation is not to be trusted (Tipton 2015). benchmarks/statistics/mean_study.py: coverage above and below.
MIN_FREEDOM = 4.0
# Standard errors below this share of the largest score are rounding.
_ROUNDING = 1e-12
_ALL = slice(None)

TOO_FEW_CLIPS = "fewer than 5 clips"
TOO_FEW_CLUSTERS = "clips of fewer than 5 speakers (or prompts), or so unevenly spread that they tell no more"
NOTHING_VARIES = "nothing varies between clips (or speakers, or prompts), so how far others would differ is not known"
OFF_SCALE = "the mean lies outside the scale of the metric"


@dataclass(frozen=True)
class Withheld:
    """Why there is no interval: one line."""

    reason: str


@dataclass(frozen=True)
class Estimate:
    """A mean, or a difference of two, with what its uncertainty is known by.

    Attributes:
        value: of the sample.
        error: its standard error.
        freedom: degrees of freedom of the standard error.
        withheld: why an interval or a test would not hold; None where it does.
    """

    value: float
    error: float
    freedom: float
    withheld: Withheld | None = None

    def interval(self, scale: Interval | None = None) -> Interval | Withheld:
        """Return the 95 % interval, or why there is none.

        Args:
            scale: the lowest and the highest possible value. The interval is then that of t on the logit of the place
                within the scale: it never leaves it, reaches further towards the middle, and covers where scores crowd
                at one end (``benchmarks/statistics/mean_study.py``). None: value ± t error.
        """
        if self.withheld is not None:
            return self.withheld
        from scipy.special import expit, logit, stdtrit

        quantile = float(stdtrit(self.freedom, 0.975))
        if scale is None:
            return self.value - quantile * self.error, self.value + quantile * self.error
        low, width = scale[0], scale[1] - scale[0]
        place = (self.value - low) / width
        if not 0 < place < 1:
            return Withheld(OFF_SCALE)
        half = quantile * self.error / width / (place * (1 - place))
        return (
            low + width * float(expit(logit(place) - half)),
            low + width * float(expit(logit(place) + half)),
        )

    def p_value(self) -> float:
        """Return the two-sided p-value of 0 by t; 1 where a test would not hold."""
        if self.withheld is not None:
            return 1.0
        # scipy.stats costs half a second at import; the distribution alone lives in scipy.special.
        from scipy.special import stdtr

        return 2 * float(stdtr(self.freedom, -abs(self.value) / self.error))


@dataclass(frozen=True)
class Moments:
    """Mean, standard deviation (ddof 1) and 95 % interval of the mean over n clips; None where it needs more."""

    value: float
    sd: float | None
    ci95: Interval | None
    n: int

    @classmethod
    def from_scores(
        cls, scores: Sequence[float], clusters: Numbers | None = None, scale: Interval | None = None
    ) -> Moments:
        """Return those of at least one finite score.

        Args:
            scores: shape (n,).
            clusters: shape (n,), number of the cluster of each, from 0; None: each clip by itself.
            scale: as for ``Estimate.interval``.
        """
        return cls.from_estimate(scores, mean(scores, clusters), scale)

    @classmethod
    def from_estimate(cls, scores: Sequence[float], estimate: Estimate, scale: Interval | None) -> Moments:
        """Return those whose mean was estimated before."""
        interval = estimate.interval(scale)
        sd = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
        return cls(estimate.value, sd, None if isinstance(interval, Withheld) else interval, len(scores))


@dataclass(frozen=True, eq=False)
class Sample:
    """The scores of one side by cluster.

    Attributes:
        mean: of all clips.
        clips: how many.
        largest: absolute score.
        clusters: shape (C,), their numbers, ascending.
        share: shape (C,), p_c.
        moved: shape (C,), by how much each cluster moves the mean, e_c / (n sqrt(1 - p_c)); their squares add up to the
            squared standard error.
    """

    mean: float
    clips: int
    largest: float
    clusters: Numbers
    share: Floats
    moved: Floats

    @classmethod
    def from_scores(
        cls, scores: Sequence[float] | Floats, clusters: Numbers | None = None, sizes: Numbers | None = None
    ) -> Sample:
        """Return at least one finite score by cluster.

        Args:
            scores: shape (n,).
            clusters: shape (n,), number of the cluster of each; None: each clip by itself.
            sizes: shape (n,): each score is a mean over so many parts of a clip, at least one, and the mean of the
                sample is over parts: a ratio of sums, judged by its linearisation. None: every clip counts once.
        """
        values = np.asarray(scores, dtype=np.float64)
        weights = np.ones(values.size) if sizes is None else sizes
        total = float(weights.sum())
        value = float(np.mean(values)) if sizes is None else float(np.sum(values * sizes)) / total
        labels = np.arange(values.size) if clusters is None else clusters
        present, place = np.unique(labels, return_inverse=True)
        share = np.bincount(place, weights=weights) / total
        # A single cluster would be divided by zero: it moves nothing, and ``overlap`` says that it knows nothing.
        left = np.where(share < 1, 1 - share, 1.0)
        moved = np.bincount(place, weights=(values - value) * weights) / total / np.sqrt(left)
        return cls(value, values.size, float(np.abs(values).max()), present, share, moved)

    @property
    def variance(self) -> float:
        """Return the squared standard error of the mean."""
        return float(np.sum(self.moved**2))

    def overlap(self, other: Sample, places: Numbers | slice = _ALL, others: Numbers | slice = _ALL) -> float:
        """Return trace MN / (trace M trace N), M and N the covariances of ``moved`` of both over independent clips.

        Of a sample with itself it is one over its degrees of freedom.

        Args:
            places, others: positions of the clusters that both have, in this and in the other, in the same order.
        """
        if max(self.share.max(), other.share.max()) == 1:
            return 0.0
        first, second = self.share[places], other.share[others]
        diagonal = first * second
        beside = diagonal / np.sqrt((1 - first) * (1 - second))
        return float(np.sum(diagonal) + np.sum(beside) ** 2 - np.sum(beside**2))

    def withheld(self, error: float) -> Withheld | None:
        """Return why an interval with this standard error would not hold, or None."""
        if self.clips <= MIN_FREEDOM:
            return Withheld(TOO_FEW_CLIPS)
        # Clusters of one size have C - 1, up to rounding.
        if _inverse(self.overlap(self)) < MIN_FREEDOM - _ROUNDING:
            return Withheld(TOO_FEW_CLUSTERS)
        return Withheld(NOTHING_VARIES) if error <= _ROUNDING * self.largest else None


def mean(scores: Sequence[float] | Floats, clusters: Numbers | None = None, sizes: Numbers | None = None) -> Estimate:
    """Return ``mean_of_sample`` of scores; arguments as for ``Sample.from_scores``."""
    return mean_of_sample(Sample.from_scores(scores, clusters, sizes))


def mean_of_sample(sample: Sample) -> Estimate:
    """Return the mean with a standard error that is robust to clips of one cluster being alike.

    With the small-sample correction of Bell and McCaffrey (2002): se^2 = sum of e_c^2 / (1 - p_c), over n^2. For
    clusters of one size, so for single clips, it is that of the mean of their means, with C - 1 degrees of freedom.
    C - 1 as well for clusters of other sizes, and C/(C-1) for 1/(1 - p_c), would cover only 88 % where the six clusters
    of 30 clips differ in size.
    """
    error = math.sqrt(sample.variance)
    return Estimate(sample.mean, error, _inverse(sample.overlap(sample)), sample.withheld(error))


def difference(a: Sample, b: Sample) -> Estimate:
    """Return mean(a) - mean(b), robust to clips of one cluster being alike, whichever of both they are in.

    The regression of scores on who spoke, with the correction of Bell and McCaffrey (2002). Where every cluster is one
    pair it is the t test of pairs; where no cluster is in both, Welch's (1947); in between, clips without a partner
    count too. The degrees of freedom are Satterthwaite's, each side with a variance of its own.

    Args:
        a, b: clips that answer one prompt, or are of one speaker, have one number of their cluster in both.
    """
    _, in_a, in_b = np.intersect1d(a.clusters, b.clusters, assume_unique=True, return_indices=True)
    v, w = a.variance, b.variance
    alone = v + w - float(np.sum(a.moved[in_a] ** 2) + np.sum(b.moved[in_b] ** 2))
    variance = max(alone, 0.0) + float(np.sum((a.moved[in_a] - b.moved[in_b]) ** 2))
    squares = v * v * a.overlap(a) + w * w * b.overlap(b) + 2 * v * w * a.overlap(b, in_a, in_b)
    error = math.sqrt(variance)
    freedom = (v + w) ** 2 * _inverse(squares)
    # Each side must be large enough by itself: the other one says nothing of how its clips vary.
    return Estimate(a.mean - b.mean, error, freedom, a.withheld(error) or b.withheld(error))


@dataclass(frozen=True)
class Gap:
    """Difference of two numbers of which only 95 % intervals are known.

    Attributes:
        value: the difference.
        interval: of 95 %.
    """

    value: float
    interval: Interval

    def p_value(self) -> float:
        """Return the two-sided p-value of 0, as if the half of the interval that faces 0 were of a normal distribution.

        It is right where it matters most, at 5 %, whatever made the interval.
        """
        half = self.value - self.interval[0] if self.value > 0 else self.interval[1] - self.value
        return math.erfc(1.959964 * abs(self.value) / half / math.sqrt(2)) if half else 1.0


def difference_of_intervals(a: tuple[float, Interval], b: tuple[float, Interval]) -> Gap:
    """Return the difference of two independent values, each with its 95 % interval.

    The halves that face each other are added in quadrature (Zou and Donner 2008): they know of clusters, and need not
    be symmetric. For two t intervals this is a little wider than Welch's (1947).
    """
    (first, (first_low, first_high)), (second, (second_low, second_high)) = a, b
    below, above = (
        math.hypot(first - first_low, second_high - second),
        math.hypot(first_high - first, second - second_low),
    )
    return Gap(first - second, (first - second - below, first - second + above))


def _inverse(number: float) -> float:
    """Return one over it; 0, as of no degree of freedom, for 0."""
    return 1 / number if number else 0.0
