"""Which clips are drawn together: those of one speaker, or of one prompt, where the corpus names them.

Clips of one speaker are alike, so a thousand clips of ten speakers tell less than a thousand of a thousand. Every
interval and test therefore resamples clusters of clips, not clips. Clips of the same phones or the same audio are one
draw as well: what is said a hundred times tells no more than once. A label travels with the clip: from a line of a
manifest (``"speaker"``, ``"prompt"``) to its observations and to clips.jsonl, under the same names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

# The first that tells clips of a side apart is used. Speakers before prompts: they are fewer, and clips of one speaker
# are alike in more than clips of one prompt, so that the interval errs on the wide side where both are named.
LABELS = ("speaker", "prompt")

# Phones from which on clips of equal phones are held to be copies, not chance. Of 251 utterances of LibriSpeech
# (pocketsphinx, 26,904 phones) no two share a run of ten phones, and the chance that two runs of n phones are equal
# halves with every 0.6 phones (2^-25.9 at n = 8, 2^-27.2 at n = 9). Carried on to 20 phones: 1e5 transcripts of that
# length would be found in 1e7 phones 0.03 times.
MIN_PHONES = 20


@dataclass(frozen=True)
class Clusters:
    """Groups of the clips of one side.

    Attributes:
        by: "speaker", "prompt", or "clip" where every clip stands for itself.
        labels: one per clip, sortable; equal for clips that are drawn together.
        repeats: clips with the audio of an earlier one, or with its phones, at least ``MIN_PHONES``.
    """

    by: str
    labels: tuple[Hashable, ...]
    repeats: int = 0

    @classmethod
    def from_clips(cls, clips: Sequence[Mapping[str, Any]]) -> Clusters:
        """Group observations or lines of clips.jsonl; a clip without the label that is used stands for itself.

        A label that is the same for all clips groups nothing: of a corpus of one speaker the result is about that
        speaker, and its clips are what varies. Whatever the label, clips that repeat each other join their groups.

        >>> Clusters.from_clips([{"speaker": "a"}, {"speaker": "b"}, {"speaker": "a"}]).numbered.tolist()
        [0, 1, 0]
        >>> Clusters.from_clips([{"speaker": "a", "prompt": "1"}, {"speaker": "a", "prompt": "2"}]).by
        'prompt'
        """
        for name in LABELS:
            labels = tuple(_label(clip.get(name), index) for index, clip in enumerate(clips))
            if len(set(labels)) > 1 and any(clip.get(name) is not None for clip in clips):
                return cls(name, *_joined(labels, clips))
        return cls("clip", *_joined(tuple(range(len(clips))), clips))

    @property
    def numbered(self) -> npt.NDArray[np.intp]:
        """Return the group of each clip, shape (clips,): 0 to C - 1, in the order of the labels."""
        number = {label: index for index, label in enumerate(sorted(set(self.labels)))}  # type: ignore[type-var]
        return np.array([number[label] for label in self.labels], dtype=np.intp)

    def across(self, ids: Sequence[Hashable]) -> list[Hashable]:
        """Return labels that mean the same in another corpus: a clip that stands for itself is called by its id.

        Clips of two systems that have one id answer one prompt.

        Args:
            ids: of the clips.

        >>> Clusters.from_clips([{"speaker": "a"}, {}, {"speaker": "b"}]).across(["x", "y", "z"])
        [('speaker', 'a'), ('clip', 'y'), ('speaker', 'b')]
        """
        if self.by == "clip":
            return [("clip", ids[index]) for index in self.labels]  # type: ignore[call-overload]
        pairs: list[tuple[int, Any]] = list(self.labels)  # type: ignore[arg-type]
        return [("clip", ids[name]) if alone else (self.by, name) for alone, name in pairs]

    def to_dict(self) -> dict[str, Any]:
        """Return what a summary says of the groups: by what they are, and how many."""
        return {"by": self.by, "n": len(set(self.labels))}


def warn_of_repeats(clusters: Mapping[str, Clusters]) -> tuple[str, ...]:
    """Return a line for each side in which clips repeat each other."""
    return tuple(
        f"{grouping.repeats} of {len(grouping.labels)} {side} clips repeat another one: equal clips count as one draw"
        for side, grouping in clusters.items()
        if grouping.repeats
    )


def _label(name: str | None, index: int) -> tuple[int, Hashable]:
    """Return a label that sorts beside the others, and is a clip's own where it has no name."""
    return (1, index) if name is None else (0, name)


def _joined(labels: Sequence[Hashable], clips: Sequence[Mapping[str, Any]]) -> tuple[tuple[Hashable, ...], int]:
    """Return labels, one for all groups that have a content in common, and how many clips repeat one before them."""
    group = {label: label for label in labels}

    def root(label: Hashable) -> Hashable:
        while group[label] != label:
            group[label] = label = group[group[label]]
        return label

    first: dict[Hashable, Hashable] = {}  # content -> the label under which it was met first
    repeats = 0
    for label, clip in zip(labels, clips, strict=True):
        contents = _contents(clip)
        repeats += any(content in first for content in contents)
        for content in contents:
            ends = root(label), root(first.setdefault(content, label))
            group[max(ends)] = min(ends)  # type: ignore[type-var]
    return tuple(root(label) for label in labels), repeats


def _contents(clip: Mapping[str, Any]) -> list[Hashable]:
    """Return what no other clip has, but for copies: a digest of its phones, the digest of its audio."""
    phones, audio = clip.get("phones") or (), clip.get("content")
    # A digest, since tuples of the phones of a million clips would take as much memory as the clips.
    said = hashlib.blake2b("\x1f".join(map(str, phones)).encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return [*([said] if len(phones) >= MIN_PHONES else []), *([audio] if audio is not None else [])]
