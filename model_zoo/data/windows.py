"""Random windows of a split: which one is a function of (seed, step, index in the global batch) and of nothing else.

Windows are drawn uniformly over all places where one fits: every frame of a long recording is as likely to begin one.
Recordings shorter than a window are

- ``join``: laid end to end, those of one group (speaker or folder) in the order of their ids, and read as one track.
  Groups that are still too short are left out, and counted;
- ``pad``: put behind silence that fills the window, and drawn in proportion to their length, so that an hour of short
  recordings is heard about as often as an hour of long ones;
- ``skip``: left out, and counted.

A track never mixes the two splits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from model_zoo.data.shards import MelShards, Recording, Split
from model_zoo.noise import generator
from slm_eval.base.errors import UsageError, unknown_name

SHORT = ("join", "pad", "skip")
Short = Literal["join", "pad", "skip"]


class Place(NamedTuple):
    """Where a window lies. Tracks are laid end to end on one axis of frames."""

    begin: int  # its first frame of speech on that axis
    silent: int  # frames of silence before it


@dataclass(frozen=True)
class ValidationClip:
    """One clip of the fixed set: normalised log-mels, context (Fc, 80) and what follows, target (Fg, 80)."""

    id: str
    context: Tensor
    target: Tensor


class Windows:
    """All windows of a split.

    Args:
        split: "train" or "validation".
        context_frames, target_frames: of a window, one after the other.
        seed: of the run.
        short: what becomes of recordings shorter than a window.

    Raises:
        UsageError: an unknown name, or no window of this length is to be had.
    """

    def __init__(
        self,
        shards: MelShards,
        split: Split,
        context_frames: int,
        target_frames: int,
        seed: int = 0,
        short: Short = "join",
    ) -> None:
        if short not in SHORT:
            raise unknown_name("treatment of short recordings", short, SHORT)
        if min(context_frames, target_frames) < 1:
            raise UsageError(f"a window has context and target, got {context_frames} and {target_frames} frames")
        self.shards = shards
        self.context_frames, self.target_frames = context_frames, target_frames
        self.seed = seed
        recordings = shards.of(split)
        tracks = list(_tracks(recordings, self.frames, short))
        if not tracks:
            raise UsageError(_why_none(recordings, split, short, self.frames, shards.spec.frame_rate))
        self.recordings = tuple(recording for track, _ in tracks for recording in track)  # in the order of that axis
        used = {recording.id for recording in self.recordings}
        # Too short, under this treatment.
        self.left_out = tuple(recording.id for recording in recordings if recording.id not in used)
        self._begins = _before([recording.frames for recording in self.recordings])
        self._track_begins = _before([sum(recording.frames for recording in track) for track, _ in tracks])
        self._numbers = _before([count for _, count in tracks])

    @property
    def frames(self) -> int:
        """Return the frames of a window."""
        return self.context_frames + self.target_frames

    def __len__(self) -> int:
        """Count the places to begin a window."""
        return int(self._numbers[-1])

    def fill(self, out: np.ndarray, step: int, first: int = 0) -> None:
        """Fill samples ``first`` and following of the global batch of ``step``.

        Args:
            out: (b, context + target, bins) float16, overwritten with raw log10 mels.
        """
        for index, row in enumerate(out, start=first):
            self._copy(row, self._place(self._draw(step, index)))

    def names(self, step: int, first: int, n: int) -> list[str]:
        """Name what ``fill`` gives n samples of, "recording@frame": before frame 0 there is silence."""
        return [self._name(self._place(self._draw(step, index))) for index in range(first, first + n)]

    def validation(self, n: int) -> list[ValidationClip]:
        """Return at most ``n`` windows at equal distances over the split, normalised: the same for every seed of a run.

        There are fewer where the split has fewer windows.
        """
        middles = sorted({(2 * j + 1) * len(self) // (2 * n) for j in range(n)})
        places = sorted({self._place(number) for number in middles})
        return [self._clip(place) for place in places]

    def _draw(self, step: int, index: int) -> int:
        return int(generator(self.seed, "windows", step, index).integers(len(self)))

    def _place(self, number: int) -> Place:
        """Return the place of the window with this number."""
        track = int(np.searchsorted(self._numbers, number, side="right")) - 1
        begin, end = (int(edge) for edge in self._track_begins[track : track + 2])
        if end - begin < self.frames:
            return Place(begin, self.frames - (end - begin))
        return Place(begin + number - int(self._numbers[track]), 0)

    def _copy(self, row: np.ndarray, place: Place) -> None:
        row[: place.silent] = self.shards.spec.silent_value
        filled = place.silent
        number = self._first(place)
        skipped = place.begin - int(self._begins[number])
        while filled < self.frames:
            piece = self.shards.mel(self.recordings[number])[skipped : skipped + self.frames - filled]
            row[filled : filled + len(piece)] = piece
            filled += len(piece)
            number, skipped = number + 1, 0

    def _first(self, place: Place) -> int:
        """Return the number of the recording that a window begins in."""
        return int(np.searchsorted(self._begins, place.begin, side="right")) - 1

    def _name(self, place: Place) -> str:
        number = self._first(place)
        return f"{self.recordings[number].id}@{-place.silent or place.begin - int(self._begins[number])}"

    def _clip(self, place: Place) -> ValidationClip:
        row = np.empty((self.frames, self.shards.spec.n_mels), np.float16)
        self._copy(row, place)
        mel = self.shards.normalizer.normalize(torch.from_numpy(row).float())
        return ValidationClip(self._name(place), mel[: self.context_frames], mel[self.context_frames :])


def _tracks(recordings: Iterable[Recording], window: int, short: Short) -> Iterator[tuple[list[Recording], int]]:
    """Yield recordings read as one, and for how many windows they count: long ones by id, then short ones."""
    by_group: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        if recording.frames >= window:
            yield [recording], recording.frames - window + 1
        else:
            by_group[recording.group].append(recording)
    for _, members in sorted(by_group.items()):
        frames = sum(recording.frames for recording in members)
        if short == "pad":
            yield from (([recording], recording.frames) for recording in members)
        elif short == "join" and frames >= window:
            yield members, frames - window + 1


def _before(sizes: Sequence[int]) -> np.ndarray:
    """Sum the sizes before each, and all: int64, one more than there are sizes."""
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])


def _why_none(recordings: tuple[Recording, ...], split: Split, short: Short, window: int, rate: float) -> str:
    longest = max(recording.frames for recording in recordings) / rate
    advice = {"skip": "short=join or short=pad", "join": "short=pad"}[short]
    joined = ", joined by group or not" if short == "join" else ""
    return (
        f"no window of {window / rate:g} s fits the {len(recordings)} recordings of {split}{joined}, the longest has "
        f"{longest:.1f} s; take {advice}, a shorter window, or longer recordings"
    )
