"""Utterances of two systems in one pool, under any labelling, against real speech that stays as it is.

Letters: U utterances of the pool, B labellings. Divergences are in nats.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slm_eval.compare.permutation import label_sizes
from slm_eval.compare.tally import LARGEST, Class, classes, tallied_overlaps
from slm_eval.incidence import Draws, Floats, Group, Incidence, from_overlap, in_blocks, overlaps
from slm_eval.ngrams import Counts

# Labellings per step: four times as many as in ``incidence``, since calls of numpy for many small classes add up.
_BLOCK = 256
# Of the pool, for the change of a divergence with size near one half of it; and how often they are drawn.
_SLOPE_SHARES, _SLOPE_DRAWS = (0.4, 0.6), 64


@dataclass(frozen=True, eq=False)
class Pool:
    """What the pool shares with real speech.

    Attributes:
        n_windows: shape (U,), n-grams of each utterance.
        n_real: n-grams of real speech.
        rare: types of at most ``LARGEST`` occurrences on either side, by class.
        frequent: the others, as sparse matrices of the pool.
        of_real: for each of these, occurrences of the types in real speech, shape (types, 1).
    """

    n_windows: Counts
    n_real: int
    rare: list[Class]
    frequent: list[Group]
    of_real: list[npt.NDArray[np.unsignedinteger]]

    @classmethod
    def of(cls, incidence: Incidence, pool: slice, real: slice) -> Pool:
        """From the n-grams of all utterances, and which are the pool's and real speech's."""
        of_pool, of_real = (incidence.counts_of(side) for side in (pool, real))
        shared = (of_pool > 0) & (of_real > 0)
        rare = shared & (np.maximum(of_pool, of_real) <= LARGEST)
        frequent = incidence.groups(shared & ~rare, (pool, real))
        return cls(
            incidence.n_windows[pool],
            int(incidence.n_windows[real].sum()),
            classes(incidence, rare, pool, real),
            frequent,
            [group.totals(1) for group in frequent],
        )

    def divergences(self, members: Draws) -> tuple[Floats, Floats]:
        """From real speech, of the utterances with a label and of those without it; NaN where there is no n-gram.

        Args:
            members: shape (U, B), 1 where an utterance has the label.

        Returns:
            two of shape (B,).
        """
        sizes = label_sizes(self.n_windows, members)
        whole = [group.totals(0) for group in self.frequent]

        def block(at: slice) -> Floats:
            labels, n_first, n_second = members[:, at], sizes[0][at], sizes[1][at]
            n_real = np.broadcast_to(self.n_real, n_first.shape)
            first, second = tallied_overlaps(self.rare, labels, (n_first, n_second, self.n_real))
            for group, of_real, of_both in zip(self.frequent, self.of_real, whole, strict=True):
                counts = group.counts(0, labels)
                first += overlaps(counts, of_real, n_first, n_real)
                second += overlaps(of_both - counts, of_real, n_second, n_real)
            return np.stack((from_overlap(first, n_first, n_real), from_overlap(second, n_second, n_real)))

        first, second = np.concatenate(list(in_blocks(block, members.shape[1], _BLOCK)), axis=1)
        return first, second

    def differences(self, members: Draws) -> Floats:
        """J(first, real) - J(second, real) under each labelling: shape (B,)."""
        first, second = self.divergences(members)
        return first - second

    def size_slope(self, rng: np.random.Generator) -> float:
        """Change of J(utterances of the pool, real) with the logarithm of their n-grams, near half of the pool.

        From random utterances, whatever their labels: 40 % of the pool, and 60 % with these among them. It is negative.
        """
        size = self.n_windows.size
        ranks = rng.permuted(np.tile(np.arange(size)[:, None], _SLOPE_DRAWS), axis=0)
        parts = np.concatenate([ranks < share * size for share in _SLOPE_SHARES], axis=1).astype(np.uint8)
        scores = self.divergences(parts)[0].reshape(2, -1)
        n_grams = label_sizes(self.n_windows, parts)[0].reshape(2, -1)
        usable = (n_grams > 0).all(axis=0) & (n_grams[0] != n_grams[1])
        if not usable.any():
            return 0.0
        grown = np.log(n_grams[1, usable] / n_grams[0, usable])
        return float(np.sum(scores[1, usable] - scores[0, usable]) / np.sum(grown))
