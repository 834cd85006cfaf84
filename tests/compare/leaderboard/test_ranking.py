"""Ranks by their definition, equal sizes, and numbers that are not ranked."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations, permutations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.compare.leaderboard import System, leaderboards
from slm_eval.compare.leaderboard.ranking import judge, rank_sets
from slm_eval.functional import pjsd
from slm_eval.metrics.means import TOO_FEW_CLIPS
from slm_eval.report.text.leaderboard import as_json, is_best, remarks
from tests.compare.leaderboard.made_runs import REAL, REAL_SCORES, spoken, system


@given(st.integers(2, 5), st.data(), st.booleans())
def test_rank_sets_by_brute_force(n: int, data: st.DataObject, higher_is_better: bool) -> None:
    """Of all orders of the systems, those that contradict no verdict: first and last place of each system in any."""
    values = data.draw(st.lists(st.integers(0, 9), min_size=n, max_size=n, unique=True))
    p = {pair: data.draw(st.sampled_from([1e-9, 1e-3, 0.02, 0.5])) for pair in combinations("abcde"[:n], 2)}
    value = dict(zip("abcde", values, strict=False))
    tested = {(a, b): (float(value[a] - value[b]), p[a, b]) for a, b in p}
    pairs = judge(tested, higher_is_better)
    found = rank_sets("abcde"[:n], pairs)
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
        assert found[name] == (1 + better, n - worse)
    orders = [
        order
        for order in permutations("abcde"[:n])
        if all(order.index(better) < order.index(worse) for better, worse in shown)
    ]
    for order in orders:
        assert all(found[name][0] <= 1 + order.index(name) <= found[name][1] for name in order)


def test_equal_values_are_never_apart() -> None:
    (pair,) = judge({("a", "b"): (0.0, 0.0)}, higher_is_better=True)
    assert pair.better is None


def scores(mean: float, n: int = 60, seed: int = 0) -> list[float]:
    return np.random.default_rng(seed).normal(mean, 0.1, n).tolist()


def test_means_are_ranked_by_t_tests_of_pairs() -> None:
    given = {"good": scores(0.6, seed=1), "as good": scores(0.6, seed=2), "bad": scores(0.3, seed=3)}
    column = leaderboards([system(name, None, each) for name, each in given.items()])[0].columns["loudness.rms"]
    for name, each in given.items():
        expected = scipy.stats.t.interval(0.95, len(each) - 1, np.mean(each), scipy.stats.sem(each))
        assert column.results[name].ci95 == pytest.approx(expected, abs=1e-12)
        assert (column.results[name].value, column.results[name].n) == (pytest.approx(np.mean(each)), 60)
    ranks = {name: (each.rank, each.worst_rank) for name, each in column.results.items()}
    assert ranks == {"good": (1, 2), "as good": (1, 2), "bad": (3, 3)}
    # Clips of one id answer one prompt.
    p = [scipy.stats.ttest_rel(given[pair.a], given[pair.b]).pvalue for pair in column.pairs]
    order = sorted(range(3), key=p.__getitem__)
    holm = np.maximum.accumulate([min((3 - at) * p[which], 1) for at, which in enumerate(order)])
    assert [column.pairs[which].p_adjusted for which in order] == pytest.approx(holm.tolist(), rel=1e-9)
    assert column.real is not None
    assert (column.real.value, column.real.n) == (pytest.approx(np.mean(REAL_SCORES)), 60)


def test_pairs_tell_more_apart_than_intervals() -> None:
    """What a prompt does to both systems is no part of their difference: the intervals overlap, the pairs do not."""
    prompts = scores(0.5, seed=1)
    pair = [system(name, None, [each + gap for each in prompts]) for name, gap in (("a", 0.0), ("b", 0.0))]
    noisy = np.array(prompts) + 0.01 + 0.005 * np.random.default_rng(2).normal(size=60)
    results = leaderboards([pair[0], system("c", None, noisy.tolist())])[0].columns["loudness.rms"].results
    assert results["a"].ci95[1] > results["c"].ci95[0]  # type: ignore[index]
    assert {name: (each.rank, each.worst_rank) for name, each in results.items()} == {"a": (2, 2), "c": (1, 1)}
    equal = leaderboards(pair)[0].columns["loudness.rms"].results
    assert {(each.rank, each.worst_rank) for each in equal.values()} == {(1, 2)}


def test_few_clips_are_listed_and_not_crowned() -> None:
    """Four clips with a wide interval once shared the bold rank 1 with thirty that were measured well."""
    board = leaderboards(
        [
            system("four clips", None, [0.2, 0.9, 0.95, 0.99]),
            system("good", None, scores(0.6, 30, 1)),
            system("bad", None, scores(0.3, 30, 2)),
        ]
    )[0]
    results = board.columns["loudness.rms"].results
    four = results["four clips"]
    assert four.value > results["good"].value
    assert (four.ci95, four.rank, four.worst_rank, four.why_unranked) == (None, None, None, TOO_FEW_CLIPS)
    assert (results["good"].rank, results["good"].worst_rank) == (1, 1)
    assert board.order == ["good", "bad", "four clips"]
    assert remarks(board) == [f"loudness.rms: no rank of four clips: {TOO_FEW_CLIPS}"]
    wide = leaderboards(
        [
            system("six clips", None, [0.2, 0.9, 0.95, 0.99, 0.3, 0.99]),
            system("good", None, scores(0.6, 30, 1)),
            system("bad", None, scores(0.3, 30, 2)),
        ]
    )[0].columns["loudness.rms"]
    assert (wide.results["six clips"].rank, wide.results["six clips"].worst_rank) == (1, 3)
    assert not any(is_best(result) for result in wide.results.values())


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
        assert {"unit", "higher_is_better", "signature", "results", "absent", "real", "notes"} <= set(column)
        assert set(column) - {"unit", "higher_is_better", "signature", "results", "absent", "real", "notes"} == {
            "pairs",
            "error_rate",
        }
        assert column["error_rate"] == 0.05
        assert set(column["real"]) == {"value", "ci95", "n"}
        for result in column["results"].values():
            assert set(result) == {"value", "ci95", "n", "rank", "worst_rank", "why_unranked", "coverage"}
        for pair in column["pairs"]:
            assert set(pair) == {"a", "b", "difference", "p_adjusted", "better"}
    assert set(table["metrics"]["loudness.rms"]["results"]) == {"a"}
    assert set(table["metrics"]["loudness.rms"]["absent"]) == {"b"}
