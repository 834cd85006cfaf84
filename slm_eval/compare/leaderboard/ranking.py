"""Which systems are shown to be better than which, and what ranks that leaves possible.

Every pair of systems is tested, and p-values are adjusted for all pairs (Holm 1979): where the tests hold, the chance
that any "is better than" of a metric is false is at most ``LEVEL``. With K systems, the rank of one of which b are
shown to be better, and which is shown to be better than w, lies between 1 + b and K - w: the simultaneous confidence
sets of ranks of Mogstad, Romano, Shaikh and Wilhelm (2024). A system that is poorly measured gets a wide set, never a
good rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slm_eval.compare.permutation import holm
from slm_eval.compare.result import LEVEL

Ranks = tuple[int, int]


@dataclass(frozen=True)
class Pair:
    """Hold how two systems differ by one metric.

    Attributes:
        a, b: names.
        difference: a - b.
        p_adjusted: two-sided, Holm's over all pairs of the column.
        better: the name of the one that is shown to be better; None where that is not known.
    """

    a: str
    b: str
    difference: float
    p_adjusted: float
    better: str | None


def judge(tested: Mapping[tuple[str, str], tuple[float, float]], higher_is_better: bool) -> tuple[Pair, ...]:
    """Return the pairs with their verdicts.

    Args:
        tested: for names (a, b) the difference a - b and its two-sided p-value.
    """
    adjusted = holm([p for _, p in tested.values()])
    pairs = []
    for ((a, b), (difference, _)), p in zip(tested.items(), adjusted, strict=True):
        winner = a if (difference > 0) == higher_is_better else b
        pairs.append(Pair(a, b, difference, p, winner if p < LEVEL and difference else None))
    return tuple(pairs)


def rank_sets(names: Sequence[str], pairs: Sequence[Pair]) -> dict[str, Ranks]:
    """Return the best and the worst rank that each system may have; of a single system there is none.

    >>> pairs = [Pair("a", "b", 0.1, 0.2, None), Pair("a", "c", 0.9, 0.0, "a"), Pair("b", "c", 0.8, 0.0, "b")]
    >>> rank_sets(["a", "b", "c"], pairs)
    {'a': (1, 2), 'b': (1, 2), 'c': (3, 3)}
    """
    if len(names) < 2:
        return {}
    best, worst = dict.fromkeys(names, 1), dict.fromkeys(names, len(names))
    for pair in pairs:
        if pair.better is not None:
            best[pair.b if pair.better == pair.a else pair.a] += 1
            worst[pair.better] -= 1
    return {name: (best[name], worst[name]) for name in names}
