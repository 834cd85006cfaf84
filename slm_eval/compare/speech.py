"""The phones of two systems and of real speech, at equal numbers of n-grams.

The smaller sample scores worse whatever it says. So where the systems differ in n-grams by more than 1 %, the longer
clip of each pair is cut to the phones of the shorter one; or, without pairs, clips of the larger system are left out,
and one is cut. The test without pairs is of all clips: it allows for sizes by itself (``pool.Pool.statistics``), and
what is left out would be missing from its power.
This is done for each n by itself: an utterance has n - 1 n-grams less than phones, and systems with short utterances
lose more of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from slm_eval.compare.design import HALVES, REAL_HALVES, Clip, Design, Positions
from slm_eval.compare.labellings import Labellings
from slm_eval.divergence.analysis import MAX_SIZE_DIFFERENCE
from slm_eval.divergence.cutting import filling
from slm_eval.divergence.incidence import Draws
from slm_eval.divergence.ngrams import Encoded, encode
from slm_eval.divergence.resampling import draw_halves

# Complementary halves behind an interval. It allows for their number (``resampling.degrees_of_freedom``).
HALF_SAMPLES = 128

Phones = Sequence[str]


@dataclass(frozen=True, eq=False)
class Speech:
    """What pJSD of two systems is computed from.

    Attributes:
        a, b, real: one sequence of phones per utterance.
        units: of the labellings, of the utterances of A and of B.
        clusters: of the utterances of A, B and real speech, numbered from 0.
        labellings: of the units.
        paired: whether ``a[i]`` and ``b[i]`` are a pair.
        seed: of the random draws.
        notes: what was done to make sizes equal.
    """

    a: list[Phones]
    b: list[Phones]
    real: list[Phones]
    units: tuple[Positions, Positions]
    clusters: tuple[Positions, Positions, Positions]
    labellings: Labellings
    paired: bool
    seed: int
    notes: tuple[str, ...] = ()

    @classmethod
    def from_design(cls, design: Design) -> Speech | str:
        """Return all clips that were recognised, where paired in both systems; or why there are none."""
        heard = [np.array([clip["phones"] is not None for clip in clips]) for clips in (design.a, design.b)]
        if design.paired:
            heard = [heard[0] & heard[1]] * 2
        a, b = (_phones(clips, keep) for clips, keep in zip((design.a, design.b), heard, strict=True))
        real = [clip["phones"] for clip in design.real_heard]
        if not (a and b and real):
            return "a side has no phones"
        units = tuple(side[keep] for side, keep in zip(design.units, heard, strict=True))
        clusters = (_renumbered(units[0]), _renumbered(units[1]), design.real_clusters)
        return cls(a, b, real, (units[0], units[1]), clusters, design.labellings, design.paired, design.seed)

    @cached_property
    def encoded(self) -> Encoded:
        """Return the phones of all utterances: A's, B's, and those of real speech."""
        return encode([*self.a, *self.b, *self.real])

    @cached_property
    def halves(self) -> list[Draws]:
        """Draw halves of A, B (the same where they are paired) and real speech: shape (utterances, HALF_SAMPLES)."""
        rngs = [np.random.default_rng((self.seed, purpose)) for purpose in (HALVES, REAL_HALVES)]
        of_a = draw_halves(self.clusters[0], HALF_SAMPLES, rngs[0])
        of_b = of_a if self.paired else draw_halves(self.clusters[1], HALF_SAMPLES, rngs[0])
        return [of_a, of_b, draw_halves(self.clusters[2], HALF_SAMPLES, rngs[1])]

    @property
    def ranges(self) -> tuple[slice, slice, slice]:
        """Return the utterances of A, B and real speech."""
        ends = len(self.a), len(self.a) + len(self.b), len(self.a) + len(self.b) + len(self.real)
        return slice(0, ends[0]), slice(ends[0], ends[1]), slice(ends[1], ends[2])

    def labels(self, labellings: slice) -> Draws:
        """Return 1 where an utterance of A or B is labelled as of A: shape (utterances of A and B, labellings)."""
        drawn = self.labellings.block(labellings)
        of_b = drawn[self.units[1]]
        return np.concatenate((drawn[self.units[0]], 1 - of_b if self.paired else of_b))

    def at_equal_sizes(self, n: int) -> Speech:
        """Return itself where A and B have equally many n-grams, within 1 %; else as much of it as makes them equal.

        Args:
            n: phones per n-gram.
        """
        sizes = self._sizes(n)
        if abs(sizes[0] - sizes[1]) <= MAX_SIZE_DIFFERENCE * max(sizes):
            return self
        if self.paired:
            pairs = [(one[: len(partner)], partner[: len(one)]) for one, partner in zip(self.a, self.b, strict=True)]
            cut = replace(self, a=[one for one, _ in pairs], b=[partner for _, partner in pairs])
            what, how = "", "the longer clip of each pair was cut"
        else:
            cut = self._subsample(n)
            what, how = " for the values", "clips of the larger system were left out, and one was cut"
        # Without figures, which stand in the result: equal notes of several n can then be told as one.
        notes = (f"the systems differed in size and were made equal{what}: {how}",)
        return replace(cut, notes=notes)

    def _sizes(self, n: int) -> tuple[int, int]:
        """Return the n-grams of A and of B."""
        n_windows = self.encoded.n_windows(n)
        return int(n_windows[self.ranges[0]].sum()), int(n_windows[self.ranges[1]].sum())

    def _subsample(self, n: int) -> Speech:
        """Take random clips of the larger system, the last one in part, of as many n-grams as the smaller one has."""
        total = min(self._sizes(n))
        (of_a, a), (of_b, b) = (filling(system, n, total, self.seed) for system in (self.a, self.b))
        units = self.units[0][of_a], self.units[1][of_b]
        clusters = _renumbered(units[0]), _renumbered(units[1]), self.clusters[2]
        return replace(self, a=a, b=b, units=units, clusters=clusters)


def _phones(clips: Sequence[Clip], keep: npt.NDArray[Any]) -> list[Phones]:
    return [clip["phones"] for clip, kept in zip(clips, keep, strict=True) if kept]


def _renumbered(units: Positions) -> Positions:
    """Number units without gaps."""
    return np.unique(units, return_inverse=True)[1]
