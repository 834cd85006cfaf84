"""Contributions, traits and sentences against brute force and known cases."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slm_eval.divergence.estimators import jensen_shannon
from slm_eval.metrics.means import Moments
from slm_eval.report.findings import reading
from slm_eval.report.findings.contributions import contributions, differences, strangeness
from slm_eval.report.findings.traits import Trait, traits
from slm_eval.run.finished import FinishedRun
from tests.report.made_run import made_run

COUNTS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=30)


def made(generated: list[list[str]], real: list[list[str]], **more: Any) -> FinishedRun:
    """A run of phones, a second of audio for every ten."""
    clips = {
        side: [
            {
                "id": str(at),
                "side": side,
                "seconds": len(phones) / 10,
                "status": "ok",
                "scores": {},
                "phones": phones,
                **more,
            }
            for at, phones in enumerate(spoken)
        ]
        for side, spoken in (("generated", generated), ("real", real))
    }
    return FinishedRun("made", {"metrics": {}}, clips)


def trait(run: FinishedRun, name: str) -> Trait:
    return next(each for each in traits(run) if each.name == name)


@given(COUNTS)
def test_contributions_sum_to_the_divergence_and_none_is_negative(counts: list[tuple[int, int]]) -> None:
    a, b = np.array(counts).T
    if a.sum() and b.sum():
        terms = contributions(a, b)
        assert (terms >= 0).all()
        assert terms.sum() == pytest.approx(jensen_shannon(a, b), abs=1e-14)


def test_shares_counts_and_the_value_of_the_run(tmp_path: Path) -> None:
    run = made_run(tmp_path)
    for found in differences(run, (1, 2, 3)):
        n = found.n
        assert found.value == pytest.approx(run.divergences[n]["value"], abs=1e-12)
        counts = [
            Counter(
                tuple(phones[at : at + n]) for phones in run.phones(side).values() for at in range(len(phones) - n + 1)
            )
            for side in ("generated", "real")
        ]
        for each in (*found.too_often, *found.too_rare):
            assert each.counts == (counts[0][each.phones], counts[1][each.phones])
            p, q = (count[each.phones] / count.total() for count in counts)
            term = sum(side * math.log(side / ((p + q) / 2)) / 2 for side in (p, q) if side)
            assert each.share == pytest.approx(term / found.value)
    [phones] = differences(run, [1])
    assert phones.too_often[0].phones == ("v",)


def test_standard_error_is_that_of_a_ratio_over_clips() -> None:
    """z of "a" by the textbook: residuals c - n f of each clip."""
    generated = [list("aab"), list("ab"), list("bbbb"), list("aaaa") * 4] * 4
    real = [list("ba"), list("bbb"), list("abb"), list("bbbbbb") * 3] * 4
    [found] = differences(made(generated, real), [1])

    def share(clips: list[list[str]]) -> tuple[float, float]:
        sizes, counts = [len(clip) for clip in clips], [clip.count("a") for clip in clips]
        f = sum(counts) / sum(sizes)
        residuals = [count - size * f for count, size in zip(counts, sizes, strict=True)]
        return f, sum(each**2 for each in residuals) * len(clips) / (len(clips) - 1) / sum(sizes) ** 2

    (p, of_p), (q, of_q) = share(generated), share(real)
    z = (p - q) / math.sqrt(of_p + of_q)
    assert z > 2  # significant with two types, so it is shown
    assert found.too_often[0].z == pytest.approx(z)


def test_what_one_clip_or_one_speaker_repeats_is_chance() -> None:
    ordinary = [list("abcabcabcacb") for _ in range(20)]
    looping = [*ordinary[:-1], list("zzzzzzzzzzzzzzzzzzzz")]
    [found] = differences(made(looping, ordinary), [1])
    assert ("z",) not in {each.phones for each in found.too_often}
    rng = np.random.default_rng(0)
    often = [list(rng.choice(list("abcz"), 12)) for _ in range(20)]
    by_clip = made(often, ordinary)
    [of_clips] = differences(by_clip, [1])
    assert of_clips.too_often[0].phones == ("z",)
    # Clips of few speakers tell little of another one.
    for at, clip in enumerate(by_clip.clips["generated"]):
        clip["speaker"] = f"{at % 4}"
    [of_speakers] = differences(by_clip, [1])
    assert of_speakers.value == pytest.approx(of_clips.value)
    assert of_speakers.n_significant == 0


def test_equal_corpora_differ_in_nothing() -> None:
    spoken = [list("abcab"), list("bca")] * 10
    [found] = differences(made(spoken, spoken), [2])
    assert (found.value, found.n_significant, found.too_often, found.too_rare) == (0, 0, (), ())
    assert [found.n for found in differences(made(spoken, [["a"]]), (1, 2))] == [1]


def test_strangeness_is_a_mean_over_a_clip_and_its_weighted_mean_half_of_the_divergence() -> None:
    generated, real = [list("aab"), list("ab"), ["a"], list("cc")], [list("ba"), list("bba")]
    run = made(generated, real)
    strange = strangeness(run, 1)
    p, q = {"a": 4 / 8, "b": 2 / 8, "c": 2 / 8}, {"a": 2 / 5, "b": 3 / 5, "c": 0.0}
    each = {phone: math.log(p[phone] / ((p[phone] + q[phone]) / 2)) / 2 for phone in p}
    for at, clip in enumerate(generated):
        assert strange[str(at)] == pytest.approx(sum(each[phone] for phone in clip) / len(clip))
    assert list(strangeness(run, 2)) == ["0", "1", "3"]  # a clip of one phone has no 2-gram


def test_traits_by_hand() -> None:
    run = made([list("abab"), list("aabbaabb")], [list("abcd"), list("dcba")], audio={"silence": 0.25})
    assert trait(run, "Phones per second").moments["generated"].value == pytest.approx(10)
    assert trait(run, "Silence").moments["real"].value == pytest.approx(25)
    doubled = trait(run, "Doubled phones")
    assert doubled.values["generated"] == pytest.approx([0, 100 * 4 / 7])
    repeated = trait(run, "Repeated 4-grams")
    # aabb abba bbaa baab aabb: one of five was there before.
    assert repeated.values["generated"] == pytest.approx([0, 20])
    assert repeated.values["real"] == pytest.approx([0, 0])


def test_entropy_of_long_speech_from_a_known_source() -> None:
    """A Markov chain of two phones that changes with probability 0.1: 1 bit a phone, 0.469 bits for the next."""
    rng = np.random.default_rng(0)
    clips = [["ab"[at] for at in (np.cumsum(rng.random(400) < 0.1) + rng.integers(2)) % 2] for _ in range(100)]
    run = made(clips, clips[:1])
    phones, following = trait(run, "Entropy of phones"), trait(run, "Entropy of the next phone")
    low, high = following.moments["generated"].ci95 or (0, 0)
    truth = -(0.1 * math.log2(0.1) + 0.9 * math.log2(0.9))
    assert low < truth < high
    assert high - low < 0.03
    assert phones.moments["generated"].value == pytest.approx(1, abs=0.005)
    assert following.moments["real"].ci95 is None  # a single clip


def test_traits_of_phones_alone_and_of_nothing() -> None:
    run = made([list("ab")], [["a"]])
    for clips in run.clips.values():
        for clip in clips:
            del clip["seconds"]
    assert "Phones per second" not in {each.name for each in traits(run)}
    assert traits(made([], [])) == []


def test_sentences_say_no_more_than_the_numbers() -> None:
    metric = {"value": 0.2, "unit": "nats", "ci95": [0.18, 0.22], "sd": 0.01, "coverage": 0.95}
    real = {"floor": 0.1, "floor_sd": 0.005, "excess": 0.1, "p": 0.005}
    apart = metric | real
    assert "is told apart" in reading.of_divergences({2: apart})
    assert "At n = 2 generated and real speech differ" in reading.of_orders({2: apart})
    # Far above its floor, as sds go; but speakers differ as much: the test says so, and it decides.
    alike = apart | {"p": 0.06}
    assert "cannot be told from real speech" in reading.of_divergences({2: alike})
    # Two tests at 3 % are not enough together (Holm: 2.5 %), one is.
    assert "cannot be told" in reading.of_divergences({1: apart | {"p": 0.03}, 2: apart | {"p": 0.03}})
    assert "is told apart" in reading.of_divergences({2: apart | {"p": 0.03}})
    untested = apart | {"p": None}
    assert "do not tell" in reading.of_divergences({2: untested})
    assert "there is no test" in reading.of_orders({2: untested})
    assert "against itself" not in reading.of_divergences(
        {2: apart | {"floor": None, "floor_sd": None, "excess": None}}
    )
    assert reading.sharpest({2: apart, 5: apart | {"coverage": 0.1}}) == 2
    assert reading.sharpest({1: apart | {"p": 0.02}, 2: apart}) == 2
    assert reading.sharpest({1: apart, 2: apart | {"excess": 0.2}}) == 2


def test_a_difference_adds_facing_halves_in_quadrature() -> None:
    mine = {"value": 3.1, "ci95": [2.8, 3.4], "sd": 1.0, "n": 40}
    theirs = {"value": 3.5, "ci95": [3.1, 3.9], "sd": 1.0, "n": 40}
    found = reading.difference(reading.moments(mine), reading.moments(theirs))
    assert found is not None
    assert (found.value, *found.interval) == pytest.approx((-0.4, -0.9, 0.1))
    # Of intervals that are not symmetric, the halves that face each other.
    skewed = reading.difference(
        reading.moments(mine | {"ci95": [2.7, 3.2]}), reading.moments(theirs | {"ci95": [2.3, 3.8]})
    )
    assert skewed is not None
    assert skewed.interval == pytest.approx((-0.4 - 0.5, -0.4 + np.hypot(0.1, 1.2)))


def test_verdicts_are_holms() -> None:
    """Each alone, b and c would differ: 2.5 and 2.1 standard errors; of four at once, Holm takes 2.50 and leaves c."""

    def pair(gap: float) -> tuple[Moments, Moments]:
        half = 1.96 / math.sqrt(2)  # so that the difference has a standard error of 1
        return Moments(3 + gap, 1.0, (3 + gap - half, 3 + gap + half), 40), Moments(3, 1.0, (3 - half, 3 + half), 40)

    pairs = {"a": pair(-4.0), "b": pair(2.5), "c": pair(2.1), "d": pair(0.1)}
    assert reading.compare(pairs) == {"a": "below", "b": "above", "c": "alike", "d": "alike"}
    assert reading.compare({"c": pair(2.1)}) == {"c": "above"}
    assert reading.compare({"a": (pair(1.0)[0], None)}) == {"a": "unknown"}
    # Holm's own rule on his textbook's p values: 0.01 and 0.013 pass 0.05/4 and 0.05/3, 0.03 fails 0.05/2.
    assert reading.holm({"w": 0.01, "x": 0.013, "y": 0.03, "z": 0.04}) == {"w", "x"}
