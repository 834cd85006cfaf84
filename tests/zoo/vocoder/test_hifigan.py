"""HiFi-GAN against the official generator, and in pieces against itself in one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_zoo.features import FeatureSpec, Normalizer
from model_zoo.vocoder import hifigan
from model_zoo.vocoder.convert import convert
from model_zoo.vocoder.hifigan import Generator, GeneratorConfig, HiFiGAN
from model_zoo.vocoder.loading import load_vocoder
from slm_eval.base.errors import SlmEvalError
from tests.zoo.vocoder import hifigan_standin

SMALL = GeneratorConfig(channels=32)

# Every 300th sample, the last four, and the mean absolute value of what parallel-wavegan 0.6.1 (torch 2.11.0, numpy
# 1.26.4, scipy 1.12.0) makes of the stand-in of full size; standard deviation 0.166:
#   python tests/zoo/hifigan_standin.py FOLDER
#   ENV/bin/python benchmarks/peers/hifigan_peer.py --folder FOLDER --mels FOLDER/mels.npy --output audio.npy </dev/null
# fmt: off
GOLDEN = [-0.1634421, -0.0684325, -0.3078429, -0.1765899, -0.1898135, 0.1182037, -0.0796632, -0.1962592, -0.19166,
          -0.1762675, -0.0979087, -0.3153826]
# fmt: on
GOLDEN_END = [-0.0550604, -0.1756086, -0.1186501, -0.1118289]
GOLDEN_MEAN = 0.15968792751347388


def small_vocoder(spec: FeatureSpec | None = None) -> HiFiGAN:
    torch.manual_seed(0)
    generator = Generator(SMALL)
    for parameter in generator.parameters():
        parameter.data.mul_(2.0)  # torch's initial weights let a signal fade on its way through
    mean, scale = map(torch.from_numpy, hifigan_standin.statistics())
    return HiFiGAN(generator, Normalizer(mean, scale), spec or FeatureSpec(), "0" * 16)


def test_equals_the_official_generator(tmp_path: Path) -> None:
    file = tmp_path / "vocoder.safetensors"
    convert(hifigan_standin.write(tmp_path / "recipe"), file, mel_floor=None)
    audio = load_vocoder(file, "cpu")(torch.from_numpy(hifigan_standin.mels(12))[None])[0].numpy()
    assert audio.shape == (3600,)
    np.testing.assert_allclose(audio[::300], GOLDEN, atol=2e-6)
    np.testing.assert_allclose(audio[-4:], GOLDEN_END, atol=2e-6)
    assert np.abs(audio).astype(np.float64).mean() == pytest.approx(GOLDEN_MEAN, abs=1e-6)


def test_size_is_the_published_one() -> None:
    with torch.device("meta"):
        generator = Generator(GeneratorConfig())
    assert sum(parameter.numel() for parameter in generator.parameters()) == 12_979_841
    assert GeneratorConfig().hop == 300


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 70))
@settings(max_examples=25, deadline=None)
def test_pieces_and_tiles_equal_the_whole(frames: int, start: int, stop: int) -> None:
    torch.manual_seed(frames)
    generator = Generator(SMALL).double().requires_grad_(False)
    mels = torch.randn(1, 80, 1, frames, dtype=torch.float64)
    start, stop = sorted((min(start, frames) - 1, min(stop, frames)))
    if start == stop:
        stop += 1
    whole = generator(mels)
    assert whole.shape == (1, 1, 1, 300 * frames)
    for tile_values in (None, 1):
        piece = generator.piece(mels, start, stop, tile_values)
        torch.testing.assert_close(piece, whole[..., 300 * start : 300 * stop], rtol=0, atol=1e-12)


def test_a_frame_is_heard_19_frames_far() -> None:
    """Pieces must reach as far as the network hears, 18.95 frames: a change shows there and no further."""
    torch.manual_seed(0)
    generator = Generator(SMALL).double().requires_grad_(False)
    mels = torch.randn(1, 80, 1, 60, dtype=torch.float64)
    changed = mels.clone()
    changed[..., 30] += 10.0
    difference = (generator(changed) - generator(mels)).abs().reshape(60, 300).amax(1)
    assert difference[11:49].min() > 0
    assert difference[:11].max() == 0
    assert difference[50:].max() == 0


def test_long_audio_has_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    vocoder, mels = small_vocoder(), torch.from_numpy(hifigan_standin.mels(130))[None]
    whole = vocoder(mels)
    monkeypatch.setattr(hifigan, "_PIECE_FRAMES", 17)
    monkeypatch.setattr(hifigan, "_LEAST_TILE", 400)
    monkeypatch.setattr(hifigan, "_TILE_VALUES", 1)
    torch.testing.assert_close(vocoder(mels), whole, rtol=0, atol=2e-6)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4))
@settings(max_examples=10, deadline=None)
def test_batch_never_changes_a_clip(order: list[int]) -> None:
    vocoder = small_vocoder()
    mels = torch.from_numpy(np.stack([hifigan_standin.mels(40, seed) for seed in range(4)]))
    together = vocoder(mels[order])
    assert together.dtype == torch.float32
    assert together.shape == (len(order), 40 * 300)
    assert together.abs().max() <= 1.0
    for row, clip in enumerate(order):
        assert torch.equal(together[row], vocoder(mels[clip : clip + 1])[0])


def test_takes_raw_mels_and_raises_them_to_the_floor() -> None:
    """Its own statistics are inside; what is quieter than the floor sounds like the floor."""
    vocoder = small_vocoder()
    mels = torch.from_numpy(hifigan_standin.mels(30)).clamp(min=-5.0)
    with torch.no_grad():
        normalized = (mels - vocoder.statistics.mean) / vocoder.statistics.scale
        expected = vocoder.generator(normalized.T[None, :, None])[0, 0, 0]
    torch.testing.assert_close(vocoder(mels[None])[0], expected, rtol=0, atol=2e-6)
    quiet = mels.clone()
    quiet[10:20] = -10.0
    assert torch.equal(vocoder(quiet[None]), vocoder(quiet[None].clamp(min=-5.0)))
    unfloored = small_vocoder(FeatureSpec(mel_floor=None))
    assert not torch.equal(unfloored(quiet[None]), unfloored(quiet[None].clamp(min=-5.0)))


def test_bfloat16_stays_close() -> None:
    mels = torch.from_numpy(hifigan_standin.mels(40))[None]
    exact = small_vocoder()
    rough = HiFiGAN(small_vocoder().generator, exact.statistics, exact.spec, exact.digest, bfloat16=True)
    audio = rough(mels)
    assert audio.dtype == torch.float32
    error = (audio - exact(mels)).square().mean() / exact(mels).var()
    assert 0 < error < 1e-2


def test_result_is_an_ordinary_tensor() -> None:
    weight = torch.ones((), requires_grad=True)
    (small_vocoder()(torch.zeros(1, 4, 80)) * weight).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize(
    "change",
    [
        {"upsample_kernel_sizes": (9, 10, 8, 6)},
        {"kernel_size": 6},
        {"channels": 40},
        {"resblock_dilations": ((1, 3, 5),)},
        {"upsample_scales": "5543"},
        {"width": 3},
    ],
)
def test_generators_that_cannot_be(change: dict[str, object]) -> None:
    with pytest.raises(SlmEvalError, match="no HiFi-GAN generator has these parameters"):
        GeneratorConfig.from_dict(change)


def test_generator_of_another_hop_is_refused() -> None:
    config = GeneratorConfig(channels=32, upsample_scales=(8, 8, 2, 2), upsample_kernel_sizes=(16, 16, 4, 4))
    statistics = Normalizer(torch.zeros(80), torch.ones(80))
    with pytest.raises(SlmEvalError, match="80 bins and 256 samples a frame, the features have 80 and 300"):
        HiFiGAN(Generator(config), statistics, FeatureSpec(), "0")
