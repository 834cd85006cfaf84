"""Shards: raw log10 mels of many recordings, one after the other in float16, memory-mapped.

    DIR/index.json          features, normaliser, split, and which shards there are; written last, so a folder that has
                            one is whole
    DIR/shards/00000.mel    (frames, bins) float16, little-endian, nothing else
    DIR/shards/00000.json   what lies where in it: recordings with id, group, frames, offset, split and digest

float16 steps are 0.002 at log10 mels of 2 to 4, far below what a listener or a model could tell.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from model_zoo.data.moments import Moments
from model_zoo.features import FeatureSpec, Normalizer
from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.files import dump, write_whole
from slm_eval.base.strict_json import read_object

VERSION = 1  # of the layout
INDEX = "index.json"
DTYPE = np.dtype("<f2")

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")


@dataclass(frozen=True)
class Recording:
    """One recording, and where it lies."""

    id: str
    group: str  # its speaker, or its folder: recordings that may be joined
    frames: int
    split: Split
    digest: str  # of the decoded audio
    shard: int
    offset: int  # first frame in the shard


@dataclass(frozen=True)
class Entry:
    """A recording on its way into a shard."""

    id: str
    group: str
    split: Split
    digest: str
    mel: np.ndarray  # (frames, bins) float16
    moments: Moments


def shard_path(folder: Path, number: int) -> Path:
    """Return the path of the mels; beside them, with the suffix .json, is what lies where."""
    return folder / "shards" / f"{number:05d}.mel"


def write_shard(folder: Path, number: int, entries: Iterable[Entry], failures: Mapping[str, Any], bins: int) -> int:
    """Write a shard whole, its table last: one without a table is not there.

    Args:
        entries: in the order in which they will lie.
        failures: of recordings that should have been in it, for the table.

    Returns:
        its frames.

    Raises:
        SlmEvalError: it cannot be written.
    """
    path = shard_path(folder, number)
    partial = path.with_name(f".{path.name}")
    recordings: list[dict[str, Any]] = []
    frames, moments = 0, Moments.none(bins)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            for entry in entries:
                file.write(np.ascontiguousarray(entry.mel, DTYPE).data)
                place = {"frames": len(entry.mel), "offset": frames, "split": entry.split, "digest": entry.digest}
                recordings.append({"id": entry.id, "group": entry.group, **place})
                frames += len(entry.mel)
                if entry.split == "train":
                    moments += entry.moments
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise SlmEvalError(f"cannot write {path}: {error.strerror}; make room or choose another --output") from error
    finally:
        partial.unlink(missing_ok=True)
    table = {"frames": frames, "recordings": recordings, "failed": dict(failures), "moments": moments.to_dict()}
    write_whole(path.with_suffix(".json"), [dump(table), "\n"])
    return frames


def read_table(folder: Path, number: int) -> dict[str, Any]:
    """Read what ``write_shard`` wrote beside the mels.

    Raises:
        SlmEvalError: it is missing or damaged.
    """
    path = shard_path(folder, number).with_suffix(".json")
    table = read_object(path, f"copy it again, or {_AGAIN}")
    try:
        if not all(isinstance(table[key], kind) for key, kind in _TABLE.items()):
            raise TypeError("values of other types")
    except (KeyError, TypeError) as error:
        raise SlmEvalError(f"{path} must be the table of a shard ({error!r}); {_AGAIN}") from error
    return table


_TABLE = {"frames": int, "recordings": list, "failed": dict, "moments": dict}
_AGAIN = "prepare into another folder again"


def write_index(
    folder: Path, spec: FeatureSpec, made: Mapping[str, Any], shards: int, failures: Mapping[str, Any]
) -> None:
    """Say that the folder is whole.

    Args:
        made: JSON values that say how the recordings were split.
        shards: how many there are; their tables are read again for statistics.
        failures: id -> {"reason", "error"}.

    Raises:
        SlmEvalError: there is no frame to train on, or none to validate with.
    """
    moments = Moments.none(spec.n_mels)
    sizes: list[dict[str, Any]] = []
    frames = dict.fromkeys(SPLITS, 0)
    for number in range(shards):
        table = read_table(folder, number)
        moments += Moments.from_dict(table["moments"])
        sizes.append({"file": shard_path(Path(), number).as_posix(), "frames": table["frames"]})
        for recording in table["recordings"]:
            frames[recording["split"]] += recording["frames"]
    for split, count in frames.items():
        if not count:
            raise SlmEvalError(
                f"no recording that could be read is left for {split} ({len(failures)} failed); fix or add some, "
                "then run the same command again"
            )
    normalizer = moments.normalizer()
    index = {
        "version": VERSION,
        "features": {"digest": spec.digest, **spec.to_dict()},
        **made,
        "frames": frames,
        "normalizer": {name: tensor.tolist() for name, tensor in normalizer.to_tensors().items()},
        "shards": sizes,
        "failed": dict(failures),
    }
    write_whole(folder / INDEX, [dump(index, indent=1), "\n"])


class MelShards:
    """A prepared folder, opened for reading. Arrays are views of the page cache; nothing is read before it is used."""

    def __init__(
        self, path: Path, spec: FeatureSpec, normalizer: Normalizer, recordings: tuple[Recording, ...],
        mels: tuple[np.ndarray, ...], failed: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self.path = path
        self.spec = spec
        self.normalizer = normalizer  # of the training frames
        self.recordings = recordings  # by id
        self.mels = mels  # of each shard, (frames, bins) float16
        self.failed = failed  # id -> {"reason", "error"}

    @classmethod
    def open(cls, path: str | os.PathLike[str], expected: FeatureSpec | None = None) -> MelShards:
        """Open what ``slm-zoo prepare`` wrote.

        Args:
            expected: features that the mels have to be of.

        Raises:
            UsageError: there is nothing prepared at ``path``.
            SlmEvalError: it is of another layout or of other features, or a shard is missing, cut or damaged.
        """
        folder = Path(path)
        index = read_index(folder)
        features = dict(index["features"])
        digest = features.pop("digest")
        spec = FeatureSpec.from_dict(features)
        if spec.digest != digest:
            raise SlmEvalError(
                f"{folder} says features {digest}, but these values make {spec.digest}: it was edited or made by "
                f"another version; {_AGAIN}"
            )
        if expected is not None:
            _require(folder, spec, expected)
        recordings: list[Recording] = []
        mels = []
        for number, shard in enumerate(index["shards"]):
            table = read_table(folder, number)
            if shard != {"file": shard_path(Path(), number).as_posix(), "frames": table["frames"]}:
                raise SlmEvalError(f"{folder}: the table of shard {number} is not that of the index; {_AGAIN}")
            mels.append(_map(shard_path(folder, number), table["frames"], spec.n_mels))
            recordings += [_recording(folder, number, table["frames"], recording) for recording in table["recordings"]]
        normalizer = Normalizer.from_tensors(_tensors(index["normalizer"]))
        ordered = tuple(sorted(recordings, key=lambda recording: recording.id))
        return cls(folder, spec, normalizer, ordered, tuple(mels), index["failed"])

    @property
    def digest(self) -> str:
        """Return 16 hexadecimal digits of what is in it: features, and id, audio and split of every recording.

        How recordings are spread over shards does not change it.
        """
        state = hashlib.sha256(self.spec.digest.encode())
        for recording in self.recordings:
            facts = [recording.id, recording.group, recording.digest, recording.frames, recording.split]
            state.update(json.dumps(facts).encode())
        return state.hexdigest()[:16]

    def of(self, split: Split) -> tuple[Recording, ...]:
        """Return the recordings of a split, by id."""
        return tuple(recording for recording in self.recordings if recording.split == split)

    def hours(self, split: Split) -> float:
        """Return the hours of speech in a split."""
        return sum(recording.frames for recording in self.of(split)) / self.spec.frame_rate / 3600

    def mel(self, recording: Recording) -> np.ndarray:
        """Return the raw log10 mels of a recording, (frames, bins) float16, a view that cannot be written."""
        return self.mels[recording.shard][recording.offset : recording.offset + recording.frames]


def _recording(folder: Path, shard: int, frames: int, values: Any) -> Recording:
    """Return a recording of a shard's table, which lies within the shard.

    Raises:
        SlmEvalError: it does not, or says something else.
    """
    match values:
        case {
            "id": str(), "group": str(), "digest": str(), "split": "train" | "validation",
            "frames": int(count), "offset": int(offset), **more,
        } if not more and offset >= 0 and 0 < count <= frames - offset:  # fmt: skip
            return Recording(**values, shard=shard)
    raise SlmEvalError(f"{folder}: the table of shard {shard} holds {str(values)[:120]}, no recording in it; {_AGAIN}")


def read_index(folder: Path) -> dict[str, Any]:
    """Return what ``write_index`` wrote.

    Raises:
        UsageError: there is none, as nothing was prepared there, or not all of it yet.
        SlmEvalError: it is damaged, or of another layout.
    """
    path = folder / INDEX
    if not path.is_file():
        unfinished = (folder / "prepare.json").is_file()
        raise UsageError(
            f"{folder} is not finished; run its slm-zoo prepare again, it continues"
            if unfinished
            else f"{folder} holds no shards; make some: slm-zoo prepare SPEECH -o {folder}"
        )
    index = read_object(path, f"copy it again, or {_AGAIN}")
    if index.get("version") != VERSION:
        raise SlmEvalError(
            f"{path} is of version {index.get('version')}, this slm-zoo reads version {VERSION}; use the slm-zoo that "
            f"wrote it, or {_AGAIN}"
        )
    match index:
        case {
            "features": {"digest": str()}, "shards": list(), "failed": dict(),
            "normalizer": {"mean": [*mean], "scale": [*scale]},
        } if all(isinstance(number, float | int) for number in [*mean, *scale]):  # fmt: skip
            return index
    raise SlmEvalError(f"{path} lacks features, shards, normalizer or failures: it is damaged; {_AGAIN}")


def _require(folder: Path, spec: FeatureSpec, expected: FeatureSpec) -> None:
    if spec.digest == expected.digest:
        return
    there, wanted = spec.to_dict(), expected.to_dict()
    differing = ", ".join(f"{key} {there[key]} instead of {wanted[key]}" for key in there if there[key] != wanted[key])
    raise SlmEvalError(
        f"{folder} holds log-mels of features {spec.digest}, expected are {expected.digest} ({differing}); prepare "
        "the speech again for these, or train a model of those (data.mel_floor)"
    )


def _map(path: Path, frames: int, bins: int) -> np.ndarray:
    """Map a shard into memory, after a look at its size."""
    wanted = frames * bins * DTYPE.itemsize
    try:
        held = path.stat().st_size
        if held != wanted:
            raise SlmEvalError(
                f"{path} is damaged: it holds {held} bytes, its index says {wanted}; copy it again, or {_AGAIN}"
            )
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise SlmEvalError(f"cannot open {path}: {error.strerror}; copy it again, or {_AGAIN}") from error
    return np.frombuffer(mapped, DTYPE).reshape(frames, bins)


def _tensors(values: Mapping[str, list[float]]) -> dict[str, Any]:
    import torch

    return {name: torch.tensor(value) for name, value in values.items()}
