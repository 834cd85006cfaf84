"""The folder of a run: what it was asked for, and the models that come out of it.

config.yaml         the configuration, whole
run.json            what decides the result, with its digest: a run only continues one of the same
log.jsonl           what was measured, by step
checkpoints/        to continue from, see ``checkpoints``
model.safetensors   the model at the end, for ``slm-zoo sample``
result.json         the last line of the log, the configuration and the costs, when all steps are done
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from model_zoo.plain_yaml import read_yaml
from model_zoo.training.config import TrainConfig, from_dict, to_dict
from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.files import dump, write_whole
from slm_eval.base.strict_json import read_object


def claim(folder: Path, config: TrainConfig, shards: str) -> None:
    """Make the folder this run's; one that a run of the same kind has begun is continued.

    Raises:
        UsageError: another run has begun there; its first differing key is named.
        SlmEvalError: the folder cannot be written.
    """
    identity = config.identity(shards)
    if (folder / "run.json").is_file():
        there = read_json(folder / "run.json").get("identity")
        if not isinstance(there, dict):
            raise SlmEvalError(f"{folder / 'run.json'} does not say what is trained there; take another folder")
        different = _difference(there, identity)
        if different is not None:
            key, held, asked = different
            raise UsageError(
                f"{folder} holds a run with {key} = {held!r}, not {asked!r}; take another folder, or the same values"
            )
    write_json(folder / "run.json", {"digest": config.digest(shards), "identity": identity})
    write_whole(folder / "config.yaml", [_yaml(to_dict(config))])


def config_of(folder: Path) -> TrainConfig:
    """Return the configuration of the run in a folder.

    Raises:
        SlmEvalError: there is none.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        raise SlmEvalError(f"there is no run in {folder}: config.yaml is missing; give the folder of slm-zoo train -o")
    return from_dict(read_yaml(path))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of the folder.

    Raises:
        SlmEvalError: it is missing or damaged.
    """
    return read_object(path, "take another output folder")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    write_whole(path, [dump(values, indent=1), "\n"])


def _yaml(values: dict[str, Any]) -> str:
    import yaml

    text: str = yaml.safe_dump(values, sort_keys=False)
    return text


def _difference(held: Mapping[str, Any], asked: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """Return the first key with other values: its name with dots, and both."""
    flat_held, flat_asked = dict(_flat(held)), dict(_flat(asked))
    for key in flat_asked.keys() | flat_held.keys():
        if flat_held.get(key) != flat_asked.get(key):
            return key, flat_held.get(key), flat_asked.get(key)
    return None


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
