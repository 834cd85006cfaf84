"""Which clips are drawn together: those of one speaker, or of one prompt, where the corpus names them.

Clips of one speaker are alike, so a thousand clips of ten speakers tell less than a thousand of a thousand. Every
interval and test therefore resamples clusters of clips, not clips. A label travels with the clip: from a line of a
manifest (``"speaker"``, ``"prompt"``) to its observations and to clips.jsonl, under the same names.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

# The first that tells clips of a side apart is used. Speakers before prompts: they are fewer, and clips of one speaker
# are alike in more than clips of one prompt, so that the interval errs on the wide side where both are named.
LABELS = ("speaker", "prompt")


@dataclass(frozen=True)
class Clusters:
    """How the clips of one side were grouped.

    Attributes:
        by: "speaker", "prompt", or "clip" where every clip stands for itself.
        labels: one per clip, sortable; equal for clips that are drawn together.
    """

    by: str
    labels: tuple[Hashable, ...]

    @classmethod
    def of(cls, clips: Sequence[Mapping[str, Any]]) -> Clusters:
        """From observations or lines of clips.jsonl; a clip without the label that is used stands for itself.

        A label that is the same for all clips groups nothing: of a corpus of one speaker the result is about that
        speaker, and its clips are what varies.

        >>> Clusters.of([{"speaker": "a"}, {"speaker": "b"}, {"speaker": "a"}]).numbered.tolist()
        [0, 1, 0]
        >>> Clusters.of([{"speaker": "a", "prompt": "1"}, {"speaker": "a", "prompt": "2"}]).by
        'prompt'
        """
        for name in LABELS:
            labels = tuple(_label(clip.get(name), at) for at, clip in enumerate(clips))
            if len(set(labels)) > 1 and any(clip.get(name) is not None for clip in clips):
                return cls(name, labels)
        return cls("clip", tuple(range(len(clips))))

    @property
    def numbered(self) -> npt.NDArray[np.intp]:
        """Shape (clips,): 0 to C - 1, in the order of the labels."""
        number = {label: at for at, label in enumerate(sorted(set(self.labels)))}  # type: ignore[type-var]
        return np.array([number[label] for label in self.labels], dtype=np.intp)

    def to_dict(self) -> dict[str, Any]:
        """What a summary says: by what, and how many."""
        return {"by": self.by, "n": len(set(self.labels))}


def _label(name: str | None, at: int) -> tuple[int, Hashable]:
    """Sortable beside the others, and of its own where there is no name."""
    return (1, at) if name is None else (0, name)
