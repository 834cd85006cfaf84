"""Ranks by their definition."""

from __future__ import annotations

from itertools import combinations, permutations

from hypothesis import given
from hypothesis import strategies as st

from slm_eval.compare.leaderboard.ranking import judge, rank_sets


@given(st.integers(2, 5), st.data(), st.booleans())
def test_rank_sets_by_brute_force(n: int, data: st.DataObject, higher_is_better: bool) -> None:
    """Of all orders of the systems, those that contradict no verdict: first and last place of each system in any."""
    values = data.draw(st.lists(st.integers(0, 9), min_size=n, max_size=n, unique=True))
    p = {pair: data.draw(st.sampled_from([1e-9, 1e-3, 0.02, 0.5])) for pair in combinations("abcde"[:n], 2)}
    value = dict(zip("abcde", values, strict=False))
    tested = {(a, b): (float(value[a] - value[b]), p[a, b]) for a, b in p}
    pairs = judge(tested, higher_is_better)
    ranks = rank_sets("abcde"[:n], pairs)
    # Holm as he wrote it: the k-th smallest of m against the level over m - k + 1, up to the first that fails.
    shown, ordered = set(), sorted(p, key=lambda pair: p[pair])
    for at, pair in enumerate(ordered):
        if p[pair] * (len(ordered) - at) >= 0.05:
            break
        shown.add(pair if (value[pair[0]] > value[pair[1]]) == higher_is_better else pair[::-1])
    assert {(pair.better, pair.a if pair.better == pair.b else pair.b) for pair in pairs if pair.better} == shown
    for name in "abcde"[:n]:
        better = sum((other, name) in shown for other in "abcde"[:n])
        worse = sum((name, other) in shown for other in "abcde"[:n])
        assert ranks[name] == (1 + better, n - worse)
    orders = [
        order
        for order in permutations("abcde"[:n])
        if all(order.index(better) < order.index(worse) for better, worse in shown)
    ]
    for order in orders:
        assert all(ranks[name][0] <= 1 + order.index(name) <= ranks[name][1] for name in order)


def test_equal_values_are_never_apart() -> None:
    (pair,) = judge({("a", "b"): (0.0, 0.0)}, higher_is_better=True)
    assert pair.better is None
