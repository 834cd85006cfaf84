"""Tests of pJSD between systems: against the spread of fresh samples, and of pairs against strangers."""

from __future__ import annotations

import numpy as np
import pytest

from slm_eval.compare.leaderboard.divergence_pairs import Speech, pair_tests
from slm_eval.functional import pjsd
from tests.compare.leaderboard.made_runs import Phones, spoken, system

N = 2


def speech(phones: Phones, named: str, each: int = 1) -> Speech:
    """Utterances of so many a speaker."""
    return Speech(phones, [(named, index // each) for index in range(len(phones))])


def test_the_sd_is_that_of_fresh_samples() -> None:
    fresh, estimated = [], []
    for seed in range(0, 300, 3):
        a, b, real = (spoken(60, seed + index, mixed) for index, mixed in enumerate((0.0, 0.3, 0.0)))
        fresh.append(pjsd(a, real, n=N) - pjsd(b, real, n=N))
        if seed < 45:
            tested, reasons = pair_tests(N, {"a": speech(a, "a"), "b": speech(b, "b")}, speech(real, "r"), seed)
            assert not reasons
            assert tested["a", "b"].value == pytest.approx(fresh[-1], abs=1e-12)
            estimated.append(tested["a", "b"].error)
    assert 0.8 < np.mean(estimated) / np.std(fresh, ddof=1) < 1.3


def test_what_real_speech_adds_to_both_is_no_part_of_the_difference() -> None:
    """Of so little real speech each value is uncertain; the difference is much less so."""
    a, b, real = spoken(400, 1, 0.3), spoken(400, 2, 0.3), spoken(20, 3)
    tested, _ = pair_tests(N, {"a": speech(a, "a"), "b": speech(b, "b")}, speech(real, "r"), 0)
    alone = [system(name, phones, real=real).run.metrics[f"pjsd.{N}"]["sd"] for name, phones in (("a", a), ("b", b))]
    assert tested["a", "b"].error < 0.6 * np.hypot(*alone)


def test_prompts_in_common_are_drawn_together() -> None:
    """Both systems say nearly the same: as pairs they differ by little, as strangers by as much as any two."""
    a, real = spoken(80, 1, 0.3), spoken(80, 2)
    b = [
        utterance if index % 8 else other for index, (utterance, other) in enumerate(zip(a, spoken(80, 3), strict=True))
    ]
    errors = [
        pair_tests(N, {"a": speech(a, "prompt"), "b": speech(b, named)}, speech(real, "r"), 0)[0]["a", "b"].error
        for named in ("prompt", "other")
    ]
    assert errors[0] < 0.7 * errors[1]


def test_half_of_the_prompts_in_common_helps_by_half() -> None:
    a, real = spoken(80, 1, 0.3), spoken(80, 2)
    labels = [("prompt", index) if index % 2 else ("b", index) for index in range(80)]
    error = {
        name: pair_tests(N, {"a": speech(a, "prompt"), "b": Speech(a, of_b)}, speech(real, "r"), 0)[0]["a", "b"].error
        for name, of_b in (("half", labels), ("none", [("b", index) for index in range(80)]))
    }
    assert 0.5 < error["half"] / error["none"] < 0.9


def test_too_few_speakers_are_not_tested_and_say_why() -> None:
    few = speech(spoken(60, 1), "few", each=10)
    tested, reasons = pair_tests(N, {"few": few, "many": speech(spoken(60, 2), "many")}, speech(spoken(60, 3), "r"), 0)
    assert not tested
    assert list(reasons) == ["few"]
    assert "speakers" in reasons["few"]


def test_equal_systems_are_seldom_told_apart() -> None:
    """Of 40 tables of four equal systems, two false ones are expected."""
    false = 0
    for seed in range(0, 200, 5):
        board = [spoken(30, seed + index) for index in range(5)]
        tested, _ = pair_tests(
            N, {str(index): speech(each, str(index)) for index, each in enumerate(board[:4])}, speech(board[4], "r"), 0
        )
        false += min(each.p_value() for each in tested.values()) < 0.05 / 6
    assert false <= 6  # more have a probability of 0.3 %
