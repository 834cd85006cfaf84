"""pjsd as other projects call it: the corpus of the reference, its errors, what it imports."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slm_eval.divergence.estimators import UndefinedError
from slm_eval.functional import jensen_shannon, pjsd

REAL, GENERATED = ["ababa", "ba"], ["abba", "a"]
corpora = st.lists(st.text("abc", max_size=7), max_size=5)


# Worked out by hand counts in 40-digit arithmetic (mpmath). Windows that crossed utterances would give n=2
# 0.2157615543388357.
@pytest.mark.parametrize(
    ("n", "nats"), [(1, 4.2058755900399001e-4), (2, 0.13635739790459903), (3, math.log(2)), (4, math.log(2))]
)
def test_golden_corpus(n: int, nats: float) -> None:
    assert pjsd(GENERATED, REAL, n=n) == pytest.approx(nats, abs=1e-12)
    assert pjsd(REAL, GENERATED, n=n) == pytest.approx(nats, abs=1e-12)


@pytest.mark.parametrize(("n", "bits"), [(1, 6.0677958563465068e-4), (2, 0.19672214174548815), (3, 1.0)])
def test_golden_corpus_in_bits(n: int, bits: float) -> None:
    assert pjsd(GENERATED, REAL, n=n, base=2) == pytest.approx(bits, abs=1e-12)


def test_a_side_without_ngrams_is_undefined() -> None:
    with pytest.raises(UndefinedError, match="generated side has no 5-grams: none of its 2 utterances has 5 phones"):
        pjsd(GENERATED, REAL, n=5)
    with pytest.raises(UndefinedError, match="real side has no 1-grams: none of its 0 utterances"):
        pjsd(GENERATED, [], n=1)


@given(corpora, corpora, st.integers(1, 4))
def test_against_counters(generated: list[str], real: list[str], n: int) -> None:
    sides = [Counter(u[i : i + n] for u in side for i in range(len(u) - n + 1)) for side in (generated, real)]
    if not all(sides):
        with pytest.raises(UndefinedError):
            pjsd(generated, real, n=n)
        return
    total = 0.0
    for this, other in (sides, sides[::-1]):
        for window, count in this.items():
            p, q = count / sum(this.values()), other[window] / sum(other.values())
            total += 0.5 * p * math.log(p / ((p + q) / 2))
    assert pjsd(generated, real, n=n) == pytest.approx(total, abs=1e-14)


def test_phones_may_be_any_sortable_values() -> None:
    expected = pjsd(GENERATED, REAL, n=2)
    ids = {"a": 7, "b": 300}
    assert pjsd([[ids[p] for p in u] for u in GENERATED], [[ids[p] for p in u] for u in REAL], n=2) == expected
    assert (
        pjsd([np.array([ids[p] for p in u]) for u in GENERATED], [[ids[p] for p in u] for u in REAL], n=2) == expected
    )
    assert pjsd((tuple(u) for u in GENERATED), (tuple(u) for u in REAL), n=2) == expected


def test_long_ngrams_of_a_large_inventory() -> None:
    utterances = [list(range(start, start + 40)) for start in range(0, 2000, 40)]
    assert pjsd(utterances, utterances[::-1], n=30) == 0
    assert pjsd(utterances[:25], utterances[25:], n=30) == pytest.approx(math.log(2), abs=1e-15)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="base must be 'e' or 2; got 10"):
        pjsd(GENERATED, REAL, base=10)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got n=0"):
        pjsd(GENERATED, REAL, n=0)
    with pytest.raises(TypeError, match="real_phones must be a sequence of utterances"):
        pjsd(GENERATED, "ababa")


def test_imports_numpy_alone() -> None:
    code = (
        "import sys; from slm_eval.functional import pjsd; pjsd(['ab'], ['ba'], n=1); "
        "print([m for m in ('scipy', 'torch') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_jensen_shannon_is_exposed() -> None:
    assert jensen_shannon([1, 1], [1, 0]) == pytest.approx(0.2157615543388357, abs=1e-12)
