"""Sentences say no more than the numbers, and verdicts are Holm's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from slm_eval.metrics.means import Moments
from slm_eval.report.findings import reading


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
    generated = {"value": 3.1, "ci95": [2.8, 3.4], "sd": 1.0, "n": 40}
    real = {"value": 3.5, "ci95": [3.1, 3.9], "sd": 1.0, "n": 40}
    gap = reading.difference(reading.moments(generated), reading.moments(real))
    assert gap is not None
    assert (gap.value, *gap.interval) == pytest.approx((-0.4, -0.9, 0.1))
    # Of intervals that are not symmetric, the halves that face each other.
    skewed = reading.difference(
        reading.moments(generated | {"ci95": [2.7, 3.2]}), reading.moments(real | {"ci95": [2.3, 3.8]})
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
