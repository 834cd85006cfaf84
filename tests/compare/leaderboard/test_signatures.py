"""Runs of different signatures are not ranked together."""

from __future__ import annotations

import pytest

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.compare.leaderboard import leaderboards
from tests.compare.leaderboard.made_runs import REAL, scores, spoken, system


def test_other_signatures_are_refused_with_the_part_that_differs() -> None:
    systems = [system("a", REAL[:30]), system("b", spoken(30, 3)), system("in bits", spoken(30, 4), log_base="2")]
    with pytest.raises(SlmEvalError, match=r"^a and in bits .*pjsd\.1, pjsd\.2: base e against 2") as caught:
        leaderboards(systems)
    assert not isinstance(caught.value, UsageError)
    assert len(str(caught.value).splitlines()) == 1
    boards = leaderboards(systems, per_signature=True)
    assert [sorted(board.order) for board in boards] == [["a", "b"], ["in bits"]]
    assert boards[1].columns["pjsd.1"].results["in bits"].rank is None


def test_a_metric_whose_signatures_agree_is_ranked_where_another_differs() -> None:
    pair = [
        system("a", spoken(30, 3), scores(0.5)),
        system("b", spoken(30, 4), scores(0.4), log_base="2"),
    ]
    with pytest.raises(SlmEvalError, match="base e against 2"):
        leaderboards(pair)
    assert [*leaderboards(pair, keys=["loudness.rms"])[0].columns] == ["loudness.rms"]
