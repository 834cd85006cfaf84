"""Utterances of two systems in one pool, under any labelling, against real speech that stays as it is.

Letters: U utterances of the pool, B labellings. Divergences are in nats.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slm_eval.base.arrays import Floats
from slm_eval.compare.labellings import Labels, block_size
from slm_eval.compare.tally import tallied_overlaps
from slm_eval.divergence.bitsums import Bits, Group
from slm_eval.divergence.incidence import Incidence, add_up, from_overlap, n_ngrams, overlaps
from slm_eval.divergence.ngrams import Counts

# Labellings that are counted at a time, as bits; with half as many, numpy's calls take a tenth more.
_LABELLINGS = 1024
# How J of random speech falls with its size: sizes that are looked at, and how often they are drawn.
_CURVE_SIZES, _CURVE_DRAWS = 4, 32
# A curve over less than this factor is a line through two sizes at least as far apart.
_SHORTEST = 1.5


@dataclass(frozen=True, eq=False)
class Groups:
    """Say of the utterances with a label and of those without it, under each labelling: shape (B,) each.

    Attributes:
        first, second: divergence from real speech, NaN where there is no n-gram.
        n_first, n_second: n-grams.
    """

    first: Floats
    second: Floats
    n_first: Floats
    n_second: Floats


@dataclass(frozen=True, eq=False)
class Pool:
    """Hold what the pool shares with real speech.

    Attributes:
        n_windows: shape (U,), n-grams of each utterance.
        n_real: n-grams of real speech.
        types: that are in both, by how frequent they are in the pool and in real speech.
    """

    n_windows: Counts
    n_real: int
    types: list[Group]

    @classmethod
    def from_incidence(cls, incidence: Incidence, pool: slice, real: slice) -> Pool:
        """Take the n-grams of all utterances, and which are the pool's and real speech's."""
        shared = (incidence.counts_of(pool) > 0) & (incidence.counts_of(real) > 0)
        n_real = int(incidence.n_windows[real].sum())
        return cls(incidence.n_windows[pool], n_real, incidence.groups(shared, (pool, real)))

    def groups(self, labels: Labels, n_labellings: int) -> Groups:
        """Measure both groups of each labelling, a block of labellings at a time.

        Args:
            labels: of a range of labellings.
            n_labellings: B.
        """
        blocks = [
            self._of_block(labels, slice(start, min(start + _LABELLINGS, n_labellings)))
            for start in range(0, n_labellings, _LABELLINGS)
        ]
        return Groups(*np.concatenate(blocks, axis=1))

    def _of_block(self, labels: Labels, labellings: slice) -> Floats:
        """Return the divergences and n-grams of both groups: shape (4, labellings)."""
        size = block_size(self.n_windows.size)
        starts = range(labellings.start, labellings.stop, size)
        drawn = [labels(slice(start, min(start + size, labellings.stop))) for start in starts]
        bits = Bits.from_draws(*drawn)
        n_first = np.concatenate([n_ngrams(self.n_windows, block) for block in drawn])
        del drawn
        n_second = int(self.n_windows.sum()) - n_first
        n_real = np.broadcast_to(self.n_real, n_first.shape)

        def overlap(types: Group) -> Floats:
            counts = types.counts(0, bits)
            if types.equal is not None:
                return np.stack(tallied_overlaps(counts, types.equal, (n_first, n_second, self.n_real)))
            of_pool, of_real = (side.totals[:, None] for side in types.sides)
            first = overlaps(counts, of_real, n_first, n_real)
            return np.stack((first, overlaps(of_pool.astype(counts.dtype) - counts, of_real, n_second, n_real)))

        first, second = add_up(overlap, self.types, bits.words.shape[1], 2, n_first.size)
        scores = from_overlap(first, n_first, n_real), from_overlap(second, n_second, n_real)
        return np.stack((*scores, n_first, n_second))

    def statistics(self, labels: Labels, n_labellings: int, rng: np.random.Generator, *, centred: bool) -> Floats:
        """Return J(first, real) - J(second, real) under each labelling, less what the sizes of the groups make of it.

        The smaller group has the larger divergence. Groups differ in size where the systems do, and labellings among
        themselves wherever utterances differ in length; both would drown what is looked for. So what random speech of
        the pool scores at the size of each group is taken off (``size_curve``). That depends on the pooled utterances
        and on all labellings alike, not on which was observed: the test stays exact. A line through the differences of
        all labellings against their sizes would be exact too, but where the clips of one system are longer, sizes tell
        labellings apart as well as the systems do, and the line takes off what is looked for.

        Args:
            labels, n_labellings: as for ``groups``.
            rng: for ``size_curve``.
            centred: whether the mean over labellings is taken off too. Of swapped pairs it is 0 by symmetry.
        """
        groups = self.groups(labels, n_labellings)
        log_sizes = np.log(np.maximum((groups.n_first, groups.n_second), 1.0))
        curve = self.size_curve(float(log_sizes.min()), float(log_sizes.max()), rng)
        expected = np.polyval(curve, log_sizes)
        differences = groups.first - groups.second - (expected[0] - expected[1])
        defined = np.isfinite(differences)
        return differences - differences[defined].mean() if centred and defined.any() else differences

    def size_curve(self, smallest: float, largest: float, rng: np.random.Generator) -> Floats:
        """Return a polynomial in the logarithm of the size: J of random utterances of the pool, whatever their labels.

        Through the means at sizes between two logarithms. The sizes of one draw are nested, so that most of its chance
        is common to all of them.
        """
        n_sizes = _CURVE_SIZES
        if largest - smallest < np.log(_SHORTEST):
            n_sizes, middle = 2, (smallest + largest) / 2
            smallest, largest = middle - np.log(_SHORTEST) / 2, middle + np.log(_SHORTEST) / 2
        sizes = np.exp(np.linspace(smallest, largest, n_sizes))
        parts = np.zeros((self.n_windows.size, _CURVE_DRAWS, n_sizes), dtype=np.uint8)
        for draw in range(_CURVE_DRAWS):
            order = rng.permutation(self.n_windows.size)
            ends = np.searchsorted(np.cumsum(self.n_windows[order]), sizes, side="right")
            for size, end in enumerate(ends.tolist()):
                parts[order[: max(end, 1)], draw, size] = 1
        columns = parts.reshape(self.n_windows.size, -1)
        groups = self.groups(lambda draws: columns[:, draws], columns.shape[1])
        scores, n_ngrams = (values.reshape(_CURVE_DRAWS, n_sizes) for values in (groups.first, groups.n_first))
        usable = (n_ngrams > 0).all(axis=1)
        if not usable.any():
            return np.zeros(1)
        reached, means = np.log(n_ngrams[usable]).mean(axis=0), scores[usable].mean(axis=0)
        # Few utterances do not reach all sizes: those that are the same are one.
        distinct = np.unique(reached.round(2), return_index=True)[1]
        return np.asarray(np.polyfit(reached[distinct], means[distinct], distinct.size - 1))
