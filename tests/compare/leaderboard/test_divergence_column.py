"""pJSD is ranked at equal sizes, and listed where it cannot be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from slm_eval.compare.leaderboard import leaderboards
from slm_eval.functional import pjsd
from slm_eval.report.text.leaderboard import remarks
from tests.compare.leaderboard.made_runs import spoken, system, without_phones


def test_speakers_are_known_to_what_cuts_the_systems() -> None:
    """Below 20 speakers a side an interval would cover too little, and is withheld."""
    small = system("small", spoken(60, 1), speakers=30)
    for speakers, withheld in ((10, True), (30, False)):
        large = system("large", spoken(120, 2, mixed=0.5), speakers=speakers)
        found = leaderboards([small, large])[0].columns["pjsd.1"].results["large"]
        assert (found.ci95 is None, found.rank is None) == (withheld, withheld)
        assert (large.run.metrics["pjsd.1"]["ci95"] is None) == withheld


class TestEqualSizes:
    """At 15 utterances a system that is right scores worse than a wrong one at 240: the cut turns that round."""

    right, wrong = spoken(15, 5), spoken(240, 6, mixed=0.2)
    real = spoken(240, 1000)

    def board(self, seed: int = 0):  # type: ignore[no-untyped-def]
        right, wrong = (
            system(name, phones, real=self.real, n=(3,))
            for name, phones in (("right", self.right), ("wrong", self.wrong))
        )
        return leaderboards([wrong, right], seed=seed)[0]

    def test_the_runs_mislead(self) -> None:
        assert pjsd(self.right, self.real, n=3) > pjsd(self.wrong, self.real, n=3)

    def test_the_better_system_is_first(self) -> None:
        board = self.board()
        assert board.order == ["right", "wrong"]
        assert {each.n for each in board.columns["pjsd.3"].results.values()} == {15 * 28}

    def test_the_smallest_is_left_as_it_is(self) -> None:
        found = self.board().columns["pjsd.3"].results["right"]
        assert found.value == pytest.approx(pjsd(self.right, self.real, n=3), abs=1e-12)

    def test_a_cut_system_scores_as_a_small_sample_of_it_does(self) -> None:
        fresh = [pjsd(spoken(15, seed, mixed=0.2), self.real, n=3) for seed in range(100, 140)]
        found = self.board().columns["pjsd.3"].results["wrong"].value
        assert abs(found - np.mean(fresh)) < 4 * np.std(fresh, ddof=1)
        assert found - pjsd(self.wrong, self.real, n=3) > 4 * np.std(fresh, ddof=1)

    def test_the_same_each_time_and_another_by_another_seed(self) -> None:
        values = [self.board(seed).columns["pjsd.3"].results["wrong"].value for seed in (0, 0, 1)]
        assert values[0] == values[1] != values[2]

    def test_bits_are_nats_by_ln_2(self) -> None:
        pair = [
            system(name, phones, real=self.real, n=(3,), log_base="2")
            for name, phones in (("right", self.right), ("wrong", self.wrong))
        ]
        bits, nats = leaderboards(pair)[0].columns["pjsd.3"], self.board().columns["pjsd.3"]
        assert bits.unit == "bits"
        for name in ("right", "wrong"):
            mine, other = bits.results[name], nats.results[name]
            assert mine.value == pytest.approx(other.value / np.log(2), abs=1e-12)
            assert mine.ci95 == pytest.approx(np.array(other.ci95) / np.log(2), abs=1e-12)
        assert bits.real is not None
        assert nats.real is not None
        assert bits.real.value == pytest.approx(nats.real.value / np.log(2), abs=1e-12)

    def test_without_phones_it_is_not_ranked_and_says_so(self) -> None:
        right, wrong, other = (
            system(name, phones, real=self.real, n=(3,))
            for name, phones in (("right", self.right), ("wrong", self.wrong), ("other", spoken(200, 8)))
        )
        board = leaderboards([right, without_phones(wrong), other])[0]
        column = board.columns["pjsd.3"]
        assert set(column.results) == {"right", "other"}
        assert "phones" in column.absent["wrong"]
        assert board.order[-1] == "wrong"
        assert [line for line in remarks(board) if "wrong" in line and "phones" in line]
        assert leaderboards([right, without_phones(wrong)])[0].columns["pjsd.3"].results == {}


def test_sizes_within_one_percent_are_ranked_as_the_runs_have_them() -> None:
    mine, other = spoken(50, 1), spoken(50, 2, mixed=0.5)
    pair = [system("a", mine), system("b", [other[0][:-10], *other[1:]])]
    column = leaderboards(pair)[0].columns["pjsd.1"]
    assert {name: each.n for name, each in column.results.items()} == {"a": 1500, "b": 1490}
    for one in pair:
        metric = one.run.metrics["pjsd.1"]
        assert column.results[one.name].value == metric["value"]
        assert column.results[one.name].ci95 == tuple(metric["ci95"])
    assert column.real is not None
    assert column.real.value == pytest.approx(np.mean([one.run.metrics["pjsd.1"]["floor"] for one in pair]))


def test_one_with_too_little_speech_does_not_cut_the_others() -> None:
    """Four utterances have no interval; cut to these, nobody would have."""
    large = [system(name, spoken(60, index, mixed)) for index, (name, mixed) in enumerate([("a", 0.0), ("b", 0.6)])]
    small = system("small", spoken(4, 9))
    column = leaderboards([*large, small])[0].columns["pjsd.1"]
    assert {name: (each.rank, each.worst_rank, each.n) for name, each in column.results.items()} == {
        "a": (1, 1, 60 * 30),
        "b": (2, 2, 60 * 30),
    }
    assert "too little speech" in column.absent["small"]


def test_a_system_that_recites_is_remarked_where_it_ranks_first() -> None:
    real = spoken(60, seed=1000)
    board = leaderboards([system("other", spoken(60, 1), real=real), system("copied", real, real=real)])[0]
    column = board.columns["pjsd.2"]
    assert column.results["copied"].rank == 1
    assert [line for line in column.notes if line.startswith("copied: 60 of 60 generated clips")] == list(column.notes)
    assert sum("copied: 60 of 60" in line for line in remarks(board)) == 1


def test_without_phones_a_value_is_listed_and_not_ranked() -> None:
    pair = [system(name, spoken(60, index)) for index, name in enumerate("abc")]
    bare = {side: [clip | {"phones": None} for clip in of_side] for side, of_side in pair[2].run.clips.items()}
    column = leaderboards([*pair[:2], replace(pair[2], run=replace(pair[2].run, clips=bare))])[0].columns["pjsd.1"]
    assert column.ranked == ["a", "b"]
    assert column.results["c"].value == pair[2].run.metrics["pjsd.1"]["value"]
    assert "no phones" in (column.results["c"].why_unranked or "")
