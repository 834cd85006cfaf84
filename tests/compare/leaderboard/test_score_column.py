"""Means of scores are ranked by t tests of pairs, where there are clips enough."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from slm_eval.compare.leaderboard import System, leaderboards
from slm_eval.metrics.means import TOO_FEW_CLIPS
from slm_eval.metrics.plm import PhoneLM
from slm_eval.observing.phones.given import GivenPhones
from slm_eval.observing.sounds import ClipResult, Sound
from slm_eval.report.text.leaderboard import is_best, remarks, render
from slm_eval.run.evaluate import summarise
from slm_eval.run.finished import FinishedRun
from slm_eval.speech.corpus import Clip, Corpus
from tests.compare.leaderboard.made_runs import REAL_SCORES, scores, system


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
    holm = np.maximum.accumulate([min((3 - index) * p[which], 1) for index, which in enumerate(order)])
    assert [column.pairs[which].p_adjusted for which in order] == pytest.approx(holm.tolist(), rel=1e-9)
    assert column.real is not None
    assert (column.real.value, column.real.n) == (pytest.approx(np.mean(REAL_SCORES)), 60)


def test_pairs_tell_more_apart_than_intervals() -> None:
    """What a prompt does to both systems is no part of their difference: the intervals overlap, the pairs do not."""
    prompts = scores(0.5, seed=1)
    pair = [system(name, None, [result + gap for result in prompts]) for name, gap in (("a", 0.0), ("b", 0.0))]
    noisy = np.array(prompts) + 0.01 + 0.005 * np.random.default_rng(2).normal(size=60)
    results = leaderboards([pair[0], system("c", None, noisy.tolist())])[0].columns["loudness.rms"].results
    assert results["a"].ci95[1] > results["c"].ci95[0]  # type: ignore[index]
    assert {name: (result.rank, result.worst_rank) for name, result in results.items()} == {"a": (2, 2), "c": (1, 1)}
    equal = leaderboards(pair)[0].columns["loudness.rms"].results
    assert {(result.rank, result.worst_rank) for result in equal.values()} == {(1, 2)}


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


Clips = list[list[str]]


def plm_system(name: str, generated: Clips, real: Clips) -> System:
    metric = PhoneLM(recognizer=GivenPhones("made|rev:1"))
    results, corpora = {}, {}
    for side, clips in (("generated", generated), ("real", real)):
        results[side] = [
            ClipResult(clip, side, Sound(clip, None, observations={"made|rev:1": {"phones": phones}}))
            for clip, phones in (
                (Clip(f"{index:03}", None, phones=tuple(phones)), phones) for index, phones in enumerate(clips)
            )
        ]
        corpora[side] = Corpus(side, tuple(each.clip for each in results[side]))
    return System(name, FinishedRun.from_evaluation(summarise(corpora, results, [metric], {}), name))


def test_real_speech_is_beside_the_systems_and_recitation_is_remarked(librispeech_phones: Clips) -> None:
    real = librispeech_phones[:80]
    board = leaderboards(
        [
            plm_system("other speech", librispeech_phones[80:160], real),
            plm_system("backwards", [clip[::-1] for clip in librispeech_phones[80:160]], real),
            plm_system("recited", [clip[5:] for clip in real[:60]], real),
        ]
    )[0]
    column = board.columns["plm.3"]
    assert column.results["other speech"].value < column.results["backwards"].value
    assert column.real is not None
    assert column.real.value < column.results["backwards"].value
    assert "plm.3: no rank of recited: it is more predictable than real speech, which is no merit" in remarks(board)
    # Three of the clips have fewer than 20 phones.
    assert sum(line.startswith("plm.3: recited: 57 of 60 generated clips hold") for line in remarks(board)) == 1
    assert column.ranked == ["other speech", "backwards"]
    assert board.order[-1] == "recited"
    assert f"{column.real.value:.4f}" in render([board])
