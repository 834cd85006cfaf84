"""Golden values of the divergence and of an entropy, checked in 40-digit arithmetic, and its properties."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slm_eval.base.errors import SlmEvalError
from slm_eval.divergence import estimators as divergence
from slm_eval.divergence.estimators import LN2, UndefinedError, jensen_shannon

counts = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=12).filter(
    lambda pairs: all(map(sum, zip(*pairs, strict=True)))
)


# Values worked out from equations 3.4 to 3.6 of arXiv 2604.24416 with mpmath, 40 digits.
@pytest.mark.parametrize(
    ("p", "q", "nats"),
    [
        ((1, 0), (0, 1), 0.69314718055994531),
        ((1 / 2, 1 / 2), (1, 0), 0.2157615543388357),
        ((1 / 2, 1 / 2), (1 / 4, 3 / 4), 0.03382207556860523),
        ((2 / 3, 1 / 3, 0), (0, 1 / 3, 2 / 3), 0.46209812037329687),
        ((0.1, 0.4, 0.5), (0.8, 0.15, 0.05), 0.29126084062606399),
    ],
)
def test_golden_divergences(p: Sequence[float], q: Sequence[float], nats: float) -> None:
    assert jensen_shannon(p, q) == pytest.approx(nats, abs=1e-12)


# The same source: the formula of entropy_cwj evaluated in 40 digits.
def test_golden_entropy() -> None:
    assert divergence.entropy_cwj([4, 2, 1, 1]) == pytest.approx(1.565163098552115, abs=1e-12)
    assert divergence.entropy_cwj([0, 1, 4, 0, 1, 2]) == pytest.approx(1.565163098552115, abs=1e-12)


def test_golden_counts() -> None:
    assert jensen_shannon((4, 2, 1, 1, 0), (2, 2, 0, 1, 3)) == pytest.approx(0.19452417473941108, abs=1e-12)


@given(counts)
def test_symmetric_and_in_range(pairs: list[tuple[int, int]]) -> None:
    a, b = zip(*pairs, strict=True)
    assert jensen_shannon(a, b) == pytest.approx(jensen_shannon(b, a), abs=1e-14)
    assert 0 <= jensen_shannon(a, b) <= LN2 + 1e-15


@given(counts, st.integers(2, 1000))
def test_scaling_one_side_changes_nothing(pairs: list[tuple[int, int]], factor: int) -> None:
    a, b = map(np.array, zip(*pairs, strict=True))
    assert jensen_shannon(a * factor, b) == pytest.approx(jensen_shannon(a, b), abs=1e-14)
    # Proportional vectors are where a root of a negative rounding error would be NaN.
    assert jensen_shannon(a * factor, a) == pytest.approx(0, abs=1e-14)


@given(counts, st.randoms(use_true_random=False))
def test_zero_bins_and_relabelling_change_nothing(pairs: list[tuple[int, int]], random: object) -> None:
    shuffled = [*pairs, (0, 0), (0, 0)]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert jensen_shannon(*zip(*shuffled, strict=True)) == pytest.approx(
        jensen_shannon(*zip(*pairs, strict=True)), abs=1e-14
    )


@given(counts)
def test_merging_bins_never_raises_it(pairs: list[tuple[int, int]]) -> None:
    pairs = [*pairs, (0, 0)]
    merged = [(pairs[0][0] + pairs[1][0], pairs[0][1] + pairs[1][1]), *pairs[2:]]
    before, after = (jensen_shannon(*zip(*bins, strict=True)) for bins in (pairs, merged))
    assert after <= before + 1e-14


@pytest.mark.parametrize("n", [2, 100, 10_000, 1_000_000])
@pytest.mark.parametrize("missing", [0.5, 0.05, 1e-3, 1e-5])
def test_power_tail_equals_its_series(n: int, missing: float) -> None:
    x = 1 - missing
    k = np.arange(int(40 / missing))
    series = math.fsum(np.exp(math.log(x) * (k + 1)) / (n + k))
    assert divergence._power_tail(x, n) == pytest.approx(series, rel=1e-13)


@pytest.mark.parametrize("c", [[1], [3], [1, 1, 1], [2, 2], [1, 2], [1, 1, 5]])
def test_entropy_is_finite_on_tiny_samples(c: list[int]) -> None:
    assert math.isfinite(divergence.entropy_cwj(c))


def test_coverage_counts_pooled_singletons() -> None:
    assert divergence.coverage([2, 1, 0, 1], [0, 0, 1, 1]) == 1 - 2 / 6


def test_align_over_the_union_of_keys() -> None:
    a, b = divergence.align_keys(*(np.array(each) for each in ([3, 5], [4, 1], [1, 5], [2, 6])))
    assert (a.tolist(), b.tolist()) == ([0, 4, 1], [2, 0, 6])  # keys 1, 3, 5


def test_an_empty_side_is_undefined() -> None:
    with pytest.raises(UndefinedError, match="side b has no n-grams") as caught:
        jensen_shannon([1, 2], [0, 0])
    assert isinstance(caught.value, SlmEvalError)
    with pytest.raises(UndefinedError):
        divergence.coverage([0], [0])
    with pytest.raises(UndefinedError):
        divergence.entropy_cwj([])


def test_what_is_no_count_vector_is_refused() -> None:
    with pytest.raises(ValueError, match="side a must be finite and not negative; got -1"):
        jensen_shannon([1, -1], [1, 1])
    with pytest.raises(ValueError, match="side b must be finite and not negative; got nan"):
        jensen_shannon([1, 1], [1, math.nan])
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        jensen_shannon([1, 1], [1, 1, 1])


def test_only_rounding_errors_are_clamped() -> None:
    assert divergence._clamp(-1e-13) == 0
    with pytest.raises(ArithmeticError, match="please report"):
        divergence._clamp(-1e-11)
