"""What is saved comes back to the bit; what is damaged, foreign or incomplete is one clear line."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from model_zoo.cdslm.checkpoint import Loaded, load, save
from model_zoo.cdslm.config import DiffusionConfig, ModelConfig
from model_zoo.cdslm.model import MMDiT
from model_zoo.features import FeatureSpec, Normalizer
from slm_eval.base.errors import SlmEvalError

CONFIG = ModelConfig(layers=1, width=16, head_dim=8, patch=2, positions="per_stream")
DIFFUSION = DiffusionConfig(schedule="cosine", steps=500)
SPEC = FeatureSpec(mel_floor=-4.0)
FACTS = {"step": 12, "seed": 3, "hours": 0.25}


def weights(seed: int) -> dict[str, Tensor]:
    return {
        name: torch.randn(each.shape, generator=torch.Generator().manual_seed(seed))
        for name, each in MMDiT(CONFIG).state_dict().items()
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    normalizer = Normalizer(torch.linspace(-3, -1, 80), torch.linspace(0.5, 1, 80))
    where = tmp_path / "run" / "model.safetensors"
    save(where, CONFIG, weights(0), DIFFUSION, SPEC, normalizer, FACTS, ema=weights(1))
    return where


def rewrite(path: Path, edit: Callable[[dict[str, Tensor], dict[str, Any]], None]) -> None:
    """Change tensors and metadata of a file."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = json.loads(file.metadata()["cdslm"])
    edit(tensors, about)
    save_file(tensors, path, {"cdslm": json.dumps(about)})


def assert_weights(loaded: Loaded, expected: dict[str, Tensor]) -> None:
    state = loaded.model.state_dict()
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(state[name], tensor)


def test_everything_comes_back(path: Path) -> None:
    averaged, last = load(path), load(path, ema=False)
    assert_weights(averaged, weights(1))
    assert_weights(last, weights(0))
    assert (averaged.model_config, averaged.diffusion_config) == (CONFIG, DIFFUSION)
    assert averaged.model.config == CONFIG
    assert (averaged.features, averaged.facts) == (SPEC, FACTS)
    assert torch.equal(averaged.normalizer.mean, torch.linspace(-3, -1, 80))
    assert torch.equal(averaged.normalizer.scale, torch.linspace(0.5, 1, 80))
    assert not averaged.model.training
    assert len(averaged.digest) == 16


def test_the_file_holds_float32_and_says_what_it_is(path: Path) -> None:
    half = {name: tensor.bfloat16() for name, tensor in weights(0).items()}
    save(path, CONFIG, half, DIFFUSION, SPEC, Normalizer(torch.zeros(80), torch.ones(80)), FACTS)
    with safe_open(path, "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F32"}  # noqa: SIM118
        about = json.loads(file.metadata()["cdslm"])
    assert about["features_digest"] == SPEC.digest
    assert about["model"]["patch"] == 2
    assert about["software"].startswith("slm-eval ")


def test_the_same_state_gives_the_same_bytes(path: Path) -> None:
    before, digest = path.read_bytes(), load(path).digest
    normalizer = Normalizer(torch.linspace(-3, -1, 80), torch.linspace(0.5, 1, 80))
    save(path, CONFIG, weights(0), DIFFUSION, SPEC, normalizer, FACTS, ema=weights(1))
    assert path.read_bytes() == before
    assert load(path).digest == digest
    save(path, CONFIG, weights(0), DIFFUSION, SPEC, normalizer, {**FACTS, "step": 13}, ema=weights(1))
    assert load(path).digest != digest


