"""A model directory in the published format of Allosaurus, without its tensors: configuration, phones, inventories.

model.pt                      the tensors
am_config.json                network: hidden_size, layer_size, phone_size, feat_size
pm_config.json                front end: bands, frequencies
lm_config.json                present and unused
phone.txt                     "phone index" a line; index 0 is the blank
inventory/index.json          languages: ISO6393, GlottoCode, phonelists (a file name)
inventory/<phonelists>        the phones of a language, a line each
inventory/updated_<phonelists>  a user's own, which then counts instead
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slm_eval.base.errors import SlmEvalError, unknown_name
from slm_eval.base.strict_json import parse, read_text
from slm_eval.observing.phones.allosaurus.settings import FrontEndConfig, NetworkConfig

if TYPE_CHECKING:
    from torch import Tensor

FILES = ("model.pt", "am_config.json", "pm_config.json", "lm_config.json", "phone.txt", "inventory/index.json")
_MAX_SIZE = 10_000  # of a layer and of the number of layers; the published model has 640 and 5
ALL_PHONES = "ipa"  # the name the package gives to no inventory at all
# What the front end implements. The package offers nothing else either, but would not notice other values of all.
_FIXED = {
    "model": "mfcc_hires", "sample_rate": 8000, "window_size": 0.025, "window_shift": 0.01, "use_energy": False,
    "cmvn": "speaker", "feature_window": 3,
}  # fmt: skip


def lacking(folder: Path) -> list[str]:
    """Return the files that a model directory needs and ``folder`` lacks."""
    return [name for name in FILES if not (folder / name).is_file()]


def check_whole(folder: Path) -> None:
    """Check that a folder holds every file of a model.

    Raises:
        SlmEvalError: no such folder, or files are missing.
    """
    if not folder.is_dir():
        raise SlmEvalError(f"there is no Allosaurus model directory {folder}; give a folder that holds model.pt")
    absent = lacking(folder)
    if absent:
        raise SlmEvalError(f"{folder} must be a whole Allosaurus model, but lacks {', '.join(absent)}; get it again")


def phones(folder: Path) -> list[str]:
    """Return the phones of the model by index; the blank is index 0 and an empty string.

    Raises:
        SlmEvalError: the file is missing or is no such list.
    """
    by_index = {0: "", **{index: phone for phone, index in _read_units(folder / "phone.txt").items()}}
    if sorted(by_index) != list(range(len(by_index))):
        raise SlmEvalError(f"{folder / 'phone.txt'} does not number its phones from 1 on without gaps; get it again")
    return [by_index[index] for index in range(len(by_index))]


def languages(folder: Path) -> dict[str, str]:
    """Return inventory files by ISO-639-3 and Glottolog code, in lower case; of several with one code the last.

    Raises:
        SlmEvalError: the index is missing or damaged.
    """
    path = folder / "inventory" / "index.json"
    files: dict[str, str] = {}
    try:
        for entry in _read_json(path):
            for code in (entry["ISO6393"], entry["GlottoCode"]):
                files[code.lower()] = _plain_name(entry["phonelists"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise SlmEvalError(f"{path} must be an index of inventories ({error!r}); get the model again") from error
    return files


def check_language(folder: Path, lang: str) -> None:
    """Check that the model knows a language.

    Raises:
        UsageError: no inventory has this code; the message names near ones.
    """
    if lang != ALL_PHONES:
        known = languages(folder)
        if lang not in known:
            raise unknown_name("language (ISO-639-3 or Glottolog code) of Allosaurus", lang, [*known, ALL_PHONES])


def inventory(folder: Path, lang: str, names: Sequence[str]) -> list[int] | None:
    """Return the indices of a language's phones, ascending, without phones that the model lacks. None: all phones.

    Raises:
        UsageError: no inventory has this code.
        SlmEvalError: the inventory's file is missing or damaged.
    """
    if lang == ALL_PHONES:
        return None
    check_language(folder, lang)
    file = languages(folder)[lang]
    updated = folder / "inventory" / f"updated_{file}"
    listed = _read_units(updated if updated.is_file() else folder / "inventory" / file)
    return [index for index, name in enumerate(names) if index > 0 and name in listed]


def front_end_config(folder: Path) -> FrontEndConfig:
    """Return what ``pm_config.json`` chooses.

    Raises:
        SlmEvalError: the file is missing or damaged, or asks for what this front end does not do.
    """
    path = folder / "pm_config.json"
    config = _read_json(path)
    try:
        for key, value in _FIXED.items():
            if config[key] != value:
                raise SlmEvalError(f"{path}: {key} is {config[key]!r}, expected {value!r}; use another model")
        return FrontEndConfig(
            bands=int(config["bank_size"]),
            cepstra=int(config["cep_size"]),
            low=float(config["low_freq"]),
            high=float(config["high_freq"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SlmEvalError(f"{path} must be a front-end configuration ({error!r}); get the model again") from error


def network_config(folder: Path) -> NetworkConfig:
    """Return what ``am_config.json`` chooses.

    Raises:
        SlmEvalError: the file is missing or damaged.
    """
    path = folder / "am_config.json"
    config = _read_json(path)
    try:
        size = config.get("feat_size", -1)
        if size == -1:
            size = next(iter(next(iter(config["feat_size_dict"].values())).values()))
        sizes = (size, *(config[key] for key in ("hidden_size", "layer_size", "phone_size")))
        if not all(isinstance(number, int) and 0 < number <= _MAX_SIZE for number in sizes):
            raise ValueError(f"sizes must be whole numbers up to {_MAX_SIZE}, got {sizes}")
        return NetworkConfig(*sizes)
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise SlmEvalError(f"{path} must be a network configuration ({error!r}); get the model again") from error


def network_state(folder: Path, config: NetworkConfig) -> dict[str, Tensor]:
    """Return the tensors of ``model.pt`` by their names, each checked for its shape; no code in the file is run.

    Raises:
        SlmEvalError: the file is damaged, holds more than tensors, or does not fit the configuration.
    """
    from slm_eval.base.tensors import load_tensors

    path = folder / "model.pt"
    # Models trained on several GPUs carry a prefix. Layers of training languages are left out.
    tensors: Mapping[str, Any] = {name.removeprefix("module."): tensor for name, tensor in load_tensors(path).items()}
    shapes = config.shapes()
    for name, shape in shapes.items():
        has = tuple(getattr(tensors.get(name), "shape", ())) or None
        if has != shape:
            raise SlmEvalError(
                f"{path} does not fit am_config.json: {name} should have shape {shape}, not {has}; get the model again"
            )
    return {name: tensors[name] for name in shapes}


def _plain_name(name: str) -> str:
    """Return the name of an inventory's file, which lies beside the index and nowhere else."""
    if not name or name != Path(name).name or name in {".", ".."} or "\0" in name:
        raise ValueError(f"phonelists must be the name of a file, got {name[:80]!r}")
    return name


def _read_json(path: Path) -> Any:
    try:
        return parse(read_text(path))
    except (OSError, ValueError) as error:
        raise SlmEvalError(f"cannot read {path}: {error}; get the model again") from error


def _read_units(path: Path) -> dict[str, int]:
    """Read lines "phone index" or "phone"; without an index the line counts on."""
    units: dict[str, int] = {}
    index = 0
    try:
        for line in read_text(path).split("\n"):
            if not line.strip():
                continue
            phone, *number = line.split()
            index = int(number[0]) if number else index + 1
            units[phone] = index
    except (OSError, ValueError) as error:
        raise SlmEvalError(f"cannot read the phones in {path}: {error}; get the model again") from error
    return units
