"""The result of a comparison for one metric."""

from __future__ import annotations

from dataclasses import dataclass

from slm_eval.base.arrays import Floats

LEVEL = 0.05  # of the tests, after correction
# Two-sided 5 % and a power of 80 %: quantiles 0.975 and 0.8 of the normal distribution, as in ``rarefaction``.
DETECTABLE = 1.959964 + 0.841621


@dataclass(frozen=True)
class Difference:
    """Say how one metric of both systems differs.

    Attributes:
        a, b: values on what was compared: the clips that have a partner; for pJSD, equal numbers of n-grams. So they
            may differ from those of the runs.
        difference: a - b, in ``unit``.
        ci95: of the difference; None with the reason among the notes.
        effect: difference over the sd of what varies: of the paired differences (Cohen's d_z), or of the scores, pooled
            (Cohen's d). None for pJSD, which is of a whole corpus, and where nothing varies.
        p, p_adjusted: of "A and B are the same system": two-sided, by permutation of labels against this real sample;
            and corrected for all metrics of the comparison. None where no test is possible, with the reason among the
            notes.
        p_source, p_source_adjusted: of "A and B are equally far from real speech", of which the real sample is one
            draw: two-sided, by half-samples of A, B and real speech; and corrected for all n. For pJSD; None where
            there is no interval.
        n: clips of A and of B that the metric could score; where paired, pairs.
        n_ngrams: of A, B and real speech; for pJSD.
        better: "A" or "B" where a corrected p is below 5 %, else None.
        claim: what ``better`` stands for, in words.
        needed: how much speech would tell the two apart, where this much does not.
        notes: one line each.
        kind, digits: of the metric, as in summary.json; a comparison as JSON does not repeat them.
    """

    key: str
    a: float
    b: float
    difference: float
    ci95: tuple[float, float] | None
    effect: float | None
    p: float | None
    p_adjusted: float | None
    p_source: float | None
    p_source_adjusted: float | None
    n: tuple[int, int]
    n_ngrams: tuple[int, int, int] | None
    unit: str
    higher_is_better: bool | None
    better: str | None
    claim: str | None
    needed: str | None
    notes: tuple[str, ...]
    signature: str
    kind: str
    digits: int


@dataclass(frozen=True, eq=False)
class Tested:
    """Hold a difference and its statistic under all labellings, the observed one first: shape (B,)."""

    difference: Difference
    statistics: Floats


@dataclass(frozen=True)
class Together:
    """Say whether the systems differ by several metrics that are judged together.

    Attributes:
        keys: of the metrics.
        p: of the smallest p-value of these, by the same labellings.
        p_adjusted: corrected for all families of metrics.
    """

    keys: tuple[str, ...]
    p: float
    p_adjusted: float
