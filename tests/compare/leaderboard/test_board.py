"""The order of a table."""

from __future__ import annotations

from slm_eval.compare.leaderboard import leaderboards
from tests.compare.leaderboard.made_runs import scores, spoken, system


def test_the_order_is_that_of_the_largest_n_with_coverage() -> None:
    pair = [system("a", spoken(60, 1), n=(1, 2, 5)), system("b", spoken(60, 2, mixed=0.5), n=(1, 2, 5))]
    coverage = {n: [one.run.metrics[f"pjsd.{n}"]["coverage"] for one in pair] for n in (1, 2, 5)}
    assert min(coverage[2]) >= 0.9 > min(coverage[5])
    assert leaderboards(pair)[0].sort == "pjsd.2"
    assert leaderboards(pair, sort="pjsd.5")[0].sort == "pjsd.5"
    assert leaderboards([system("a", None, scores(0.1)), system("b", None, scores(0.2))])[0].sort == "loudness.rms"


def test_ties_are_in_the_order_of_their_values() -> None:
    pair = [system("b", None, [0.5, 0.7, 0.6, 0.9, 0.2]), system("a", None, [0.5, 0.8, 0.7, 0.3, 0.9])]
    board = leaderboards(pair)[0]
    assert board.order == ["a", "b"]
    assert [each.rank for each in board.columns["loudness.rms"].results.values()] == [1, 1]
