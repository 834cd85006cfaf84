"""Tests of pJSD between all systems of a table: is J(A, R) - J(B, R) more than fresh samples of A, B and R would give?

By complementary halves, as ``compare`` does for two: all systems are set against the same halves of real speech R, so
what R adds to both is no part of their difference; and prompts or speakers that systems share are drawn together.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats
from slm_eval.divergence.estimators import jensen_shannon
from slm_eval.divergence.incidence import Draws, Incidence, divergences_of_halves
from slm_eval.divergence.ngrams import encode, window_keys
from slm_eval.divergence.resampling import (
    Undefined,
    degrees_of_freedom,
    difference_sd,
    draw_halves,
    effective_clusters,
    few_clusters,
    sizes_of_halves,
    too_few,
)
from slm_eval.metrics.means import Estimate, Withheld
from slm_eval.speech.clusters import Clusters

# Complementary halves, as in ``compare``; and purposes of random generators.
_HALVES = 128
_SYSTEMS, _REAL = range(2)

Clip = Mapping[str, Any]
Tested = dict[tuple[str, str], Estimate]


@dataclass(frozen=True, eq=False)
class Speech:
    """Hold the phones of one system at the size of the table.

    Attributes:
        phones: of each utterance.
        labels: of each, what it is drawn together with; equal labels of two systems are one prompt or speaker.
    """

    phones: Sequence[Sequence[str]]
    labels: Sequence[Hashable]

    @classmethod
    def from_clips(cls, clips: Sequence[Clip], phones: Sequence[Sequence[str]] | None = None) -> Speech:
        """Return that of recognised clips.

        Args:
            clips: lines of clips.jsonl.
            phones: of these clips, where they were cut; None: all.
        """
        labels = Clusters.from_clips(clips).across([clip["id"] for clip in clips])
        return cls([clip["phones"] for clip in clips] if phones is None else phones, labels)


def pair_tests(n: int, systems: Mapping[str, Speech], real: Speech, seed: int) -> tuple[Tested, dict[str, str]]:
    """Return the difference of every pair of systems, in nats, and why some systems cannot be tested.

    Args:
        n: of the n-grams.
        systems: by name, of equal sizes.
        real: real speech of all of them.
        seed: of the halves.
    """
    of_real = draw_halves(_numbered(real.labels), _HALVES, np.random.default_rng((seed, _REAL)))
    halved: dict[str, _Halved] = {}
    reasons = {}
    for name, drawn in _shared_halves(systems, np.random.default_rng((seed, _SYSTEMS))):
        system = _Halved.from_draws(n, systems[name], real, drawn, of_real)
        if isinstance(system, Undefined):
            reasons[name] = system.reason
        else:
            halved[name] = system
    return {(a, b): _tested(halved[a], halved[b]) for a, b in combinations(halved, 2)}, reasons


@dataclass(frozen=True, eq=False)
class _Halved:
    """One system against real speech.

    Attributes:
        value: of the whole.
        scores: shape (2D,), of halves of both.
        sizes: n-grams of the halves of the system and of real speech, shape (2D,) each.
        effective: clusters of the side with fewer.
    """

    value: float
    scores: Floats
    sizes: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
    effective: float

    @classmethod
    def from_draws(cls, n: int, system: Speech, real: Speech, drawn: Draws, of_real: Draws) -> _Halved | Undefined:
        both = encode([*system.phones, *real.phones])
        ((_, windows),) = window_keys(both, (n,))
        incidence = Incidence.build(windows, both.n_windows(n))
        sides = slice(0, len(system.phones)), slice(len(system.phones), len(both.lengths))
        counts = [incidence.counts_of(side) for side in sides]
        clusters = _numbered(system.labels), _numbered(real.labels)
        reason = too_few(clusters, int(np.minimum(*counts).sum()))
        if reason is not None:
            return reason
        scores = divergences_of_halves(incidence, sides, (drawn, of_real))
        if np.isnan(scores).any():
            return Undefined("a half of a side has no n-grams")
        sizes = [
            sizes_of_halves(incidence.n_windows[side], half) for side, half in zip(sides, (drawn, of_real), strict=True)
        ]
        effective = min(effective_clusters(side) for side in clusters)
        return cls(jensen_shannon(*counts), scores, (sizes[0], sizes[1]), effective)


def _tested(a: _Halved, b: _Halved) -> Estimate:
    sd = difference_sd((a.scores, b.scores), (a.sizes[0], b.sizes[0], a.sizes[1]), (a.value, b.value))
    if not sd:
        return Estimate(a.value - b.value, 0.0, 0.0, Withheld("halves of the sides share no n-gram, or never differ"))
    effective = min(a.effective, b.effective)
    return Estimate(a.value - b.value, sd * few_clusters(effective), degrees_of_freedom(effective, _HALVES))


def _shared_halves(systems: Mapping[str, Speech], rng: np.random.Generator) -> list[tuple[str, Draws]]:
    """Return halves of each system, of half of its clusters, as alike as the systems have clusters in common.

    In every draw each label of any system gets a random number, and a system takes its clusters with the lowest.
    """
    labels = dict.fromkeys(label for system in systems.values() for label in system.labels)
    number = {label: index for index, label in enumerate(labels)}
    clusters = {
        name: np.unique([number[label] for label in system.labels], return_inverse=True)
        for name, system in systems.items()
    }
    chosen = {name: np.zeros((present.size, _HALVES), dtype=np.uint8) for name, (present, _) in clusters.items()}
    for draw in range(_HALVES):
        lots = rng.random(len(number))
        for name, (present, _) in clusters.items():
            chosen[name][np.argsort(lots[present])[: present.size // 2], draw] = 1
    return [(name, chosen[name][place]) for name, (_, place) in clusters.items()]


def _numbered(labels: Sequence[Hashable]) -> npt.NDArray[np.intp]:
    """Return the number of each label, from 0."""
    number = {label: index for index, label in enumerate(dict.fromkeys(labels))}
    return np.array([number[label] for label in labels], dtype=np.intp)
