"""Which clips are compared: in pairs or as two samples, and the labellings that all metrics share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from slm_eval.base.errors import UsageError
from slm_eval.compare.labellings import Labellings, shuffles, swaps
from slm_eval.run.finished import FinishedRun
from slm_eval.speech.clusters import Clusters

# Below this share of common ids, on either side, ids match by accident rather than by design.
MIN_PAIRED = 0.5
# Labellings beside the observed one. Of many clips there are fewer: each costs as much as there is speech, and p-values
# that are multiples of 1/500 are fine enough.
PERMUTATIONS, FEW_PERMUTATIONS, MANY_CLIPS = 1999, 499, 100_000
# Purposes of random generators: more draws of one do not move another.
LABELS, HALVES, REAL_HALVES, SIZES = range(4)

Clip = Mapping[str, Any]
Positions = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Design:
    """Clips of both systems and how they are labelled.

    Attributes:
        paired: whether ``a[i]`` and ``b[i]`` are a pair.
        a, b: lines of clips.jsonl, in the order of their ids.
        real: likewise, of real speech.
        units: of the clips of A and of B, shape (clips,): which unit of the labelling each belongs to, 0 to C - 1.
        labellings: of the units. 1: a pair stays as it is; or a clip is labelled as A's.
        by: what a unit is: "clip", "speaker" or "prompt".
        seed: as asked for.
        asked: whether the number of labellings was asked for.
    """

    paired: bool
    a: list[Clip]
    b: list[Clip]
    real: list[Clip]
    units: tuple[Positions, Positions]
    labellings: Labellings
    by: str
    seed: int
    asked: bool = False

    @cached_property
    def real_heard(self) -> list[Clip]:
        """Return the clips of real speech that were recognised."""
        return [clip for clip in self.real if clip["phones"] is not None]

    @cached_property
    def real_clusters(self) -> Positions:
        """Return the number of the cluster of each of these."""
        return Clusters.from_clips(self.real_heard).numbered

    @classmethod
    def from_runs(
        cls, a: FinishedRun, b: FinishedRun, paired: bool | None, permutations: int | None, seed: int
    ) -> Design:
        """Pair the clips of two runs, or take them as two samples; the order of the clips does not matter.

        Raises:
            UsageError: pairs are asked for, but no id is in both runs; or too few permutations.
        """
        if permutations is not None and permutations < 99:
            raise UsageError(f"expected at least 99 permutations, which 5 % takes; got {permutations}")
        clips_a, clips_b = (_by_id(run.clips["generated"]) for run in (a, b))
        common = sorted(clips_a.keys() & clips_b.keys())
        if paired and not common:
            raise UsageError(f"{a.name} and {b.name} have no clip id in common, so there are no pairs to compare")
        if paired is None:
            paired = bool(common) and len(common) >= MIN_PAIRED * max(len(clips_a), len(clips_b))
        clips = [clips_a[clip_id] for clip_id in common] if paired else list(clips_a.values())
        others = [clips_b[clip_id] for clip_id in common] if paired else list(clips_b.values())
        asked = permutations is not None
        if permutations is None:
            permutations = usual_permutations(len(clips) + len(others))
        clusters = Clusters.from_clips(clips)
        first, key = clusters.numbered, (seed, LABELS)
        n_first = int(first.max()) + 1
        if paired:
            units, labellings = (first, first), swaps(n_first, permutations, key)
        else:
            second = Clusters.from_clips(others).numbered
            units = (first, second + n_first)
            labellings = shuffles(n_first, int(second.max()) + 1, permutations, key)
        real = list(_by_id(a.clips["real"]).values())
        return cls(paired, clips, others, real, units, labellings, clusters.by, seed, asked)


def usual_permutations(n_clips: int) -> int:
    """Return how many labellings are tried beside the observed one, from the number of clips of both systems."""
    return PERMUTATIONS if n_clips <= MANY_CLIPS else FEW_PERMUTATIONS


def _by_id(clips: Iterable[Clip]) -> dict[str, Clip]:
    """Return the clips by id, in the order of the ids."""
    return {clip["id"]: clip for clip in sorted(clips, key=lambda clip: clip["id"])}
