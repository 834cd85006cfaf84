"""Permutation tests: how often would labels that mean nothing give a difference as large as this one?

A labelling says of every unit (a clip, or all clips of a speaker or prompt) which label it gets; all metrics of a
comparison share the labellings. The p-value counts the observed labelling among them, (1 + #{|T*| >= |T|}) / (B + 1),
so that it is never 0 and the test holds its level exactly if labels mean nothing (Phipson and Smyth 2010).

Several metrics of one family are judged together by the smallest of their p-values, which is itself a statistic that
every labelling has (Westfall and Young 1993). So what they have in common costs nothing.

Letters: B labellings, M metrics.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slm_eval.base.arrays import Floats

# Statistics of equal labellings differ by rounding; so far apart they still count as equal.
_TOLERANCE = 1e-12


def p_value(statistics: Floats) -> float:
    """Return the two-sided p-value of statistics (B,) whose first is the observed one.

    Undefined ones count as more extreme than any other.
    """
    return float(p_values(statistics)[0])


def p_values(statistics: Floats) -> Floats:
    """Return the p-value that each labelling would have if it were the observed one: shape (B,)."""
    sizes = np.nan_to_num(np.abs(statistics), nan=np.inf, posinf=np.inf)
    finite = np.where(np.isfinite(sizes), sizes, 0.0)
    as_large = sizes - _TOLERANCE * np.maximum(finite, 1.0)
    smaller = np.searchsorted(np.sort(sizes), as_large, side="left")
    return np.asarray((sizes.size - smaller) / sizes.size)


def omnibus(statistics: Sequence[Floats]) -> float:
    """Return the p-value of the smallest p-value of M metrics, (B,) each, under labellings that they share."""
    return min(step_down(statistics))


def step_down(statistics: Sequence[Floats]) -> list[float]:
    """Adjust the p-values of M metrics for all of them being looked at (Westfall and Young 1993, step-down min-p).

    The smallest is compared with the smallest of all metrics under each labelling, the next with the smallest of all
    but the first, and so on. Holm's correction supposes the worst about how metrics depend on each other; here the
    labellings say it.

    >>> step_down([np.array([3.0, 1.0, 2.0, 0.0]), np.array([3.0, 1.0, 2.0, 0.0])])
    [0.25, 0.25]
    """
    by_metric = np.array([p_values(metric) for metric in statistics])
    order = np.argsort(by_metric[:, 0], kind="stable")
    # Row j: the smallest p-value of the metrics from the j-th smallest on.
    smallest = np.minimum.accumulate(by_metric[order][::-1], axis=0)[::-1]
    shares = np.mean(smallest <= by_metric[order, :1] + _TOLERANCE, axis=1)
    adjusted = np.empty(order.size)
    adjusted[order] = np.maximum.accumulate(shares)
    return adjusted.tolist()


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust for all of them being looked at (Holm 1979): the chance of any false alarm stays below the level.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    return [adjusted for (adjusted,) in holm_of_families([[p] for p in p_values])]


def holm_of_families(families: Sequence[Sequence[float]]) -> list[list[float]]:
    """Adjust p-values that are adjusted within their families for there being several families.

    As long as no family is rejected whole, each is tested at level / (number of families); a family that is rejected
    whole leaves its share to the others. The chance of any false alarm stays below the level: before the first one,
    every family that holds a true null hypothesis is still there to be counted. Families of one are Holm's own case.

    >>> holm_of_families([[0.01, 0.02], [0.03]])
    [[0.02, 0.04], [0.04]]
    """
    order = sorted(range(len(families)), key=lambda family: max(families[family]))
    adjusted: list[list[float]] = [[] for _ in families]
    # Of each step: how many families are left, and the level at which the ones before are rejected whole.
    steps: list[tuple[int, float]] = []
    rejected_at = 0.0
    for rank, family in enumerate(order):
        left = len(families) - rank
        steps.append((left, rejected_at))
        adjusted[family] = [min(1.0, *(max(number * p, level) for number, level in steps)) for p in families[family]]
        rejected_at = max(rejected_at, left * max(families[family]))
    return adjusted
