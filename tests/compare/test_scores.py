"""Paired scores, whose exact distribution over all signs is known by hand."""

from __future__ import annotations

import numpy as np

from slm_eval.compare.labellings import swaps
from slm_eval.compare.permutation import p_value
from slm_eval.compare.scores import paired_sums


def test_paired_p_is_that_of_all_signs_by_hand() -> None:
    """Differences 1, 2, 3: of the eight signed sums only +6 and -6 are as extreme: p = 2/8."""
    drawn = swaps(3, 99, (0,))
    assert p_value(paired_sums(np.array([[1.0, 2.0, 3.0]]), drawn)[0]) == 0.25
    assert p_value(paired_sums(np.array([[1.0, -1.0, 1.0]]), drawn)[0]) == 1.0  # every sum is 1 or 3 in size
    assert p_value(paired_sums(np.zeros((1, 3)), drawn)[0]) == 1.0
