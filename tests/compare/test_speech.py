"""Speech of two systems made equal in size."""

from __future__ import annotations

import pytest

from slm_eval.compare import compare
from slm_eval.functional import pjsd
from tests.compare.chains import markov, rng
from tests.compare.made_runs import REAL, make_run, numbered


def test_unequal_sizes_are_made_equal_in_pairs() -> None:
    a, b = markov(rng(1), 30), [each[:20] for each in markov(rng(2), 30)]
    row = compare(make_run("a", phones=numbered(a)), make_run("b", phones=numbered(b))).differences["pjsd.2"]
    assert row.n_ngrams[:2] == (570, 570)  # type: ignore[index]
    assert row.notes[0] == "the systems differed in size and were made equal: the longer clip of each pair was cut"
    assert row.a == pytest.approx(pjsd([each[:20] for each in a], REAL, 2), abs=1e-12)


def test_unequal_sizes_are_made_equal_without_pairs() -> None:
    mine = make_run("a", phones={f"a{index}": each for index, each in enumerate(markov(rng(1), 40))})
    other = make_run("b", phones={f"b{index}": each for index, each in enumerate(markov(rng(2), 20))})
    row = compare(mine, other).differences["pjsd.2"]
    assert row.n_ngrams[:2] == (580, 580)  # type: ignore[index]
    assert row.n == (20, 20)
    assert "clips of the larger system were left out" in row.notes[0]
    # One system at two sizes: the larger looked better before sizes were made equal.
    assert row.better is None
    assert row.needed


def test_short_utterances_are_made_equal_by_ngrams() -> None:
    """20 clips of 30 phones hold 600 phones and 580 bigrams; 100 clips of 6 phones as many phones, but 500 bigrams."""
    long, short = markov(rng(1), 20), markov(rng(2), 100, phones=6)
    mine = make_run("a", phones={f"a{index}": each for index, each in enumerate(long)})
    other = make_run("b", phones={f"b{index}": each for index, each in enumerate(short)})
    row = compare(mine, other, permutations=99).differences["pjsd.2"]
    assert row.n_ngrams[:2] == (500, 500)  # type: ignore[index]
    assert row.n == (18, 100)  # 17 clips of 29 bigrams, and 7 of one more
    assert row.b == pytest.approx(pjsd(short, REAL, 2), abs=1e-12)


def test_a_system_of_one_long_clip_is_cut() -> None:
    mine = make_run("a", phones={"a": markov(rng(1), 1, phones=2000)[0]})
    other = make_run("b", phones={f"b{index}": each for index, each in enumerate(markov(rng(2), 10))})
    row = compare(mine, other, permutations=99).differences["pjsd.2"]
    assert (row.n, row.n_ngrams[:2]) == ((1, 10), (290, 290))  # type: ignore[index]
    assert any("there is no interval" in note for note in row.notes)
