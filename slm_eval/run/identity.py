"""Which run a folder holds: where it was made, what was asked, and whether another run would take its place.

    "run": {"clips_sha256": "...", "base": "../..", "name": NAME,
            "metrics": {NAME: OPTIONS}, "recognizer": "auto", "lang": null, "limit": null}

stands in the environment of summary.json. ``base`` is the folder that the paths of the corpora are relative to, as seen
from the run's own, so that both may be moved together; it is left out where they are absolute. ``name`` is that of
--name. The second line is what a command asked, and is not there where Python did. In shard.json there is the shard's
number too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from slm_eval.base.errors import UsageError
from slm_eval.base.strict_json import parse, read_text
from slm_eval.metrics.metric import Metric
from slm_eval.run.share import Share

# Parts of "run" that do not identify it: the same run may be asked for from elsewhere, and under another name.
_NOT_ASKED = frozenset({"clips_sha256", "base", "name"})
SUMMARY = "summary.json"
SHARD = "shard.json"
_MAX_BYTES = 4 << 30  # a shard of a million clips is 1 GB


def about(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return "run" of a summary or a shard; {} for one from before it was noted."""
    environment = content.get("environment")
    run = environment.get("run") if isinstance(environment, dict) else None
    return run if isinstance(run, dict) else {}


def base(folder: Path, paths: Iterable[str]) -> dict[str, str]:
    """Return {"base": the current folder as seen from ``folder``}, or {} where none of the paths depends on it."""
    if all(map(os.path.isabs, paths)):
        return {}
    try:
        return {"base": os.path.relpath(os.path.realpath(os.curdir), os.path.realpath(folder))}
    except ValueError:  # another drive
        return {"base": os.path.realpath(os.curdir)}


def place(path: str, folder: Path, base: str | None) -> str:
    """Return where the ``path`` of a corpus is, of a run in ``folder``; without a base, from the current folder."""
    if base is None:
        return os.path.realpath(path)
    return os.path.realpath(os.path.join(os.path.realpath(folder), base, path))


def source(summary: Mapping[str, Any], side: str, folder: Path | None) -> str:
    """Return where the speech of a run is, read from ``folder``; None for one that was just made."""
    path, base = str(summary["corpora"][side]["path"]), about(summary).get("base")
    return path if folder is None or not isinstance(base, str) else place(path, folder, base)


def describe(metrics: Iterable[Metric], *, name: str | None, **asked: Any) -> dict[str, Any]:
    """Return what identifies a run, for "run" in its summary.

    Args:
        metrics: those that were asked for, also where they cannot be computed here.
        name: of --name.
        asked: other options that change what is computed.
    """
    called = {} if name is None else {"name": name}
    return called | {"metrics": {metric.name: metric.options for metric in metrics}} | asked


def run_folder(generated: str, name: str | None, share: Share | None) -> Path:
    """Return the folder of a run that was not told where to write: ``runs/NAME``, of the generated speech by default.

    Raises:
        UsageError: a name that is no name of a folder.
    """
    if name is None:
        path = Path(generated).resolve()
        name = path.name if path.is_dir() else path.stem  # the dot in a folder "model-1.5" ends no name
    elif name in {"", ".", ".."} or set(name) & {"/", "\\", "\0"}:
        raise UsageError(f"--name {name!r}: expected the name of a folder below runs/; --output takes a path")
    return Path("runs", name if share is None else f"{name}.shard-{share.index}-of-{share.count}")


def claim(
    folder: Path, corpora: Mapping[str, str], asked: Mapping[str, Any], share: Share | None = None, *, force: bool
) -> None:
    """Let a run be written where nothing is, or the same run: of the same speech, with the same options.

    What cannot be read is no finished run, and what is from before this was noted is known by its paths alone.

    Args:
        folder: of the results.
        corpora: side -> path, relative to the current folder.
        asked: of ``describe``.
        share: of a shard.
        force: take the place of another run.

    Raises:
        UsageError: it holds another one; or a shard where a run is to be, or the other way round.
    """
    refuse_other_kind(folder, shard=share is not None)
    if force:
        return
    held = _held(folder / (SUMMARY if share is None else SHARD))
    ours = {side: os.path.realpath(path) for side, path in corpora.items()} | dict(asked)
    if share is not None:
        ours["shard"] = str(share)
    for where, there, here in differences(held, {key: ours.get(key) for key in held}):
        raise UsageError(
            f"{folder} holds another run: {where} was {there!r} there and is {here!r} here; choose another --name or "
            "--output, or replace it with --force"
        )


def refuse_other_kind(folder: Path, *, shard: bool) -> None:
    """Refuse a folder that holds the other kind: it is a run or a shard, never both.

    Raises:
        UsageError: it holds the other one.
    """
    if not shard and (folder / SHARD).exists():
        raise UsageError(f"{folder} is a shard; choose another --output for the whole run")
    if shard and (folder / SUMMARY).exists():
        raise UsageError(f"{folder} holds a finished run; choose another --output for a shard")


def _held(path: Path) -> dict[str, Any]:
    """Return what identifies the run that is there; {} for none."""
    try:
        content = parse(read_text(path, _MAX_BYTES))
        run = about(content)
        corpora = content["corpora"]
        sides = {side: place(corpora[side]["path"], path.parent, run.get("base")) for side in corpora}
        return sides | {key: value for key, value in run.items() if key not in _NOT_ASKED}
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return {}


def differences(one: Any, other: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield where two JSON values differ: the dotted place and both values, as deep as both have the same shape.

    Of objects with different keys, the keys are the difference.
    """
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        pairs = [(key, one[key], other[key]) for key in one]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(str(index), *pair) for index, pair in enumerate(zip(one, other, strict=True))]
    elif isinstance(one, dict) and isinstance(other, dict):
        yield place, sorted(one), sorted(other)
        return
    else:
        if one != other:
            yield place, one, other
        return
    for key, one_value, other_value in pairs:
        yield from differences(one_value, other_value, f"{place}.{key}" if place else key)
