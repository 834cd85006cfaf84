"""Which clips are pairs, and which are swapped together."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from slm_eval.compare import compare
from tests.compare.chains import rng
from tests.compare.made_runs import make_run, numbered


def test_clips_of_one_speaker_are_swapped_together() -> None:
    """Five speakers of 20 clips, each with a shift of its own: 100 clips seem to prove what five speakers do not."""
    shifts = np.repeat([1.2, 0.9, -0.3, 0.8, 0.1], 20)
    a, b = shifts + rng(1).normal(0, 0.1, 100), rng(2).normal(0, 0.1, 100)
    speakers = {clip_id: f"s{int(clip_id) // 20}" for clip_id in numbered(a)}
    alone = compare(make_run("a", numbered(a)), make_run("b", numbered(b))).differences["mos.x"]
    grouped = compare(make_run("a", numbered(a), labels=speakers), make_run("b", numbered(b), labels=speakers))
    assert alone.p < 0.001
    assert grouped.by == "speaker"
    assert grouped.differences["mos.x"].p == pytest.approx(
        6 / 32
    )  # of all 2^5: the sum is as large or larger if signs of speaker 2, or of 2 and 4, are turned
    means = np.array([1.2, 0.9, -0.3, 0.8, 0.1]) - (b - (a - shifts)).reshape(5, 20).mean(axis=1)
    expected = scipy.stats.ttest_1samp(means, 0).confidence_interval()
    assert grouped.differences["mos.x"].ci95 == pytest.approx(tuple(expected))


def test_ids_make_pairs_only_where_most_of_them_match() -> None:
    a, b = numbered(rng(1).normal(3, 1, 20)), numbered(rng(2).normal(3, 1, 20))
    some = {key if int(key) < 15 else f"x{key}": value for key, value in b.items()}
    comparison = compare(make_run("a", a), make_run("b", some))
    assert (comparison.paired, comparison.n_clips, comparison.left_out) == (True, (15, 15), (5, 5))
    few = {key if int(key) < 5 else f"x{key}": value for key, value in b.items()}
    assert not compare(make_run("a", a), make_run("b", few)).paired
    assert compare(make_run("a", a), make_run("b", few), paired=True).n_clips == (5, 5)
    assert not compare(make_run("a", a), make_run("b", b), paired=False).paired
