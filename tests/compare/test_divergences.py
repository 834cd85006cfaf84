"""Differences of pJSD between two systems: of equal sizes, covered by their intervals, and claimed of the right one."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from slm_eval.compare import compare
from slm_eval.functional import pjsd
from slm_eval.run.finished import FinishedRun
from tests.compare.chains import markov, rng
from tests.compare.made_runs import REAL, make_run, numbered


def test_divergences_are_those_of_the_clips_compared() -> None:
    a, b = markov(rng(1), 30), markov(rng(2), 30, sharp=2.0)
    row = compare(make_run("a", phones=numbered(a)), make_run("b", phones=numbered(b))).differences["pjsd.2"]
    assert row.a == pytest.approx(pjsd(a, REAL, 2), abs=1e-12)
    assert row.b == pytest.approx(pjsd(b, REAL, 2), abs=1e-12)
    assert row.ci95[0] <= row.difference <= row.ci95[1] < 0  # type: ignore[index]
    assert (row.better, row.n_ngrams) == ("A", (870, 870, 1740))
    bits = [make_run(name, phones=numbered(spoken), unit="bits") for name, spoken in (("a", a), ("b", b))]
    assert compare(*bits).differences["pjsd.2"].a == pytest.approx(pjsd(a, REAL, 2, base=2), abs=1e-12)


def test_intervals_of_differences_cover() -> None:
    """Against the mean of 400 fresh differences; 200 intervals of nominal 95 % must cover 90 % of the time."""

    def difference(seed: int) -> tuple[FinishedRun, FinishedRun]:
        generator = rng(seed)
        spoken = [numbered(markov(generator, 25, sharp=sharp)) for sharp in (1.3, 1.6)]
        real = markov(generator, 40)
        return make_run("a", phones=spoken[0], real=real), make_run("b", phones=spoken[1], real=real)

    rows = [compare(*difference(seed), permutations=99).differences["pjsd.2"] for seed in range(200)]
    truth = np.mean([row.difference for row in rows])
    covered = np.mean([row.ci95[0] <= truth <= row.ci95[1] for row in rows])  # type: ignore[index]
    assert covered >= 0.90


def test_one_source_at_two_sizes_has_any_p_value() -> None:
    """300 clips against 60; labels of all clips on what was left of the larger system gave at least 0.95 every time."""
    p_values = []
    for seed in range(20):
        spoken = markov(rng(200 + seed), 360, phones=15)
        mine = make_run("a", phones={f"a{index}": phones for index, phones in enumerate(spoken[:300])})
        other = make_run("b", phones={f"b{index}": phones for index, phones in enumerate(spoken[300:])})
        row = compare(mine, other, permutations=99, seed=seed).differences["pjsd.2"]
        assert row.n_ngrams[:2] == (840, 840)  # type: ignore[index]
        p_values.append(row.p)
    assert scipy.stats.kstest(p_values, "uniform").pvalue > 0.01


def test_both_questions_have_a_p_value_and_the_claim_says_which_was_answered() -> None:
    a, b = numbered(markov(rng(1), 60)), numbered(markov(rng(2), 60, sharp=2.0))
    row = compare(make_run("a", phones=a), make_run("b", phones=b)).differences["pjsd.2"]
    assert row.p_source < 0.05  # type: ignore[operator]
    assert row.claim == "A is closer to real speech"
    # 60 clips leave 59 degrees of freedom, a fifth of 127 draws the others.
    freedom = 1 / (1 / 59 + 5 / 127)
    z = row.difference / (row.ci95[1] - row.difference) * scipy.stats.t.ppf(0.975, freedom)  # type: ignore[index]
    assert row.p_source == pytest.approx(2 * scipy.stats.t.sf(abs(z), freedom))
    assert row.p_source_adjusted == row.p_source  # of a single n
    # Few real clips: the systems differ, but another real sample might see it the other way around.
    few = make_run("a", phones=a, real=REAL[:8]), make_run("b", phones=b, real=REAL[:8])
    weaker = compare(*few).differences["pjsd.2"]
    assert weaker.p_source > row.p_source  # type: ignore[operator]


def test_how_much_speech_would_tell_is_said() -> None:
    a, b = numbered(markov(rng(1), 40)), numbered(markov(rng(2), 40, sharp=1.15))
    row = compare(make_run("a", phones=a), make_run("b", phones=b)).differences["pjsd.2"]
    assert row.better is None
    assert any(word in row.needed for word in ("phones of each system", "within its standard error"))  # type: ignore[operator]


def test_of_few_clips_it_is_said_that_how_much_speech_would_tell_is_not_known() -> None:
    a, b = (make_run(name, phones=numbered(markov(rng(seed), 11))) for name, seed in (("a", 1), ("b", 2)))
    needed = compare(a, b, permutations=99).differences["pjsd.2"].needed
    assert (
        needed
        == "how much speech would tell is not known: at least 16 clips (or clusters) of a side are needed; there are 11"
    )
