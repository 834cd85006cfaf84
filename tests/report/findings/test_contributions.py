"""Contributions against brute force and known cases."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slm_eval.divergence.estimators import jensen_shannon
from slm_eval.report.findings.contributions import contributions, differences, strangeness
from tests.report.findings.made_phones import made
from tests.report.made_run import made_run

COUNTS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=30)


@given(COUNTS)
def test_contributions_sum_to_the_divergence_and_none_is_negative(counts: list[tuple[int, int]]) -> None:
    a, b = np.array(counts).T
    if a.sum() and b.sum():
        terms = contributions(a, b)
        assert (terms >= 0).all()
        assert terms.sum() == pytest.approx(jensen_shannon(a, b), abs=1e-14)


def test_shares_counts_and_the_value_of_the_run(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    for order in differences(run, (1, 2, 3)):
        n = order.n
        assert order.value == pytest.approx(run.divergences[n]["value"], abs=1e-12)
        counts = [
            Counter(
                tuple(phones[begin : begin + n])
                for phones in run.phones(side).values()
                for begin in range(len(phones) - n + 1)
            )
            for side in ("generated", "real")
        ]
        for ngram in (*order.too_often, *order.too_rare):
            assert ngram.counts == (counts[0][ngram.phones], counts[1][ngram.phones])
            p, q = (count[ngram.phones] / count.total() for count in counts)
            term = sum(side * math.log(side / ((p + q) / 2)) / 2 for side in (p, q) if side)
            assert ngram.share == pytest.approx(term / order.value)
    [phones] = differences(run, [1])
    assert phones.too_often[0].phones == ("v",)


def test_standard_error_is_that_of_a_ratio_over_clips() -> None:
    """z of "a" by the textbook: residuals c - n f of each clip."""
    generated = [list("aab"), list("ab"), list("bbbb"), list("aaaa") * 4] * 4
    real = [list("ba"), list("bbb"), list("abb"), list("bbbbbb") * 3] * 4
    [order] = differences(made(generated, real), [1])

    def share(clips: list[list[str]]) -> tuple[float, float]:
        sizes, counts = [len(clip) for clip in clips], [clip.count("a") for clip in clips]
        f = sum(counts) / sum(sizes)
        residuals = [count - size * f for count, size in zip(counts, sizes, strict=True)]
        return f, sum(residual**2 for residual in residuals) * len(clips) / (len(clips) - 1) / sum(sizes) ** 2

    (p, of_p), (q, of_q) = share(generated), share(real)
    z = (p - q) / math.sqrt(of_p + of_q)
    assert z > 2  # significant with two types, so it is shown
    assert order.too_often[0].z == pytest.approx(z)


def test_what_one_clip_or_one_speaker_repeats_is_chance() -> None:
    ordinary = [list("abcabcabcacb") for _ in range(20)]
    looping = [*ordinary[:-1], list("zzzzzzzzzzzzzzzzzzzz")]
    [order] = differences(made(looping, ordinary), [1])
    assert ("z",) not in {ngram.phones for ngram in order.too_often}
    rng = np.random.default_rng(0)
    often = [list(rng.choice(list("abcz"), 12)) for _ in range(20)]
    by_clip = made(often, ordinary)
    [of_clips] = differences(by_clip, [1])
    assert of_clips.too_often[0].phones == ("z",)
    # Clips of few speakers tell little of another one.
    for index, clip in enumerate(by_clip.clips["generated"]):
        clip["speaker"] = f"{index % 4}"
    [of_speakers] = differences(by_clip, [1])
    assert of_speakers.value == pytest.approx(of_clips.value)
    assert of_speakers.n_significant == 0


def test_equal_corpora_differ_in_nothing() -> None:
    spoken = [list("abcab"), list("bca")] * 10
    [order] = differences(made(spoken, spoken), [2])
    assert (order.value, order.n_significant, order.too_often, order.too_rare) == (0, 0, (), ())
    assert [order.n for order in differences(made(spoken, [["a"]]), (1, 2))] == [1]


def test_strangeness_is_a_mean_over_a_clip_and_its_weighted_mean_half_of_the_divergence() -> None:
    generated, real = [list("aab"), list("ab"), ["a"], list("cc")], [list("ba"), list("bba")]
    run = made(generated, real)
    strange = strangeness(run, 1)
    p, q = {"a": 4 / 8, "b": 2 / 8, "c": 2 / 8}, {"a": 2 / 5, "b": 3 / 5, "c": 0.0}
    terms = {phone: math.log(p[phone] / ((p[phone] + q[phone]) / 2)) / 2 for phone in p}
    for index, clip in enumerate(generated):
        assert strange[str(index)] == pytest.approx(sum(terms[phone] for phone in clip) / len(clip))
    assert list(strangeness(run, 2)) == ["0", "1", "3"]  # a clip of one phone has no 2-gram
