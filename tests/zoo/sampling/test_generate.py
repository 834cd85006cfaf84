"""Clips in, continuations out: what is made depends on checkpoint, options and id alone, and a stop loses nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner

from model_zoo.cdslm.checkpoint import save
from model_zoo.cdslm.config import DiffusionConfig, ModelConfig
from model_zoo.cdslm.model import MMDiT
from model_zoo.cli.main import main
from model_zoo.features import FeatureSpec, Normalizer
from model_zoo.sampling import generate as module
from model_zoo.sampling.generate import GenerateOptions, Outcome, generate
from model_zoo.sampling.sampler import SamplerOptions
from model_zoo.vocoder.convert import convert
from slm_eval import evaluate
from slm_eval.base.errors import SlmEvalError, UsageError
from tests.conftest import noise
from tests.fakes import Loudness
from tests.zoo.vocoder import hifigan_standin

CONFIG = ModelConfig(
    layers=1, width=16, head_dim=8, patch=4, context_seconds=0.6, target_seconds=0.5, base_layers=1, base_width=16
)
QUICK = SamplerOptions(steps=4)


def write_checkpoint(path: Path, features: FeatureSpec | None = None, ema: bool = True) -> Path:
    """A network that has learnt nothing, but is not zero."""
    features = features or FeatureSpec()
    model = MMDiT(CONFIG, features.n_mels)
    generator = torch.Generator().manual_seed(0)
    weights = {name: 0.1 * torch.randn(each.shape, generator=generator) for name, each in model.state_dict().items()}
    averaged = {name: 0.5 * each for name, each in weights.items()} if ema else None
    normalizer = Normalizer(torch.full((features.n_mels,), -1.5), torch.full((features.n_mels,), 0.5))
    save(path, CONFIG, weights, DiffusionConfig(steps=100), features, normalizer, {"step": 7}, averaged)
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "model.safetensors")


@pytest.fixture
def contexts(tmp_path: Path, write_wav: Callable[..., Path]) -> Path:
    folder = tmp_path / "contexts"
    for at, seconds in enumerate((1.0, 0.7, 0.2)):  # the last one is too short
        write_wav(folder / "a" / f"{at}.wav", noise(seconds, seed=at))
    return folder


def make(checkpoint: Path, contexts: Path, output: Path, **options: object) -> Outcome:
    return generate(checkpoint, contexts, output, GenerateOptions(**{"sampler": QUICK, **options}))  # type: ignore[arg-type]


def samples(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: soundfile.read(path)[0] for path in sorted(folder.rglob("*.wav"))}


def test_one_wav_per_clip_and_how_it_was_made(checkpoint: Path, contexts: Path, tmp_path: Path) -> None:
    outcome = make(checkpoint, contexts, tmp_path / "out")
    assert outcome == Outcome(["a/0.wav", "a/1.wav", "a/2.wav"], [], ["a/2.wav"], {})
    for path in (tmp_path / "out").rglob("*.wav"):
        info = soundfile.info(path)
        assert (info.samplerate, info.frames, info.channels) == (24_000, 12_000, 1)
    evaluation = evaluate(tmp_path / "out", contexts, [Loudness()])
    told = evaluation.to_dict()["corpora"]["generated"]["provenance"]
    assert told == json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert told["checkpoint"]["step"] == 7
    assert told["sampler"] == {
        "steps": 4, "solver": "ddim", "guidance": 2.0, "guidance_rescale": 0.0, "guidance_interval": [0.0, 1.0],
        "seed": 0,
    }  # fmt: skip


def test_neither_batch_nor_neighbours_nor_a_stop_change_a_continuation(
    checkpoint: Path, contexts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(checkpoint, contexts, tmp_path / "three", batch=3)
    make(checkpoint, contexts, tmp_path / "one", batch=1)
    make(checkpoint, contexts, tmp_path / "first", limit=1)
    expected = samples(tmp_path / "three")
    for other in (samples(tmp_path / "one"), samples(tmp_path / "first")):
        for name, heard in other.items():
            # Griffin-Lim turns rounding of the network into a few of 16 bits.
            np.testing.assert_allclose(heard, expected[name], atol=3e-3)
            assert np.std(expected[name]) > 0.01

    write, written = module.write_audio, []

    def stop_at_the_second(path: Path, *rest: object) -> None:
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(path)
        write(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "write_audio", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        make(checkpoint, contexts, tmp_path / "stopped", batch=1)
    monkeypatch.undo()
    outcome = make(checkpoint, contexts, tmp_path / "stopped", batch=1)
    assert (outcome.written, outcome.kept) == (["a/1.wav", "a/2.wav"], ["a/0.wav"])
    for path in (tmp_path / "one").rglob("*.wav"):
        assert path.read_bytes() == (tmp_path / "stopped" / path.relative_to(tmp_path / "one")).read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": SamplerOptions(steps=4, seed=1)},
        {"sampler": SamplerOptions(steps=4, guidance=4.0)},
        {"sampler": SamplerOptions(steps=4, solver="dpmpp_2m")},
        {"ema": False},
        {"null_context": "zero_mel"},
    ],
)
def test_options_change_what_is_made_and_two_makings_are_not_mixed(
    checkpoint: Path, contexts: Path, tmp_path: Path, options: dict[str, object]
) -> None:
    make(checkpoint, contexts, tmp_path / "out", limit=1)
    before = samples(tmp_path / "out")
    with pytest.raises(UsageError, match=r"made otherwise .*--fresh"):
        make(checkpoint, contexts, tmp_path / "out", limit=1, **options)
    assert make(checkpoint, contexts, tmp_path / "out", limit=1, fresh=True, **options).written == ["a/0.wav"]
    after = samples(tmp_path / "out")
    assert before.keys() == after.keys() == {"0.wav"}
    assert np.std(before["0.wav"] - after["0.wav"]) > 0.05 * np.std(before["0.wav"])


def test_longer_continuations_begin_with_the_shorter_ones(checkpoint: Path, contexts: Path, tmp_path: Path) -> None:
    """In mels, which the vocoder does not blur."""
    model = module.load(checkpoint)
    heard = torch.full((1, 48, 80), -2.0)
    short = module._continuation(model, "cpu", GenerateOptions(QUICK))(heard, ["x"])
    long = module._continuation(model, "cpu", GenerateOptions(QUICK, seconds=1.3))(heard, ["x"])
    assert (short.shape, long.shape) == ((1, 40, 80), (1, 104, 80))
    torch.testing.assert_close(long[:, :40], short)
    make(checkpoint, contexts, tmp_path / "long", limit=1, seconds=1.3)
    assert len(samples(tmp_path / "long")["0.wav"]) == 1.3 * 24_000


def test_what_does_not_fit_is_one_line(checkpoint: Path, contexts: Path, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path / "other.safetensors", FeatureSpec(mel_floor=-6.0))
    convert(hifigan_standin.write(tmp_path / "recipe", 32), tmp_path / "voc.safetensors")
    with pytest.raises(SlmEvalError, match=r"voc\.safetensors was made for other features: mel_floor -5\.0 instead of"):
        make(other, contexts, tmp_path / "out", vocoder=str(tmp_path / "voc.safetensors"))
    assert make(other, contexts, tmp_path / "griffin-lim", limit=1).written == ["a/0.wav"]
    raw = write_checkpoint(tmp_path / "raw.safetensors", ema=False)
    with pytest.raises(SlmEvalError, match="no averaged weights"):
        make(raw, contexts, tmp_path / "out")
    with pytest.raises(UsageError, match="did you mean 'zero_mel'"):
        GenerateOptions(null_context="zero-mel")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="above 0, got 0"):
        GenerateOptions(batch=0)
    assert not (tmp_path / "out").exists()


def test_too_little_memory_says_what_would_help(
    checkpoint: Path, contexts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("many lines")

    monkeypatch.setattr(module, "continue_to", fail)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**30, 8 * 2**30))
    with pytest.raises(SlmEvalError, match=r"\(1\.0 of 8\.0 GiB free\) does not hold 3 clips.*--batch-size 1"):
        make(checkpoint, contexts, tmp_path / "out")


def test_command(checkpoint: Path, contexts: Path, tmp_path: Path) -> None:
    (contexts / "a" / "3.wav").write_bytes(b"RIFF")
    command = ["sample", str(checkpoint), str(contexts), "-o", str(tmp_path / "out"), "--steps", "2", "--device", "cpu"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 1
    assert "a/3.wav: decode_error" in done.output
    assert "1 contexts were too short; silence was put before them" in done.output
    assert "3 continuations written" in done.output
    (contexts / "a" / "3.wav").unlink()
    done = CliRunner().invoke(main, command)
    assert (done.exit_code, "0 continuations written" in done.output) == (0, True)
    assert CliRunner().invoke(main, [*command, "--solver", "euler"]).exit_code == 2
