"""Which recordings there are: folders, lists and manifests of speech as one sequence in the order of ids."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from slm_eval.base.errors import UsageError
from slm_eval.speech.audio import duration
from slm_eval.speech.corpus import load_corpus

_HEADERS_AT_ONCE = 16  # threads that ask files for their length


@dataclass(frozen=True)
class Source:
    """A recording that was asked for."""

    id: str
    group: str
    path: Path
    start: float | None
    end: float | None


def collect(sources: Sequence[str | Path]) -> list[Source]:
    """List the recordings of all sources in the order of their ids.

    Raises:
        UsageError: a source cannot be read, is no audio, or two sources share an id.
    """
    by_id: dict[str, tuple[Source, str]] = {}
    for source in sources:
        corpus = load_corpus(source)
        if not corpus.has_audio:
            raise UsageError(f"{corpus.path} is ready-made phones; shards are made of speech")
        path = Path(source)
        root = path if path.is_dir() else path.parent
        for clip in corpus.clips:
            assert clip.path is not None
            if clip.id in by_id:
                raise UsageError(
                    f"{clip.id!r} is in {by_id[clip.id][1]} and in {source}; prepare the folder that holds both, or "
                    "give one manifest with ids of your own"
                )
            group = clip.speaker or _folder(clip.path, root)
            by_id[clip.id] = (Source(clip.id, group, clip.path, clip.start, clip.end), str(source))
    return [by_id[clip_id][0] for clip_id in sorted(by_id)]


def _folder(path: Path, root: Path) -> str:
    """Return the folder of a file below its root, the root's own name before it: the same on every machine."""
    below = Path(os.path.relpath(path.parent, root)).as_posix()
    name = (root.resolve().name + ("" if below == "." else f"/{below}")) or "."
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def lengths(sources: list[Source]) -> dict[str, float]:
    """Return the seconds that the files' headers promise, by id."""
    with ThreadPoolExecutor(_HEADERS_AT_ONCE) as pool:
        lengths = pool.map(lambda source: duration(source.path, source.start, source.end), sources)
        return dict(zip((source.id for source in sources), lengths, strict=True))
