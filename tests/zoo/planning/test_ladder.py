"""Every configuration of the package loads, and says what its rule says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import model_zoo
from model_zoo.cdslm.config import ModelConfig
from model_zoo.cdslm.flops import Tokens, parameter_count
from model_zoo.planning.gpus import Gpu, fewest_gpus
from model_zoo.planning.ladder import FOLDER, LAYERS, rung, text
from model_zoo.training.config import TrainConfig, from_dict, load_config, to_dict
from slm_eval.scaling.law import PUBLISHED

CONFIGS = Path(model_zoo.__file__).parent / "configs"


def leaves(values: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in values.items():
        flat |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


@pytest.mark.parametrize("layers", LAYERS)
def test_a_rung_of_the_ladder(layers: int) -> None:
    path = FOLDER / f"L{layers}.yaml"
    config = load_config(path)
    assert path.read_text(encoding="utf-8") == text(layers), "run python -m model_zoo.planning.ladder"
    assert config == from_dict(rung(layers))
    assert config.model == ModelConfig(layers=layers)
    # As long as the law finds best for this size, within half a step.
    count = parameter_count(config.model)
    a_step = config.batch * Tokens.from_config(config.model).all
    best = PUBLISHED.optimal(6 * count * config.steps * a_step)
    assert float(best.N) == pytest.approx(count, rel=0.5 / config.steps + 1e-9)
    # Nothing is said that is so by default, the size apart.
    usual, said = leaves(to_dict(TrainConfig())), leaves(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert all(usual[key] != value for key, value in said.items() if key != "model.layers")
    # Only what the ladder may change is changed.
    assert said.keys() <= {"model.layers", "steps", "optimizer.warmup_steps", "micro_batch", "activation_checkpointing"}
    assert config.batch % (config.micro_batch or config.batch) == 0
    # The micro batch fits; to 20 layers on one H200, as section 9 of the reference says, to 12 on a GPU of 80 GB.
    at_once = config.micro_batch or config.batch
    needed = fewest_gpus(config.model, Gpu.by_name("H200"), at_once, config.activation_checkpointing)
    assert needed == 1 if layers <= 20 else needed is not None and needed <= 4
    if layers <= 12:
        assert fewest_gpus(config.model, Gpu.by_name("H100"), at_once, config.activation_checkpointing) == 1


def test_the_small_one_is_its_own_base() -> None:
    config = load_config(CONFIGS / "small.yaml")
    assert config.model.width_multiplier == config.model.depth_multiplier == 1
    assert (config.precision, config.compile) == ("float32", False)  # runs on any CPU


def test_the_ladder_has_no_other_files() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"L{layers}.yaml" for layers in range(1, 31)}
