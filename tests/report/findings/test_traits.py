"""Properties of speech by hand, and entropy of a known source."""

from __future__ import annotations

import math

import numpy as np
import pytest

from slm_eval.report.findings.traits import Trait, traits
from slm_eval.run.finished import FinishedRun
from tests.report.findings.made_phones import made


def trait(run: FinishedRun, name: str) -> Trait:
    return next(one for one in traits(run) if one.name == name)


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
    clips = [["ab"[state] for state in (np.cumsum(rng.random(400) < 0.1) + rng.integers(2)) % 2] for _ in range(100)]
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
    assert "Phones per second" not in {known.name for known in traits(run)}
    assert traits(made([], [])) == []
