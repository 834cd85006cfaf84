"""What a comparison says of one metric."""

from __future__ import annotations

from dataclasses import dataclass

LEVEL = 0.05  # of the tests, after correction
# Two-sided 5 % and a power of 80 %: quantiles 0.975 and 0.8 of the normal distribution, as in ``rarefaction``.
DETECTABLE = 1.959964 + 0.841621


@dataclass(frozen=True)
class Difference:
    """One metric of both systems.

    Attributes:
        a, b: values on what was compared: the clips that have a partner; for pJSD, equal numbers of n-grams. So they
            may differ from those of the runs.
        difference: a - b, in ``unit``.
        ci95: of the difference; None with the reason among the notes.
        effect: difference over the sd of what varies: of the paired differences (Cohen's d_z), or of the scores, pooled
            (Cohen's d). None for pJSD, which is of a whole corpus, and where nothing varies.
        p, p_adjusted: two-sided permutation p-value, and Holm's over all metrics of the comparison.
        n: clips of A and of B that the metric could score; where paired, pairs.
        n_ngrams: of A, B and real speech; for pJSD.
        better: "A" or "B" where the adjusted p is below 5 %, else None.
        needed: how much speech would tell the two apart, where this much does not.
        notes: one line each.
    """

    key: str
    a: float
    b: float
    difference: float
    ci95: tuple[float, float] | None
    effect: float | None
    p: float
    p_adjusted: float
    n: tuple[int, int]
    n_ngrams: tuple[int, int, int] | None
    unit: str
    higher_is_better: bool
    better: str | None
    needed: str | None
    notes: tuple[str, ...]
    signature: str