def test_averages_that_share_memory_with_the_weights_are_saved(path: Path) -> None:
    shared = weights(2)
    save(path, CONFIG, shared, DIFFUSION, SPEC, Normalizer(torch.zeros(80), torch.ones(80)), FACTS, ema=shared)
    assert_weights(load(path), shared)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_a_truncated_file_is_one_line(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(SlmEvalError, match="must be a checkpoint, got a damaged or another file") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    class Command:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save(Command(), tmp_path / "model.safetensors")
    with pytest.raises(SlmEvalError, match="must be a checkpoint, got a damaged or another file"):
        load(tmp_path / "model.safetensors")
    assert not (tmp_path / "ran").exists()


def _without(tensors: dict[str, Tensor], name: str) -> None:
    del tensors[name]


def _set(tensors: dict[str, Tensor], name: str, value: Tensor) -> None:
    tensors[name] = value


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t, a: _without(t, "ema.blocks.0.context.qkv.bias"), "lacks 1 tensors, blocks.0.context.qkv.bias first"),
        (lambda t, a: _set(t, "ema.extra", torch.zeros(1)), "has unexpected 1 tensors, extra first"),
        (lambda t, a: _set(t, "ema.final.bias", torch.zeros(80)), r"final.bias has shape \(80,\), expected \(160,\)"),
        (lambda t, a: t["ema.final.bias"].fill_(torch.nan), "final.bias has values that are NaN"),
        (lambda t, a: _without(t, "normalizer.scale"), "the normalizer lacks 'scale'"),
        (lambda t, a: a.update(format="slm-eval-cdslm-0"), "has the format 'slm-eval-cdslm-0', expected"),
        (lambda t, a: a.pop("features"), "does not say its features"),
        (lambda t, a: a["model"].update(depth=3), "unknown key of ModelConfig 'depth'"),
        (lambda t, a: a["model"].update(layers="1"), "sizes are whole numbers up to"),
        (lambda t, a: a.update(features_digest="0" * 16), "features '0000000000000000', which this version computes"),
    ],
)
def test_what_does_not_fit_is_named(
    path: Path, edit: Callable[[dict[str, Tensor], dict[str, Any]], None], message: str
) -> None:
    rewrite(path, edit)
    with pytest.raises(SlmEvalError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_file_of_something_else(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(SlmEvalError, match="has the format None, expected 'slm-eval-cdslm-1'"):
        load(tmp_path / "other.safetensors")
    with pytest.raises(SlmEvalError, match=r"none.safetensors is missing"):
        load(tmp_path / "none.safetensors")


def test_other_features_are_refused(path: Path) -> None:
    load(path, expect_features=SPEC)
    with pytest.raises(SlmEvalError, match=r"was made for other features: mel_floor -4\.0 instead of -5\.0"):
        load(path, expect_features=FeatureSpec())


def test_averages_that_are_not_there(path: Path) -> None:
    rewrite(path, lambda tensors, _: [tensors.pop(name) for name in list(tensors) if name.startswith("ema.")])
    with pytest.raises(SlmEvalError, match="has no averaged weights"):
        load(path)
    assert_weights(load(path, ema=False), weights(0))


def test_weights_of_another_network_are_not_saved(path: Path) -> None:
    before = path.read_bytes()
    wrapped = {f"_orig_mod.{name}": tensor for name, tensor in weights(0).items()}
    normalizer = Normalizer(torch.zeros(80), torch.ones(80))
    with pytest.raises(SlmEvalError, match="the state to be saved lacks"):
        save(path, CONFIG, wrapped, DIFFUSION, SPEC, normalizer, FACTS)
    with pytest.raises(SlmEvalError, match=r"ctx_in\.weight has shape"):
        save(path, replace(CONFIG, patch=1), weights(0), DIFFUSION, SPEC, normalizer, FACTS)
    assert path.read_bytes() == before


def test_a_full_disk_leaves_what_was_there(path: Path) -> None:
    """A limit on the size of files stands for the disk."""
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(SlmEvalError, match=r"cannot write .*model.safetensors") as caught:
            save(path, CONFIG, weights(5), DIFFUSION, SPEC, Normalizer(torch.zeros(80), torch.ones(80)), FACTS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]
