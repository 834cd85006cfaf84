"""One table for a run: what is written is read back, and what is wrong is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from model_zoo.training.config import OptimizerConfig, TrainConfig, from_dict, load_config, to_dict
from slm_eval.base.errors import UsageError


def test_written_and_read_back_it_is_the_same() -> None:
    config = from_dict({"model": {"layers": 8, "patch": 2}, "score": {"guidance": [2, 4]}, "micro_batch": 3, "ema": 0})
    assert from_dict(to_dict(config)) == config
    assert (config.model.d, config.score.guidance, config.micro_batch, config.ema) == (1024, (2.0, 4.0), 3, 0.0)
    assert from_dict({}) == TrainConfig()


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("model: {layers: 2}\noptimizer:\n  learning_rate: 1e-3\nsteps: 10_000\n")
    overrides = ["optimizer.learning_rate=3e-4", "steps=2e3", "data.shards=a=b", "compile=false", "score.guidance=[4]"]
    config = load_config(file, overrides)
    assert (config.model.layers, config.optimizer.learning_rate, config.steps) == (2, 3e-4, 2000)
    assert (config.data.shards, config.compile, config.score.guidance) == ("a=b", False, (4.0,))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["optimizer.lerning_rate=1"],
            "'optimizer.lerning_rate'; did you mean 'optimizer.learning_rate'",
        ),
        (["stpes=1"], "did you mean 'steps'"),
        (["model.layer=1"], "did you mean 'model.layers'"),
        (["steps=many"], "steps must be a whole number, got 'many'"),
        (["steps=1.5"], "steps must be a whole number, got 1.5"),
        (["steps=true"], "steps must be a whole number, got True"),
        (["compile=1"], "compile must be true or false, got 1"),
        (["optimizer.clip=high"], "optimizer.clip must be a number, got 'high'"),
        (["precision=fp8"], "unknown precision 'fp8'; .*bfloat16"),
        (["data.short=cut"], "unknown data.short 'cut'; there are: join, pad, skip"),
        (["model=4"], "model must be keys and values, got 4"),
        (["steps.x=4"], "steps must be a whole number, got {'x': 4}"),
        (["steps"], "expected key=value, such as optimizer.learning_rate=3e-4, got 'steps'"),
        (["model.patch=7"], "model: patch is 1 to 6 frames, got 7"),
        (["batch=0"], "at least 1"),
        (["ema=1"], "ema must be from 0 to below 1"),
        (["steps=100"], "optimizer.warmup_steps is 500, but the run has 100 steps; lower it"),
        (["score.every=10"], "score: every needs contexts and real"),
        (["optimizer.beta2=1.0"], "optimizer: beta1 and beta2"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, overrides: list[str], said: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("")
    with pytest.raises(UsageError, match=said) as caught:
        load_config(file, overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "said"), [("a: [", "is not YAML"), ("- 1", "got list"), ("3", "got int")])
def test_files_that_are_no_configuration(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=said):
        load_config(file)
    with pytest.raises(UsageError, match="there is no configuration"):
        load_config(tmp_path / "none.yaml")


def test_identity_holds_what_decides_the_result_and_nothing_else() -> None:
    config = TrainConfig()
    same = [
        replace(config, log_every=7, keep=9, tensorboard=True, wandb="x", micro_batch=2, compile=False),
        replace(config, activation_checkpointing=True, data=replace(config.data, shards="elsewhere", threads=9)),
    ]
    assert {each.digest("d") for each in same} == {config.digest("d")}
    others = [
        replace(config, seed=1),
        replace(config, batch=8),
        replace(config, steps=9_999),
        replace(config, precision="float32"),
        replace(config, model=replace(config.model, layers=5)),
        replace(config, optimizer=replace(config.optimizer, clip=0.5)),
        replace(config, data=replace(config.data, short="pad")),
    ]
    digests = {each.digest("d") for each in others} | {config.digest("other shards"), config.digest("d")}
    assert len(digests) == len(others) + 2


def test_the_rate_rises_then_falls_to_the_last_step() -> None:
    linear = OptimizerConfig(warmup_steps=4, decay="linear")
    factors = [linear.factor(step, 12) for step in range(12)]
    assert factors == pytest.approx([0.25, 0.5, 0.75, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    cosine = OptimizerConfig(warmup_steps=0, decay="cosine")
    assert [cosine.factor(step, 4) for step in range(4)] == pytest.approx([1, 0.853553, 0.5, 0.146447], abs=1e-6)
    assert OptimizerConfig(warmup_steps=0, decay="none").factor(9, 10) == 1
