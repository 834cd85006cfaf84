"""A whole analysis: its value is pjsd, order and names change nothing, and warnings say what is too little."""

from __future__ import annotations

import re

import numpy as np
import pytest

from slm_eval.divergence.analysis import Analysis, analyse
from slm_eval.divergence.resampling import (
    Undefined,
)
from slm_eval.functional import pjsd
from tests.divergence.chains import as_counter, chain, sample


@pytest.mark.parametrize(("n_generated", "n_real"), [(1, 1), (2, 2), (1, 18), (4, 40), (60, 15)])
def test_warnings_of_several_n_are_alike(n_generated: int, n_real: int) -> None:
    # Figures of one n in a warning would make five lines of it where one says the same.
    real = sample(chain(1), 100, 20, np.random.default_rng(0))
    results = analyse(real[:n_generated], real[n_generated : n_generated + n_real], (1, 2, 3, 4, 5))
    warnings = {line for result in results.values() if isinstance(result, Analysis) for line in result.warnings}
    assert len({re.sub(r"\d+", "0", line) for line in warnings}) == len(warnings), sorted(warnings)
    if n_generated < 8:
        reasons = {line for line in warnings if line.startswith("there is no interval")}
        assert reasons == {"there is no interval: a side has fewer than 8 clips"}


def test_analyse_value_is_pjsd() -> None:
    rng = np.random.default_rng(0)
    generated, real = sample(chain(1), 20, 30, rng), sample(chain(2), 30, 30, rng)
    for n, result in analyse(generated, real, range(1, 6)).items():
        assert isinstance(result, Analysis)
        assert result.value == pytest.approx(pjsd(generated, real, n=n), abs=1e-14)
        assert result.n_ngrams == tuple(sum(as_counter(side, n).values()) for side in (generated, real))
        assert result.n_types == tuple(len(as_counter(side, n)) for side in (generated, real))
        assert result.n_phones == tuple(sum(map(len, side)) for side in (generated, real))
        assert result.n_utterances == (20, 30)
        assert result.floor is not None
        assert result.excess == result.value - result.floor


def test_order_of_utterances_and_of_orders_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    generated, real = sample(chain(1), 25, 20, rng), sample(chain(2), 40, 20, rng)
    generated[3] = generated[7]
    speakers = [index % 9 for index in range(40)]
    expected = analyse(generated, real, (1, 3), real_clusters=speakers)
    first, second = rng.permutation(25), rng.permutation(40)
    shuffled = analyse(
        [generated[index] for index in first],
        [real[index] for index in second],
        (3,),
        real_clusters=[speakers[index] for index in second],
    )
    assert shuffled[3] == expected[3]
    assert analyse(generated, real, (3,), seed=1, real_clusters=speakers) != shuffled


def test_names_of_phones_change_nothing() -> None:
    rng = np.random.default_rng(0)
    generated, real = sample(chain(1), 20, 20, rng), sample(chain(2), 20, 20, rng)
    names = [f"p{index:02}" for index in range(12)]
    renamed = ([[names[phone] for phone in utterance] for utterance in side] for side in (generated, real))
    assert analyse(*renamed, (2,)) == analyse(generated, real, (2,))


def test_clusters_widen_the_interval_where_utterances_of_one_are_alike() -> None:
    rng = np.random.default_rng(0)
    real = sample(chain(2), 100, 30, rng)
    generated = [utterance for utterance in sample(chain(1), 25, 30, rng) for _ in range(4)]
    alone = analyse(generated, real, (2,))[2]
    together = analyse(generated, real, (2,), generated_clusters=[index // 4 for index in range(100)])[2]
    assert isinstance(alone, Analysis)
    assert isinstance(together, Analysis)
    assert together.sd > 1.3 * alone.sd  # type: ignore[operator]
    assert together.value == alone.value


def test_warnings_of_small_and_unequal_sides() -> None:
    rng = np.random.default_rng(0)
    result = analyse(sample(chain(1), 7, 20, rng), sample(chain(1), 30, 20, rng), (4,))[4]
    assert isinstance(result, Analysis)
    text = "\n".join(result.warnings)
    assert "coverage is below 0.9" in text
    assert "differ in size by more than 1%" in text
    assert "there is no interval: a side has fewer than 8 clips" in text
    plenty = analyse(sample(chain(1), 40, 60, rng), sample(chain(1), 40, 60, rng), (1,))[1]
    assert isinstance(plenty, Analysis)
    assert not [line for line in plenty.warnings if "differ in size" not in line]


def test_one_utterance_has_no_interval() -> None:
    result = analyse([[0, 1, 2]], [[0, 1], [1, 2]], (1,))[1]
    assert isinstance(result, Analysis)
    assert (result.sd, result.ci95) == (None, None)
    assert any("there is no interval" in line for line in result.warnings)


def test_undefined_orders_carry_a_reason() -> None:
    result = analyse(["abba", "a"], ["ababa", "ba"], range(1, 6))
    assert result[5] == Undefined("the generated side has no 5-grams: none of its 2 utterances has 5 phones")
    assert isinstance(result[4], Analysis)
    assert analyse([], [], (1,))[1] == Undefined(
        "the generated side has no 1-grams: none of its 0 utterances has 1 phones"
    )
    assert isinstance(analyse([[], []], [["a"]], (1,))[1], Undefined)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="got 3, 40, 200"):
        analyse(["a"], ["a"], (1,), draws=3)
    with pytest.raises(ValueError, match="expected a cluster label for each of 2 real utterances; got 1"):
        analyse(["a"], ["a", "b"], (1,), real_clusters=[0])
