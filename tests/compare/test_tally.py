"""Tallies of types against pjsd of the relabelled corpora."""

from __future__ import annotations

import numpy as np
import pytest

from slm_eval.compare.pool import Pool
from slm_eval.divergence.bitsums import LARGEST
from slm_eval.functional import pjsd
from tests.compare.labelled import Corpus, differences_of, groups_of, rng
from tests.divergence.chains import incidence_of


def test_tallies_hold_more_than_a_byte_of_types() -> None:
    """600 types that occur once on either side are one class: all of them are in a draw, or none."""
    pool, real = [list(range(600)), [0] * 7 + [600], list(range(300)) * 7], [list(range(601))]
    members = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1]], dtype=np.uint8)
    found = differences_of(Pool.from_incidence(incidence_of(pool + real, 1), slice(0, 3), slice(3, 4)), members)
    for draw in range(3):
        chosen = members[:, draw].astype(bool)
        groups = [[each for each, label in zip(pool, chosen, strict=True) if label == side] for side in (True, False)]
        assert found[draw] == pytest.approx(pjsd(groups[0], real, n=1) - pjsd(groups[1], real, n=1), abs=1e-12)


def test_tallied_and_other_types_are_counted_alike() -> None:
    """Types that occur 1 to LARGEST + 3 times on either side: in each draw, both divergences by brute force."""
    random = rng()
    largest = LARGEST + 3
    grid = [(mine, other) for mine in range(1, largest + 1) for other in range(1, largest + 1)]
    pool: Corpus = [[] for _ in range(9)]
    for phone, (mine, _) in enumerate(grid):
        for index in random.integers(0, 9, mine):
            pool[index].append(phone)
    pool.append([len(grid)] * 4)  # only in the pool
    real = [[phone for phone, (_, other) in enumerate(grid) for _ in range(other)], [len(grid) + 1] * 9]
    members = random.integers(0, 2, (10, 300), dtype=np.uint8)
    groups = groups_of(Pool.from_incidence(incidence_of(pool + real, 1), slice(0, 10), slice(10, 12)), members)
    for draw in (0, 1, 150, 255, 256, 299):
        for found, label in ((groups.first, 1), (groups.second, 0)):
            chosen = [each for each, mark in zip(pool, members[:, draw], strict=True) if mark == label]
            assert found[draw] == pytest.approx(pjsd(chosen, real, n=1), abs=1e-13)
