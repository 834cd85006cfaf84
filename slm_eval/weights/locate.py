"""Weights that can be trusted: where they lie, that they are right, and how they get there.

A set of the table (``sources.py``) is looked for in ``$SLM_EVAL_CACHE/weights/`` first (put it there by hand
where there is no network), then in the Hugging Face cache or the Python package that carries it, and is else downloaded
from its publisher, and from nowhere else. Where the publisher's digest is known, no other file is accepted; where it is
not, the digest of the first use is recorded and enforced from then on (``ledger.py``).

    slm-eval list                # sets, licences, where they were found
    slm-eval download nisqa      # one of them
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from slm_eval.base.errors import SlmEvalError, unknown_name
from slm_eval.base.files import cache_folder
from slm_eval.base.lock import exclusive
from slm_eval.base.terminal import notice
from slm_eval.weights import hub
from slm_eval.weights.acquire import acquire, archive_path
from slm_eval.weights.download import cannot_write
from slm_eval.weights.ledger import Ledger, combined_digest, file_digest
from slm_eval.weights.sources import SETS, Hub, Web, WeightSet, Wheel

__all__ = ["at_hand", "digest", "digest_at", "download", "listing", "locate", "missing"]

_OFFLINE_VARIABLES = ("SLM_EVAL_OFFLINE", "HF_HUB_OFFLINE")


class Row(NamedTuple):
    """A line of ``slm-eval list``."""

    name: str
    purpose: str
    licence: str
    found: str  # the path, or how to get it


class Outcome(NamedTuple):
    """What ``download`` made of one name: the path, or one line that says what is wrong."""

    name: str
    licence: str
    path: Path | None
    problem: str | None


def locate(name: str) -> Path:
    """Return the file or folder of a weight set, verified; it is downloaded where absent and the network may be used.

    Raises:
        UsageError: no such weight set.
        SlmEvalError: it is not to be had, or not what it should be; the line says what to do.
    """
    path = at_hand(name) or _obtain(name)
    _verified_digest(name, path)
    return path


def at_hand(name: str) -> Path | None:
    """Return where a set lies on this machine, or None. Neither verifies it nor uses the network.

    Raises:
        UsageError: no such weight set.
        SlmEvalError: its folder is there and lacks files.
    """
    weights, own = _entry(name), _own_path(name)
    try:
        if isinstance(weights.source, Wheel):
            return _package_folder(weights)
        if not weights.layouts:
            return own if own.exists() else None
        if own.exists() and any(own.iterdir()):  # an empty folder is as good as none
            _require_complete(name, own)
            return own
        snapshot = hub.cached_snapshot(weights.source.repo) if isinstance(weights.source, Hub) else None
        return snapshot if snapshot is not None and weights.files(snapshot) else None
    except OSError as error:
        raise SlmEvalError(f"cannot read {own}: {error.strerror or error}; make it readable, or delete it") from error


def missing(name: str) -> str | None:
    """Return None when the set is at hand and right, or can be fetched; else one line: what is wrong, what to do.

    Never uses the network.

    Raises:
        UsageError: no such weight set.
    """
    _entry(name)
    try:
        path = at_hand(name)
        if path is not None:
            _verified_digest(name, path)
            return None
    except SlmEvalError as error:
        return str(error)
    return None if _can_obtain(name) else _how_to_get(name)


def digest(name: str) -> str:
    """Return the SHA-256 (hexadecimal) that identifies a set; over the digests of its files if there are many.

    Where the publisher's digest is known it is given without looking, since ``locate`` accepts no other file.

    Raises:
        UsageError: no such weight set.
        SlmEvalError: as ``locate``.
    """
    source = _entry(name).source
    if isinstance(source, Web) and not source.archive and source.remote.sha256 is not None:
        return source.remote.sha256
    return _verified_digest(name, at_hand(name) or _obtain(name))


def digest_at(name: str, path: Path) -> str:
    """Return the same for other weights in the format of the set ``name``, at ``path``; nothing is recorded.

    Raises:
        SlmEvalError: the file, or a file of the folder, is missing.
    """
    if path.is_file():
        return file_digest(path)
    _require_complete(name, path)
    return combined_digest({relative: file_digest(file) for relative, file in _entry(name).files(path).items()})


def download(names: Iterable[str] = ()) -> Iterator[Outcome]:
    """Fetch sets (without names: all that the metrics of the paper need), one after the other, and verify them.

    One that fails does not stop the others.

    Raises:
        UsageError: there is no set of one of the names; nothing was fetched.
    """
    chosen = list(dict.fromkeys(names)) or [name for name, weights in SETS.items() if weights.by_default]
    for name in chosen:
        _entry(name)
    return map(_download_one, chosen)


def _download_one(name: str) -> Outcome:
    licence = _entry(name).licence
    try:
        return Outcome(name, licence, locate(name), None)
    except SlmEvalError as error:
        return Outcome(name, licence, None, str(error))


def listing() -> Iterator[Row]:
    """Return every set, its licence, and where it was found or how to get it. Never uses the network."""
    for name, weights in SETS.items():
        yield Row(name, weights.purpose, weights.licence, missing(name) or _where(name))


def _where(name: str) -> str:
    path = at_hand(name)
    return str(path) if path is not None else f"not here yet: slm-eval download {name} ({_entry(name).source.origin})"


def _entry(name: str) -> WeightSet:
    if name not in SETS:
        raise unknown_name("weights", name, SETS)
    return SETS[name]


def _folder() -> Path:
    return cache_folder() / "weights"


def _own_path(name: str) -> Path:
    return _folder() / _entry(name).path


def _ledger(name: str) -> Ledger:
    return Ledger(_folder() / f"{name}.json")


def offline_by() -> str | None:
    """Return the variable that forbids the network, if one does."""
    yes = {"1", "true", "yes", "on"}
    return next((name for name in _OFFLINE_VARIABLES if os.environ.get(name, "").strip().lower() in yes), None)


def _can_obtain(name: str) -> bool:
    weights = _entry(name)
    if (
        isinstance(weights.source, Web)
        and weights.source.archive
        and archive_path(weights.source, _own_path(name)).is_file()
    ):
        return True
    return not isinstance(weights.source, Wheel) and offline_by() is None


def _how_to_get(name: str) -> str:
    weights, forbidden = _entry(name), offline_by()
    if isinstance(weights.source, Wheel):
        package = weights.source.package
        return f"the weights {name} are missing: they come with {package}; pip install --force-reinstall {package}"
    what = " or ".join(", ".join(layout) for layout in weights.layouts)
    by_hand = f"put {what} into {_own_path(name)}/" if what else f"put the file at {_own_path(name)}"
    online = f"unset {forbidden} and run" if forbidden else "run"
    return f"the weights {name} are missing; {online} `slm-eval download {name}`, or {by_hand}"


def _package_folder(weights: WeightSet) -> Path | None:
    """Return the folder of the package that carries the set, without importing it; None where a file is missing."""
    assert isinstance(weights.source, Wheel)
    spec = importlib.util.find_spec(weights.source.package)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0])
    return folder if weights.files(folder) else None


def _require_complete(name: str, folder: Path) -> None:
    lacking = _entry(name).lacking(folder)
    if lacking:
        advice = f"add them, or delete the folder and run `slm-eval download {name}`"
        raise SlmEvalError(
            f"{folder} is not a complete set of the weights {name}: it lacks {', '.join(lacking)}; {advice}"
        )


def _verified_digest(name: str, path: Path) -> str:
    """Return the digest of the set at ``path``.

    Raises:
        SlmEvalError: a file is not the published one, or not the one that was used first.
    """
    weights = _entry(name)
    files = weights.files(path) if weights.layouts else {path.name: path}
    if isinstance(weights.source, Wheel):
        return _verified_package(weights.source, files)
    ledger = _ledger(name)
    published = weights.source.remote.sha256 if isinstance(weights.source, Web) and not weights.source.archive else None
    first = ledger.first_digest if published is None else None
    actual = ledger.digest(path, files, published)
    again = f"delete {path} and run `slm-eval download {name}`"
    if published is not None and actual != published:
        raise SlmEvalError(f"{path} is not the published file: its SHA-256 is {actual}, expected {published}; {again}")
    if first is not None and actual != first:
        raise SlmEvalError(
            f"{path} has changed since it was first used: its SHA-256 is {actual}, first {first}; "
            f"if that is meant delete {ledger.path}, else {again}"
        )
    return actual


def _verified_package(source: Wheel, files: dict[str, Path]) -> str:
    digests = {name: file_digest(file) for name, file in files.items()}
    for name, expected in source.digests.items():
        if digests[name] != expected:
            raise SlmEvalError(
                f"{files[name]} is not the published file: its SHA-256 is {digests[name]}, expected {expected}; "
                f"pip install --force-reinstall {source.package}"
            )
    return combined_digest(digests)


def _obtain(name: str) -> Path:
    """Download a set that is not at hand; of several processes one does, and the others wait for it."""
    if not _can_obtain(name):
        raise SlmEvalError(_how_to_get(name))
    try:
        with exclusive(
            _folder() / f".{name}.lock", lambda: notice(f"another process downloads {name}; waiting for it")
        ):
            path = at_hand(name)
            return path if path is not None else acquire(_entry(name), _own_path(name))
    except OSError as error:
        raise cannot_write(_own_path(name), error) from error
