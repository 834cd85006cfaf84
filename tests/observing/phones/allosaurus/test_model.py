"""A model directory is read as the package reads it, or refused in one line."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slm_eval.base.errors import SlmEvalError
from slm_eval.observing.phones.allosaurus import model as model_files
from slm_eval.observing.phones.allosaurus.observer import Allosaurus
from tests.conftest import noise
from tests.observing.phones.allosaurus.recordings import RATE, loaded, observe
from tests.observing.phones.allosaurus.standin import ARCHIVE, random_state, write_small_configuration


def test_inventories_equal_the_official_ones(official: Any, model: Path) -> None:
    names = model_files.phones(model)
    inventory = official.lm.inventory
    codes = sorted(inventory.lang2phonefile)
    assert sorted(model_files.languages(model)) == codes
    for code in [*codes[:: max(1, len(codes) // 100)], "eng", "stan1293"]:  # all 4,282 were compared once: equal, 22 s
        logits = inventory.get_mask(code).mask_logits(np.zeros((1, len(names)), dtype=np.float32))[0]
        assert model_files.inventory(model, code, names) == (np.flatnonzero(logits[1:] == 0) + 1).tolist(), code


@pytest.mark.skipif(not ARCHIVE.is_file(), reason="the published inventories are not beside the repository")
def test_english_has_51_phones_of_the_model(model: Path) -> None:
    allowed = model_files.inventory(model, "eng", model_files.phones(model))
    assert allowed is not None
    assert len(allowed) == 51  # of the 67 that the inventory lists
    assert allowed == model_files.inventory(model, "stan1293", model_files.phones(model))


class _Code:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (os.mkdir, ("code-was-run",))


def _without(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


def _truncate(folder: Path) -> None:
    (folder / "model.pt").write_bytes((folder / "model.pt").read_bytes()[:5000])


def _with_code(folder: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"phone_layer.weight": _Code()}, buffer)
    (folder / "model.pt").write_bytes(buffer.getvalue())


def _wrong_shape(folder: Path) -> None:
    torch.save(random_state(0, hidden=8), folder / "model.pt")


def _other_front_end(folder: Path) -> None:
    config = json.loads((folder / "pm_config.json").read_text())
    (folder / "pm_config.json").write_text(json.dumps({**config, "feature_window": 5}))


def _endless_layers(folder: Path) -> None:
    config = json.loads((folder / "am_config.json").read_text())
    (folder / "am_config.json").write_text(json.dumps({**config, "layer_size": 10**9}))


def _inventory_elsewhere(folder: Path) -> None:
    """Write an index that leads to any file of the machine, a pipe for one."""
    (folder / "inventory" / "index.json").write_text(
        json.dumps([{"ISO6393": "eng", "GlottoCode": "stan1293", "phonelists": "../../secret"}])
    )


def _fewer_phones(folder: Path) -> None:
    (folder / "phone.txt").write_text("a 1\nb 2\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without("model.pt"), "lacks model.pt"),
        (_without("phone.txt"), "lacks phone.txt"),
        (_without("inventory/index.json"), "lacks inventory/index.json"),
        (_truncate, "damaged"),
        (_with_code, "more than tensors"),
        (_wrong_shape, "should have shape"),
        (_other_front_end, "feature_window is 5"),
        (_fewer_phones, "230 phones"),
        (lambda folder: (folder / "am_config.json").write_text("{"), "cannot read"),
        (lambda folder: (folder / "am_config.json").write_text("[" * 100_000), "nested more than 64 deep"),
        (_endless_layers, "sizes must be whole numbers up to 10000"),
        (_inventory_elsewhere, "phonelists must be the name of a file, got '../../secret'"),
        (lambda folder: (folder / "pm_config.json").write_text("{}"), "must be a front-end configuration"),
        (lambda folder: (folder / "inventory/index.json").write_text("[{}]"), "must be an index of inventories"),
    ],
)
def test_bad_model_directory_is_one_clear_line(spoil: Any, message: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "model"
    write_small_configuration(folder, layers=1)
    torch.save(random_state(0, layers=1), folder / "model.pt")
    spoil(folder)
    with pytest.raises(SlmEvalError, match=message) as caught:
        loaded(folder, "eng")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "code-was-run").exists()


def test_no_model_directory_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SlmEvalError, match="there is no Allosaurus model directory"):
        Allosaurus(model=tmp_path / "nothing")


def test_model_of_several_gpus_and_training_layers_is_read(model: Path, tmp_path: Path, observer: Allosaurus) -> None:
    shutil.copytree(model, tmp_path / "copy")
    state = torch.load(model / "model.pt")
    renamed = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({**renamed, "allophone_layer_dict.eng": torch.zeros(3)}, tmp_path / "copy" / "model.pt")
    clip = noise(1.0, RATE)
    assert observe(loaded(tmp_path / "copy"), [clip]) == observe(observer, [clip])
