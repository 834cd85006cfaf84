"""How speech on both sides sounds in sum: how long, how fast, how varied, how repetitive, how much silence.

Everything is computed from phone sequences and the facts of clips.jsonl; no audio and no model. Intervals are over
clusters of clips, as those of the metrics.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats
from slm_eval.divergence.estimators import LN2, entropy_cwj
from slm_eval.divergence.incidence import Incidence
from slm_eval.divergence.ngrams import Counts, encode, window_keys
from slm_eval.metrics.means import Moments
from slm_eval.run.finished import SIDES, FinishedRun
from slm_eval.speech.clusters import Clusters

# Repeated n-grams within a clip: Welleck et al. (2020) take n = 4.
REPEATED = 4
# What intervals of shares stay within.
_PERCENT = (0.0, 100.0)


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
    "rate": ("Phones per second", "", 2, "Recognised phones by seconds of audio, pauses included."),
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
    """Return what is known of either side; properties that neither side has are left out."""
    sides = {side: _Side.of([clip for clip in run.clips[side] if clip["status"] == "ok"]) for side in SIDES}
    return [
        Trait(
            *description,
            {side: known.moments[key] for side, known in sides.items() if key in known.moments},
            {side: known.values[key] for side, known in sides.items() if key in known.values},
        )
        for key, description in _TOLD.items()
        if any(key in known.moments for known in sides.values())
    ]


@dataclass
class _Side:
    """Properties of one side by name: of each clip, where it is one of clips, and in sum."""

    clusters: npt.NDArray[np.intp]
    values: dict[str, Floats] = field(default_factory=dict)
    moments: dict[str, Moments] = field(default_factory=dict)

    @classmethod
    def of(cls, clips: list[dict[str, Any]]) -> _Side:
        side = cls(Clusters.from_clips(clips).numbered)
        seconds = _floats(clip.get("seconds") or None for clip in clips)
        side._note("length", seconds)
        side._note("silence", 100 * _floats(clip.get("audio", {}).get("silence") for clip in clips))
        side._note("rate", _floats(None if clip["phones"] is None else len(clip["phones"]) for clip in clips) / seconds)
        if any(clip["phones"] for clip in clips):
            side._listen([clip["phones"] or [] for clip in clips])
        return side

    def _note(self, key: str, values: Floats) -> None:
        """Note a property of clips: shape (clips,), NaN where it is not known."""
        known = np.isfinite(values)
        if known.any():
            self.values[key] = values[known]
            clusters = np.unique(self.clusters[known], return_inverse=True)[1]
            scale = _PERCENT if _TOLD[key][1] == "%" else None
            self.moments[key] = Moments.from_scores(self.values[key].tolist(), clusters, scale)

    def _listen(self, phones: list[list[str]]) -> None:
        """Note repetition and entropy, from the phones of every clip; some clip has some."""
        encoded = encode(phones)
        keys = dict(window_keys(encoded, (1, 2, REPEATED)))
        sizes = {n: encoded.n_windows(n) for n in keys}
        # A key of two phones is a number of two digits, see ``window_keys``.
        doubled = keys[2] // len(encoded.inventory) == keys[2] % len(encoded.inventory)
        self._note("doubled", _percent(_by_clip(doubled, sizes[2]), sizes[2]))
        distinct = np.bincount(Incidence.build(keys[REPEATED], sizes[REPEATED]).utterances, minlength=len(phones))
        self._note("repeated", _percent(sizes[REPEATED] - distinct, sizes[REPEATED]))
        if keys[2].size < 2:
            return
        singles, pairs = (np.unique(keys[n], return_inverse=True, return_counts=True) for n in (1, 2))
        single, pair = _surprisal(singles), _surprisal(pairs)
        # The first phone of a pair is every phone but the last of its clip.
        last = np.cumsum(encoded.lengths)[encoded.lengths > 0] - 1
        given = pair - np.delete(single, last)
        entropy = entropy_cwj(singles[2])
        self.moments["entropy"] = self._in_bits(entropy, single, sizes[1])
        self.moments["conditional"] = self._in_bits(entropy_cwj(pairs[2]) - entropy, given, sizes[2])

    def _in_bits(self, nats: float, surprisal: Floats, sizes: Counts) -> Moments:
        """Return an entropy with a ratio's interval over clusters, from how far their mean surprisals lie apart."""
        heard = sizes > 0
        clusters = np.unique(self.clusters[heard], return_inverse=True)[1]
        deviations = np.bincount(clusters, weights=_by_clip(surprisal - surprisal.mean(), sizes)[heard])
        n = deviations.size
        if n < 2:
            return Moments(nats / LN2, None, None, int(heard.sum()))
        half = 1.96 * math.sqrt(float(deviations @ deviations) * n / (n - 1)) / int(sizes.sum())
        return Moments(nats / LN2, None, ((nats - half) / LN2, (nats + half) / LN2), int(heard.sum()))


def _surprisal(unique: Any) -> Floats:
    """Return -ln p of every window, nats, from what ``numpy.unique`` says of them."""
    _, rows, counts = unique
    return -np.log(counts / counts.sum())[rows]


def _by_clip(windows: npt.NDArray[Any], sizes: Counts) -> Floats:
    """Return sums over the windows of each clip."""
    clips = np.repeat(np.arange(len(sizes)), sizes)
    sums: Floats = np.bincount(clips, weights=windows.astype(np.float64), minlength=len(sizes)).astype(np.float64)
    return sums


def _percent(counts: npt.NDArray[Any], sizes: Counts) -> Floats:
    """Return a share in percent; NaN where there is nothing to share."""
    return np.where(sizes > 0, 100 * counts / np.maximum(sizes, 1), np.nan)


def _floats(values: Iterable[float | None]) -> Floats:
    """Return numbers as an array; NaN where there is none."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
