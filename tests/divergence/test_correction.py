"""The corrected value against its formula, and against the divergence of chains that are known."""

from __future__ import annotations

import numpy as np
import pytest

from slm_eval.divergence.analysis import Analysis, analyse
from slm_eval.divergence.correction import corrected
from slm_eval.divergence.estimators import LN2
from tests.divergence.chains import chain, mixed, sample, true_divergence


@pytest.mark.parametrize("floors", [(0.0, 0.0), (0.2, 0.35), (0.35, 0.2), (0.58, 0.58)])
def test_corrected_is_the_cosine_of_what_is_shared(floors: tuple[float, float]) -> None:
    shared = [1 - each / LN2 for each in (0.3, *floors)]
    expected = LN2 * (1 - shared[0] / (shared[1] * shared[2]) ** 0.5)
    assert corrected(0.3, floors) == pytest.approx(expected, abs=1e-12)


def test_corrected_is_withheld_where_samples_of_one_source_share_next_to_nothing() -> None:
    assert corrected(0.69, [0.64, 0.3]) is None
    rng = np.random.default_rng(0)
    sides = [[list(rng.permutation(1000)[:15]) for _ in range(14)] for _ in range(2)]
    result = analyse(*sides, (3,))[3]
    assert isinstance(result, Analysis)
    assert result.corrected is None
    assert "there is no corrected value: coverage is below 0.8" in result.warnings


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("sizes", [(60, 60), (40, 160)])
def test_corrected_is_near_the_truth_where_the_value_is_not(n: int, sizes: tuple[int, int]) -> None:
    # Two order-1 chains of 12 phones, all n-grams listed: the truth. Sizes of 2,400 phones and more; means of 6 runs.
    truth = true_divergence(chain(1), mixed(), n)
    found, values = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        result = analyse(sample(mixed(), sizes[0], 40, rng), sample(chain(1), sizes[1], 40, rng), (n,))[n]
        assert isinstance(result, Analysis)
        found.append(result.corrected)
        values.append(result.value)
    assert np.mean(found) == pytest.approx(truth, rel=0.25)
    if n > 2:
        assert np.mean(values) > 1.5 * truth
