"""What of a ParallelWaveGAN folder becomes a vocoder, and what is refused, in one line each."""

from __future__ import annotations

import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors import safe_open

from model_zoo.features import FeatureSpec
from model_zoo.vocoder.convert import convert
from model_zoo.vocoder.loading import load_vocoder
from slm_eval.base.errors import SlmEvalError, UsageError
from tests.zoo.vocoder import hifigan_standin

CHANNELS = 32
Recipe = Callable[..., Path]


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """recipe(sampling_rate=22050, generator={"bias": False}): a folder whose config says so."""

    def make(generator: dict[str, Any] | None = None, **changes: Any) -> Path:
        settings = {**hifigan_standin.config(CHANNELS), **changes}
        settings["generator_params"].update(generator or {})
        return hifigan_standin.write(tmp_path / "recipe", CHANNELS, settings)

    return make


def edit(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    """Change the generator's tensors in the checkpoint."""
    path = folder / "checkpoint-1steps.pkl"
    content = torch.load(path, weights_only=True)
    change(content["model"]["generator"])
    torch.save(content, path)
    return folder


def audio(file: Path) -> torch.Tensor:
    return load_vocoder(file, "cpu")(torch.from_numpy(hifigan_standin.mels(20))[None])


def test_one_file_with_everything(recipe: Recipe, tmp_path: Path) -> None:
    file = tmp_path / "new" / "vocoder.safetensors"
    spec = convert(recipe(), file)
    assert spec == FeatureSpec()
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    with safe_open(file, "pt") as content:
        assert len(list(content.keys())) == 2 * 78 + 2
        metadata = content.metadata()
    about = json.loads(metadata["vocoder"])
    assert sorted(about) == ["features", "format", "generator", "licence", "source"]
    assert sorted(about["source"]) == ["checkpoint-1steps.pkl", "config.yml", "stats.h5"]
    vocoder = load_vocoder(file, "cpu")
    assert vocoder.spec == spec
    assert len(vocoder.digest) == 16
    assert vocoder.digest == load_vocoder(str(file), "cpu").digest
    convert(recipe(), tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()


def test_archive_equals_folder_and_npy_equals_h5(recipe: Recipe, tmp_path: Path) -> None:
    folder = recipe()
    convert(folder, tmp_path / "folder.safetensors")
    (folder / "stats.h5").unlink()
    np.save(folder / "stats.npy", np.stack(hifigan_standin.statistics()))
    with tarfile.open(tmp_path / "libritts_hifigan.v1.tar.gz", "w:gz") as archive:
        archive.add(folder, "libritts_hifigan.v1")
    convert(tmp_path / "libritts_hifigan.v1.tar.gz", tmp_path / "archive.safetensors")
    assert torch.equal(audio(tmp_path / "folder.safetensors"), audio(tmp_path / "archive.safetensors"))


def test_the_old_spelling_is_read(recipe: Recipe, tmp_path: Path) -> None:
    convert(recipe(), tmp_path / "new.safetensors")
    settings = hifigan_standin.config(CHANNELS)
    parameters = settings["generator_params"]
    parameters["upsample_kernal_sizes"] = parameters.pop("upsample_kernel_sizes")
    hifigan_standin.write(tmp_path / "old", CHANNELS, settings)
    convert(tmp_path / "old", tmp_path / "old.safetensors")
    assert torch.equal(audio(tmp_path / "old.safetensors"), audio(tmp_path / "new.safetensors"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampling_rate": 22050, "hop_size": 256}, "sample_rate 22050 instead of 24000, hop 256 instead of 300"),
        ({"fmin": None, "fmax": None}, "fmin 0.0 instead of 80.0, fmax 12000.0 instead of 7600.0"),
        ({"win_length": None}, "window 2048 instead of 1200"),
        ({"log_base": None}, "log_base is None, our features have 10.0"),
        ({"window": "hamming"}, "window is hamming, our features have hann"),
        ({"generator_type": "MelGANGenerator"}, "the generator is MelGANGenerator, expected HiFiGANGenerator"),
        ({"generator": {"use_causal_conv": True}}, "use_causal_conv of the generator is not False"),
        ({"generator": {"kernel_size": 8}}, "no HiFi-GAN generator has these parameters"),
        ({"generator": {"resblock_kernel_sizes": [3, 7, 9]}}, "blocks.2.convs1.0.1.weight_v is (16, 16, 11), expected"),
        ({"generator": {"upsample_scales": [5, 5, 2, 2, 3]}}, "no HiFi-GAN generator has these parameters"),
    ],
)
def test_other_recipes_are_refused(recipe: Recipe, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SlmEvalError) as caught:
        convert(recipe(**changes), tmp_path / "vocoder.safetensors")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "vocoder.safetensors").exists()


def test_tensors_that_do_not_fit(recipe: Recipe, tmp_path: Path) -> None:
    def fails(change: Callable[[dict[str, torch.Tensor]], object], message: str) -> None:
        with pytest.raises(SlmEvalError) as caught:
            convert(edit(recipe(), change), tmp_path / "vocoder.safetensors")
        assert message in str(caught.value)

    fails(
        lambda state: state.pop("blocks.3.convs2.1.1.weight_g"), "lacks 1 of 234 tensors, blocks.3.convs2.1.1.weight_g"
    )
    fails(lambda state: state.update(mean=torch.zeros(80)), "has unexpected 1 of 234 tensors, mean first")
    fails(lambda state: state["input_conv.bias"].fill_(torch.nan), "input_conv.bias has values that are NaN")
    fails(lambda state: state["input_conv.weight_v"][0].zero_(), "input_conv.weight has values that are NaN")
    fails(lambda state: state.clear(), "lacks 234 of 234 tensors")


def test_parts_that_are_missing_or_damaged(recipe: Recipe, tmp_path: Path) -> None:
    def fails(spoil: Callable[[Path], object], message: str) -> None:
        folder = recipe()
        spoil(folder)
        with pytest.raises(SlmEvalError) as caught:
            convert(folder, tmp_path / "vocoder.safetensors")
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
        for path in folder.iterdir():
            path.unlink()

    def h5_without_scale(folder: Path) -> None:
        with h5py.File(folder / "stats.h5", "w") as file:
            file["mean"] = np.zeros(80)

    fails(lambda f: (f / "stats.h5").unlink(), "should hold one file of statistics, which checkpoints do not hold")
    fails(lambda f: (f / "config.yml").unlink(), "should hold one configuration (config.yml or config.yaml)")
    fails(
        lambda f: (f / "checkpoint-1steps.pkl").unlink(), "should hold one checkpoint (checkpoint-*.pkl), there is none"
    )
    fails(lambda f: (f / "checkpoint-2steps.pkl").write_bytes(b""), "there is 2 (checkpoint-1steps.pkl, checkpoint-2")
    fails(lambda f: (f / "stats.h5").write_bytes(b"nonsense"), "stats.h5 holds no mean and scale")
    fails(h5_without_scale, "stats.h5 holds no mean and scale")
    fails(lambda f: (f / "config.yml").write_text("a: !!python/object/apply:os.getcwd []"), "YAML of plain values")
    fails(lambda f: (f / "config.yml").write_text("sampling_rate: 24000"), "config.yml has no generator_params")
    fails(
        lambda f: (f / "checkpoint-1steps.pkl").write_bytes(b"nonsense"),
        "must be a checkpoint, got a damaged or another file",
    )
    fails(lambda f: torch.save({"model": 1}, f / "checkpoint-1steps.pkl"), 'has no ["model"]["generator"]')


def test_nothing_in_it_is_run(recipe: Recipe, tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            return (Path.touch, (marker,))

    folder = recipe()
    (folder / "checkpoint-1steps.pkl").write_bytes(pickle.dumps({"model": Evil()}))
    with pytest.raises(SlmEvalError, match="more than tensors"):
        convert(folder, tmp_path / "vocoder.safetensors")
    folder = recipe()
    (folder / "stats.h5").unlink()
    np.save(folder / "stats.npy", np.array([Evil(), Evil()], dtype=object), allow_pickle=True)
    with pytest.raises(SlmEvalError, match=r"stats\.npy holds no mean and scale"):
        convert(folder, tmp_path / "vocoder.safetensors")
    assert not marker.exists()


def test_sources_and_outputs_that_cannot_be(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a ParallelWaveGAN folder or a tar archive of one"):
        convert(tmp_path / "absent", tmp_path / "vocoder.safetensors")
    with pytest.raises(UsageError, match=r"written as a \.safetensors file, got vocoder\.pt"):
        convert(recipe(), tmp_path / "vocoder.pt")
    (tmp_path / "not.tar.gz").write_bytes(b"nonsense")
    with pytest.raises(SlmEvalError, match="damaged or cut"):
        convert(tmp_path / "not.tar.gz", tmp_path / "vocoder.safetensors")
    (tmp_path / "file").touch()
    with pytest.raises(SlmEvalError, match="cannot write"):
        convert(recipe(), tmp_path / "file" / "vocoder.safetensors")


def _other_file(path: Path) -> None:
    """Numbers of any file of the machine, read as the mean."""
    path.with_name("secret").write_bytes(np.full(80, 7.0, np.float64).tobytes())
    with h5py.File(path, "r+") as file:
        del file["mean"]
        file.create_dataset("mean", (80,), "f8", external=[(str(path.with_name("secret")), 0, 640)])


def _grouped(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["mean"]
        file.create_group("mean")


def _linked(link: Callable[[Path], object]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        with h5py.File(path.with_name("other.hdf5"), "w") as other:
            other["mean"] = np.zeros(80)
        with h5py.File(path, "r+") as file:
            del file["mean"]
            file["mean"] = link(path)

    return spoil


def _terabytes(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["mean"]
        file.create_dataset("mean", (10**12,), "f4", chunks=(1024,))


def _virtual(path: Path) -> None:
    layout = h5py.VirtualLayout((80,), "f8")
    layout[:] = h5py.VirtualSource(path.with_name("other.hdf5"), "mean", (80,))
    with h5py.File(path, "r+") as file:
        del file["mean"]
        file.create_virtual_dataset("mean", layout)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_other_file, "mean must be a dataset of this file, got one whose values are in others"),
        (_linked(lambda path: h5py.ExternalLink("other.hdf5", "mean")), "mean is a link"),
        (_linked(lambda path: h5py.SoftLink("/scale")), "mean is a link"),
        (_virtual, "mean must be a dataset of this file, got one whose values are in others"),
        (_grouped, "mean must be a dataset, got a Group"),
        (_terabytes, "mean holds 1000000000000 of float32"),
        (lambda path: path.write_bytes(b"x"), "no mean and scale"),
    ],
)
def test_statistics_are_read_from_their_own_file(
    spoil: Callable[[Path], object], said: str, recipe: Recipe, tmp_path: Path
) -> None:
    folder = recipe()
    spoil(folder / "stats.h5")
    with pytest.raises(SlmEvalError, match=said):
        convert(folder, tmp_path / "out.safetensors")
