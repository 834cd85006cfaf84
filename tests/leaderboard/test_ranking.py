"""Ranks by their definition, equal sizes, and numbers that are not ranked."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from made_runs import REAL, REAL_SCORES, spoken, system

from slm_eval.errors import SlmEvalError, UsageError
from slm_eval.functional import pjsd
from slm_eval.leaderboard import System, leaderboards
from slm_eval.leaderboard.column import ranks
from slm_eval.report.leaderboard import as_json, remarks

INTERVAL = st.tuples(st.integers(0, 12), st.integers(0, 12)).map(lambda ends: (float(min(ends)), float(max(ends))))


@given(st.lists(INTERVAL, min_size=1, max_size=8), st.booleans())
def test_ranks_by_brute_force(intervals: list[tuple[float, float]], higher_is_better: bool) -> None:
    """Of small integers, so that ends touch often: intervals that touch are not separated."""
    expected = []
    for mine in intervals:
        better = 0
        for other in intervals:
            if all((x > y if higher_is_better else x < y) for x in other for y in mine):
                better += 1
        expected.append(1 + better)
    assert ranks(intervals, higher_is_better) == expected
    assert min(expected) == 1


def scores(mean: float, n: int = 60, seed: int = 0) -> list[float]:
    return np.random.default_rng(seed).normal(mean, 0.1, n).tolist()


def test_means_are_ranked_by_their_t_intervals() -> None:
    given = {"good": scores(0.6, seed=1), "as good": scores(0.6, seed=2), "bad": scores(0.3, seed=3)}
    column = leaderboards([system(name, None, each) for name, each in given.items()])[0].columns["loudness.rms"]
    for name, each in given.items():
        expected = scipy.stats.t.interval(0.95, len(each) - 1, np.mean(each), scipy.stats.sem(each))
        assert column.results[name].ci95 == pytest.approx(expected, abs=1e-12)
        assert (column.results[name].value, column.results[name].n) == (pytest.approx(np.mean(each)), 60)
    assert {name: each.rank for name, each in column.results.items()} == {"good": 1, "as good": 1, "bad": 3}
    assert column.real is not None
    assert (column.real.value, column.real.n) == (pytest.approx(np.mean(REAL_SCORES)), 60)


def test_a_system_without_an_interval_has_no_rank_and_says_why() -> None:
    """One clip has no interval; eight without spread have one of no width."""
    board = leaderboards([system("one clip", None, [0.9]), *(system(f"s{at}", None, scores(0.5)) for at in range(2))])[
        0
    ]
    results = board.columns["loudness.rms"].results
    assert (results["one clip"].rank, results["s0"].rank, results["s1"].rank) == (None, 1, 1)
    assert board.order == ["s0", "s1", "one clip"]
    assert [line for line in remarks(board) if "one clip" in line and "loudness.rms" in line and "interval" in line]


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


def without_phones(one: System) -> System:
    clips = {side: [clip | {"phones": None} for clip in of_side] for side, of_side in one.run.clips.items()}
    return replace(one, run=replace(one.run, clips=clips))


def test_sizes_within_one_percent_are_ranked_as_the_runs_have_them() -> None:
    mine, other = spoken(100, 1), spoken(100, 2, mixed=0.5)
    pair = [system("a", mine), system("b", [other[0][:-20], *other[1:]])]
    column = leaderboards(pair)[0].columns["pjsd.1"]
    assert {name: each.n for name, each in column.results.items()} == {"a": 3000, "b": 2980}
    for one in pair:
        metric = one.run.metrics["pjsd.1"]
        assert column.results[one.name].value == metric["value"]
        assert column.results[one.name].ci95 == tuple(metric["ci95"])
    assert column.real is not None
    assert column.real.value == pytest.approx(np.mean([one.run.metrics["pjsd.1"]["floor"] for one in pair]))


def test_the_order_is_that_of_the_largest_n_with_coverage() -> None:
    pair = [system("a", spoken(60, 1), n=(1, 2, 5)), system("b", spoken(60, 2, mixed=0.5), n=(1, 2, 5))]
    coverage = {n: [one.run.metrics[f"pjsd.{n}"]["coverage"] for one in pair] for n in (1, 2, 5)}
    assert min(coverage[2]) >= 0.9 > min(coverage[5])
    assert leaderboards(pair)[0].sort == "pjsd.2"
    assert leaderboards(pair, sort="pjsd.5")[0].sort == "pjsd.5"
    assert leaderboards([system("a", None, scores(0.1)), system("b", None, scores(0.2))])[0].sort == "loudness.rms"


def test_ties_are_in_the_order_of_their_values() -> None:
    board = leaderboards([system("b", None, [0.5, 0.7, 0.6]), system("a", None, [0.5, 0.8, 0.7])])[0]
    assert board.order == ["a", "b"]
    assert [each.rank for each in board.columns["loudness.rms"].results.values()] == [1, 1]


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


def test_the_json_is_frozen() -> None:
    """Other software reads these names: changing one is a new schema."""
    told = json.loads(as_json(leaderboards([system("a", REAL, scores(0.5)), system("b", spoken(90, 2))])))
    assert {key: type(value) for key, value in told.items()} == {"schema": int, "version": str, "tables": list}
    assert told["schema"] == 1
    [table] = told["tables"]
    assert set(table) == {"sort", "why", "systems", "metrics"}
    assert set(table["systems"][0]) == {"name", "link", "notes", "corpus"}
    assert set(table["metrics"]) == {"pjsd.1", "pjsd.2", "loudness.rms"}
    for column in table["metrics"].values():
        assert set(column) == {"unit", "higher_is_better", "signature", "results", "absent", "real", "notes"}
        assert set(column["real"]) == {"value", "ci95", "n"}
        for result in column["results"].values():
            assert set(result) == {"value", "ci95", "n", "rank", "coverage"}
    assert set(table["metrics"]["loudness.rms"]["results"]) == {"a"}
    assert set(table["metrics"]["loudness.rms"]["absent"]) == {"b"}
