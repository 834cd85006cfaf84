"""Scores of halves and quarters of cut corpora against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from slm_eval.divergence.nested import nested_scores
from tests.divergence.chains import brute_force, chain, chosen, incidence_of, sample


def test_nested_scores_equal_brute_force() -> None:
    rng = np.random.default_rng(0)
    generated, real = sample(chain(1), 20, 30, rng), sample(chain(2), 25, 30, rng)
    segments = rng.integers(0, 5, size=(12, 20)), rng.integers(0, 5, size=(12, 25))
    incidence = incidence_of([*generated, *real], 2)
    whole, halves, quarters = nested_scores(incidence, (slice(0, 20), slice(20, 45)), segments, 4)
    for split in range(12):
        for level, parts in ((whole, [(0, 1, 2, 3)]), (halves, [(0, 1), (2, 3)]), (quarters, [(0,), (1,), (2,), (3,)])):
            for index, part in enumerate(parts):
                a, b = (
                    chosen(side, np.isin(segment[split], part).astype(np.uint8))
                    for side, segment in zip((generated, real), segments, strict=True)
                )
                assert level.scores[split, index] == pytest.approx(brute_force(a, b, 2), abs=1e-12)
                assert level.n_ngrams[0][split, index] == sum(len(phones) - 1 for phones in a)
