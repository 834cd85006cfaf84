"""Bring a weight set from its publisher to its place: a file, an archive's folder, or files of the Hugging Face hub."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from slm_eval.base.errors import SlmEvalError
from slm_eval.weights import hub
from slm_eval.weights.archive import unpack
from slm_eval.weights.download import NotPublished, fetch
from slm_eval.weights.sources import Hub, Web, WeightSet, Wheel

_MAX_UNPACKED = 2_000_000_000  # bytes; the one archive there is has some 45 MB


def acquire(weights: WeightSet, target: Path) -> Path:
    """Download a set; ``target`` appears in one step, and only if everything went well.

    The caller holds the set's lock.

    Returns:
        ``target``, or the folder in the Hugging Face cache.

    Raises:
        SlmEvalError: it could not be had; the line says what to do.
        OSError: ``target`` cannot be written.
    """
    source = weights.source
    assert not isinstance(source, Wheel)
    if isinstance(source, Hub):
        return _from_hub(weights, source, target)
    if source.archive:
        _from_archive(weights, source, target)
    else:
        fetch(source.remote, target)
    return target


def archive_path(source: Web, target: Path) -> Path:
    """Return where the archive behind the folder ``target`` is downloaded to, and taken from if a user put it there."""
    return target.parent / source.remote.url.rpartition("/")[2]


def _from_archive(weights: WeightSet, source: Web, target: Path) -> None:
    archive = archive_path(source, target)
    put_by_user = archive.exists()
    if not put_by_user:
        fetch(source.remote, archive)
    unpacked = target.with_name(f".{target.name}.unpacking")
    try:
        shutil.rmtree(unpacked, ignore_errors=True)  # what a killed process left
        unpack(archive, unpacked, _MAX_UNPACKED)
        os.replace(_whole_folder(weights, archive, unpacked), target)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
        if not put_by_user:
            archive.unlink(missing_ok=True)


def _whole_folder(weights: WeightSet, archive: Path, unpacked: Path) -> Path:
    """Return the folder that holds the set. Its name is the publisher's affair: what counts is its content."""
    folders = [unpacked, *(folder for folder in sorted(unpacked.rglob("*")) if folder.is_dir())]
    whole = [folder for folder in folders if weights.files(folder)]
    if len(whole) != 1:
        wanted = ", ".join(weights.layouts[0])
        raise SlmEvalError(f"the archive {archive} has {len(whole)} folders with {wanted}, expected 1; refused")
    return whole[0]


def _from_hub(weights: WeightSet, source: Hub, target: Path) -> Path:
    """Get a set through the hub's client into its cache where that is installed, else straight to ``target``."""
    partial = target.with_name(f".{target.name}.partial")
    for layout in weights.layouts:
        # Optional files first: the set counts as whole as soon as the others are there.
        for file in weights.optional:
            with contextlib.suppress(NotPublished):
                _file_from_hub(source, file, partial)
        try:
            for file in layout:
                _file_from_hub(source, file, partial)
        except NotPublished:
            continue
        if hub.client_installed():
            return _snapshot(weights, source)
        os.replace(partial, target)
        return target
    wanted = " or ".join(", ".join(layout) for layout in weights.layouts)
    raise SlmEvalError(f"{source.origin} has no {wanted} any more; get them by other means and put them into {target}/")


def _snapshot(weights: WeightSet, source: Hub) -> Path:
    snapshot = hub.cached_snapshot(source.repo)
    if snapshot is None or not weights.files(snapshot):  # each file comes with the revision of its moment
        raise SlmEvalError(f"{source.origin} was published anew while it was downloaded; run the same command again")
    return snapshot


def _file_from_hub(source: Hub, file: str, partial: Path) -> None:
    if hub.client_installed():
        hub.fetch_file(source.repo, file)
    elif not (partial / file).exists():
        fetch(source.remote(file), partial / file)
