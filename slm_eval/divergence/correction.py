"""The true divergence, estimated: the value freed of what finite samples add to it.

Two samples share less than their sources do, and samples of one source share less than all. With W = 1 - J / ln 2 for
what a score says is shared, W of generated against real speech is set beside W of each side against itself at the same
sizes, as a cosine is:

    corrected = ln 2 (1 - W(generated, real) / sqrt(W(generated, generated) W(real, real)))

It is 0 where both are one source, and the value itself where samples are so large that each side shares all with
itself; in between it is an approximation. Dividing by both sides' floors matters: subtracting that of real speech alone
favours generated speech that is less varied than real speech. Entropy estimators (Chao, Wang and Jost 2013) in place of
the plug-in gave 8 to 25 times the truth where few n-grams are seen twice. ``benchmarks/statistics`` measures the error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from slm_eval.divergence.estimators import LN2

# Share that two samples of one source have in common, below which the estimate is mostly noise: dividing by it makes
# the deviations of the value seven times as large.
MIN_SHARED = 0.15


def corrected(value: float, floors: Iterable[float]) -> float | None:
    """Return the estimate of the divergence of the sources.

    Args:
        value: divergence of two samples of equal size, nats.
        floors: of each side, at that size, nats.

    Returns:
        nats, below 0 by chance where the sources hardly differ; None where samples of one source share less than
        ``MIN_SHARED``.

    >>> corrected(0.3, [0.0, 0.0]), corrected(0.3, [0.3, 0.3])
    (0.3, 0.0)
    """
    shared = [1 - floor / LN2 for floor in floors]
    if min(shared) < MIN_SHARED:
        return None
    return LN2 - (LN2 - value) / math.sqrt(math.prod(shared))
