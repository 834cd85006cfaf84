"""How speech on both sides sounds in sum: how long, how fast, how varied, how repetitive, how much silence.

Everything is computed from phone sequences and the facts of clips.jsonl; no audio and no model. Intervals are over
clusters of clips, as those of the metrics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from slm_eval.clusters import Clusters
from slm_eval.divergence import LN2, entropy_cwj
from slm_eval.finished import SIDES, FinishedRun
from slm_eval.incidence import Incidence
from slm_eval.metric import Moments
from slm_eval.ngrams import Counts, encode, window_keys

Floats = npt.NDArray[np.float64]

# Repeated n-grams within a clip: Welleck et al. (2020) take n = 4.
REPEATED = 4


@dataclass(frozen=True)
class Trait:
    """One property of speech on both sides.

    Attributes:
        name: for people.
        unit: of the values.
        digits: after the decimal point.
        meaning: one sentence.
        moments: side -> mean with its interval, for the sides where it is known.
        values: side -> the value of each clip; empty for properties of a whole corpus.
    """

    name: str
    unit: str
    digits: int
    meaning: str
    moments: dict[str, Moments]
    values: dict[str, Floats]


_TOLD = {
    "length": ("Length of a clip", "s", 2, "Seconds of audio."),
    "rate": ("Phones per second", "/s", 2, "Recognised phones by seconds of audio, pauses included."),
    "silence": ("Silence", "%", 1, "Share of a clip in pauses: at least 0.1 s, 25 dB below its loudest frame."),
    "doubled": ("Doubled phones", "%", 2, "Phones equal to the one before. Some recognisers never write these."),
    "repeated": (
        f"Repeated {REPEATED}-grams",
        "%",
        2,
        f"Share of a clip's {REPEATED}-grams that occurred in it before: loops raise it.",
    ),
    "entropy": (
        "Entropy of phones",
        "bits",
        3,
        "How evenly the inventory is used. Chao-Wang-Jost estimate.",
    ),
    "conditional": (
        "Entropy of the next phone",
        "bits",
        3,
        "What is left to guess of a phone once the one before is known. Grows with the sample.",
    ),
}


def traits(run: FinishedRun) -> list[Trait]:
    """What is known of either side; properties that neither side has are left out."""
    sides = {side: _Side.of([clip for clip in run.clips[side] if clip["status"] == "ok"]) for side in SIDES}
    return [
        Trait(
            *told,
            {side: found.moments[key] for side, found in sides.items() if key in found.moments},
            {side: found.values[key] for side, found in sides.items() if key in found.values},
        )
        for key, told in _TOLD.items()
        if any(key in found.moments for found in sides.values())
    ]


@dataclass
class _Side:
    """Properties of one side by name: of each clip, where it is one of clips, and in sum."""

    values: dict[str, Floats] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)

    @classmethod
    def of(cls, clips: list[dict[str, Any]]) -> _Side:
        side = cls()
        side._note("length", clips, [clip.get("seconds") for clip in clips])
        silence = [clip.get("audio", {}).get("silence") for clip in clips]
        side._note("silence", clips, [None if share is None else 100 * share for share in silence])
        spoken = [clip for clip in clips if clip["phones"] is not None]
        rates = [len(clip["phones"]) / clip["seconds"] if clip.get("seconds") else None for clip in spoken]
        side._note("rate", spoken, rates)
        if spoken:
            side._listen(spoken)
        return side

    def _note(self, key: str, clips: Sequence[dict[str, Any]], values: Sequence[float | None]) -> None:
        """A property of clips, for those where it is known."""
        known = [(clip, value) for clip, value in zip(clips, values, strict=True) if value is not None]
        if known:
            self.values[key] = np.array([value for _, value in known])
            self.moments[key] = Moments.of(self.values[key].tolist(), Clusters.of([clip for clip, _ in known]).numbered)

    def _listen(self, clips: list[dict[str, Any]]) -> None:
        """Repetition and entropy."""
        encoded = encode([clip["phones"] for clip in clips])
        keys = dict(window_keys(encoded, (1, 2, REPEATED)))
        sizes = {n: encoded.n_windows(n) for n in keys}
        # A key of two phones is a number of two digits, see ``window_keys``.
        doubled = keys[2] // len(encoded.inventory) == keys[2] % len(encoded.inventory) if keys[2].size else keys[2]
        self._note("doubled", clips, _shares(_by_clip(doubled, sizes[2]), sizes[2]))
        incidence = Incidence.build(keys[REPEATED], sizes[REPEATED])
        distinct = np.bincount(incidence.utterances, minlength=len(clips))
        self._note("repeated", clips, _shares(sizes[REPEATED] - distinct, sizes[REPEATED]))
        if keys[2].size < 2:
            return
        clusters = Clusters.of(clips).numbered
        phones, pairs = (np.unique(keys[n], return_inverse=True, return_counts=True) for n in (1, 2))
        single, pair = _surprisal(phones), _surprisal(pairs)
        # The first phone of a pair is every phone but the last of its clip.
        last = np.cumsum(encoded.lengths)[encoded.lengths > 0] - 1
        given = pair - np.delete(single, last)
        entropy = entropy_cwj(phones[2])
        self.moments["entropy"] = _in_bits(entropy, single, sizes[1], clusters)
        self.moments["conditional"] = _in_bits(entropy_cwj(pairs[2]) - entropy, given, sizes[2], clusters)


def _surprisal(unique: Any) -> Floats:
    """-ln p of every window, nats, from what ``numpy.unique`` says of them."""
    _, rows, counts = unique
    return -np.log(counts / counts.sum())[rows]


def _in_bits(nats: float, surprisal: Floats, sizes: Counts, clusters: npt.NDArray[np.intp]) -> Moments:
    """An entropy with the interval of a ratio over clusters, from how far their mean surprisals lie apart."""
    deviations = np.bincount(clusters, weights=_by_clip(surprisal - surprisal.mean(), sizes))
    n = deviations.size
    if n < 2:
        return Moments(nats / LN2, None, None, len(sizes))
    half = 1.96 * math.sqrt(float(deviations @ deviations) * n / (n - 1)) / int(sizes.sum())
    return Moments(nats / LN2, None, ((nats - half) / LN2, (nats + half) / LN2), len(sizes))


def _by_clip(windows: npt.NDArray[Any], sizes: Counts) -> Floats:
    """Sums over the windows of each clip."""
    clips = np.repeat(np.arange(len(sizes)), sizes)
    sums: Floats = np.bincount(clips, weights=windows.astype(np.float64), minlength=len(sizes)).astype(np.float64)
    return sums


def _shares(counts: npt.NDArray[Any], sizes: Counts) -> list[float | None]:
    """In percent; None where there is nothing to share."""
    return [100 * count / size if size else None for count, size in zip(counts.tolist(), sizes.tolist(), strict=True)]
