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
    shared = [1 - score / LN2 for score in (0.3, *floors)]
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
    estimates, values = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        result = analyse(sample(mixed(), sizes[0], 40, rng), sample(chain(1), sizes[1], 40, rng), (n,))[n]
        assert isinstance(result, Analysis)
        estimates.append(result.corrected)
        values.append(result.value)
    assert np.mean(estimates) == pytest.approx(truth, rel=0.25)
    if n > 2:
        assert np.mean(values) > 1.5 * truth


@pytest.mark.parametrize("n", [2, 3])
def test_corrected_is_withheld_where_noise_is_spread_thinly(n: int) -> None:
    # 40 phones with ten successors each; in noisy speech one phone in twenty is replaced by any.
    rng = np.random.default_rng(0)

    def said(share: float) -> list[list[int]]:
        utterances = []
        for _ in range(100):
            utterance = [int(rng.integers(40))]
            while len(utterance) < 80:
                utterance.append((7 * utterance[-1] + 3 * int(rng.integers(10))) % 40)
            utterances.append([int(rng.integers(40)) if rng.random() < share else phone for phone in utterance])
        return utterances

    real = said(0.0)
    noisy, clean = (analyse(said(share), real, (n,))[n] for share in (0.05, 0.0))
    assert isinstance(noisy, Analysis)
    assert isinstance(clean, Analysis)
    warned = [warning for warning in noisy.warnings if "one side is far more varied than the other" in warning]
    assert (noisy.corrected, len(warned)) == (None, 1)
    assert clean.corrected == pytest.approx(0, abs=0.01)
