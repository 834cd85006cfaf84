"""Folders of speech that was made here: which file belongs to which clip, how it was made, and writing it whole."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.files import dump, replacing, write_whole
from slm_eval.speech.provenance import NAME, read_provenance

# File systems allow 255; a file that is being written has a dot and nine more.
_MAX_NAME = 240


def wav_files(ids: Iterable[str], folder: Path) -> dict[str, Path]:
    """Return where the speech of each clip goes: its id with the suffix .wav, below ``folder``.

    Raises:
        UsageError: two clips would go to one file, or an id leads out of the folder.
    """
    names = {clip_id: _wav_name(clip_id, folder) for clip_id in ids}
    shared = [str(name) for name, count in Counter(names.values()).items() if count > 1]
    if shared:
        raise UsageError(f"{len(shared)} files would be written more than once, {min(shared)} first; rename clips")
    return {clip_id: folder / name for clip_id, name in names.items()}


def _wav_name(clip_id: str, folder: Path) -> PurePosixPath:
    path = PurePosixPath(clip_id)
    if path.is_absolute() or ".." in path.parts or not path.name or "\0" in clip_id:
        raise UsageError(f"an id must be the name of a file below {folder}, got {clip_id[:80]!r}; rename it")
    # An id such as "a.b" may be all name; what follows a dot is replaced, as it is the format of what was heard.
    name = path.with_suffix(".wav")
    longest = max(len(part.encode()) for part in name.parts)
    if longest > _MAX_NAME:
        raise UsageError(f"the id {clip_id[:80]!r}... makes a name of {longest} bytes, above {_MAX_NAME}; rename it")
    return name


def claim(folder: Path, made: Mapping[str, Any], files: Iterable[Path], fresh: bool = False) -> None:
    """Say how the folder's speech is made, before the first file of it is; ``slm-eval run`` reads it.

    Args:
        made: JSON values; all that decides what the speech is.
        files: what will be in the folder.
        fresh: remove what is there of them, to be made again. Only then: a run that is stopped half-way must not leave
            old speech under a new description.

    Raises:
        UsageError: the folder holds speech that was made otherwise, which must not be mixed with this.
    """
    made = json.loads(dump(dict(made)))
    wanted = set(files)
    there = read_provenance(folder)
    if fresh:
        for path in wanted:
            path.unlink(missing_ok=True)
    elif there is not None and there != made:
        differing = sorted(key for key in made.keys() | there.keys() if made.get(key) != there.get(key))
        raise UsageError(
            f"{folder} holds speech that was made otherwise ({', '.join(differing)}); "
            "choose another folder, or --fresh to make it again"
        )
    if there != made:
        other = next((path for path in folder.rglob("*.wav") if path not in wanted or there is None), None)
        if other is not None:
            raise UsageError(f"{folder} holds {other.name}, which is not made here; choose another folder")
    write_whole(folder / NAME, [dump(made, indent=2), "\n"])


def write_audio(path: Path, samples: np.ndarray, sample_rate: int) -> None:
    """Write 16-bit mono audio, of the format that the name ends in, so that nobody ever sees half of it.

    Args:
        samples: (n,) in [-1, 1]; what lies outside is clipped.

    Raises:
        SlmEvalError: it cannot be written.
    """
    import soundfile

    try:
        with replacing(path) as partial:
            soundfile.write(partial, samples, sample_rate, subtype="PCM_16")
    except (OSError, soundfile.LibsndfileError) as error:
        raise SlmEvalError(f"cannot write {path}: {error}; choose another place") from error
