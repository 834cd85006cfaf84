"""slm-zoo vocode and convert-vocoder: what they write, keep and refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file

from model_zoo.cli.main import main
from model_zoo.features import FeatureSpec, log_mel
from model_zoo.vocoder.vocode import VocodeOptions, vocode
from slm_eval.base.errors import UsageError
from tests.conftest import noise
from tests.zoo.vocoder import hifigan_standin

WriteWav = Callable[..., Path]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


@pytest.fixture
def vocoder(tmp_path: Path) -> Path:
    """A small converted HiFi-GAN."""
    file = tmp_path / "vocoder.safetensors"
    result = run("convert-vocoder", hifigan_standin.write(tmp_path / "recipe", 32), "-o", file)
    assert result.exit_code == 0, result.output
    assert result.output == f"wrote {file}: takes log-mels of features {FeatureSpec().digest}\n"
    return file


@pytest.fixture
def mels(tmp_path: Path) -> Path:
    """Two files of mels, one in a folder."""
    folder = tmp_path / "mels"
    (folder / "b").mkdir(parents=True)
    np.save(folder / "a.npy", hifigan_standin.mels(20))
    save_file({"mels": torch.from_numpy(hifigan_standin.mels(30, seed=2))}, folder / "b" / "c.safetensors")
    return folder


def test_mels_become_wavs(mels: Path, vocoder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("vocode", mels, "-o", out, "--vocoder", vocoder, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert f"{out}: 2 written, 0 kept, 0 failed" in result.stdout
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*")) == [
        "a.wav",
        "b",
        "b/c.wav",
        "provenance.json",
    ]
    samples, rate = soundfile.read(out / "a.wav", dtype="float32")
    assert (rate, samples.shape) == (24_000, (6000,))
    assert soundfile.info(out / "a.wav").subtype == "PCM_16"
    from model_zoo.vocoder.loading import load_vocoder

    expected = load_vocoder(vocoder, "cpu")(torch.from_numpy(hifigan_standin.mels(20))[None])[0].numpy()
    np.testing.assert_allclose(samples, expected, atol=1 / 32_000)
    made = json.loads((out / "provenance.json").read_text())
    assert made["vocoder"]["name"] == "vocoder.safetensors"
    assert made["features"] == FeatureSpec().digest


def test_what_is_there_is_kept(mels: Path, vocoder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("vocode", mels, "-o", out, "--vocoder", vocoder, "--device", "cpu")
    assert "1 written" in run(*command, "--limit", 1).stdout
    before = (out / "a.wav").stat().st_mtime_ns
    assert "1 written, 1 kept" in run(*command).stdout
    assert (out / "a.wav").stat().st_mtime_ns == before
    other = run("vocode", mels, "-o", out, "--device", "cpu")
    assert other.exit_code == 2
    assert "holds speech that was made otherwise (vocoder); choose another folder, or --fresh" in other.stderr
    assert "2 written, 0 kept" in run("vocode", mels, "-o", out, "--device", "cpu", "--fresh").stdout


def test_speech_goes_there_and_back(write_wav: WriteWav, tmp_path: Path) -> None:
    speech = noise(1.0, 16_000)
    write_wav(tmp_path / "speech" / "x" / "1.flac", speech)
    result = run("vocode", tmp_path / "speech", "-o", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 0, result.output
    samples, rate = soundfile.read(tmp_path / "out" / "x" / "1.wav", dtype="float32")
    assert (rate, len(samples)) == (24_000, 24_000)
    from slm_eval.speech.audio import resample

    wanted = log_mel(torch.from_numpy(resample(speech, 16_000, 24_000)), FeatureSpec())
    difference = (log_mel(torch.from_numpy(samples), FeatureSpec()) - wanted).abs().mean()
    assert difference < 0.15  # of a standard deviation near 1; noise has no phases that fit its magnitudes


def test_files_that_cannot_be_vocoded(mels: Path, vocoder: Path, tmp_path: Path) -> None:
    np.save(mels / "bins.npy", np.zeros((9, 40), np.float32))
    np.save(mels / "batch.npy", np.zeros((1, 9, 80), np.float32))
    np.save(mels / "nan.npy", np.full((9, 80), np.nan, np.float32))
    np.save(mels / "integers.npy", np.zeros((9, 80), np.int64))
    np.save(mels / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (mels / "nonsense.npy").write_bytes(b"nonsense")
    with (mels / "petabyte.npy").open("wb") as file:  # as its header says
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**13, 80)}
        np.lib.format.write_array_header_1_0(file, header)
    (mels / "nonsense2.safetensors").write_bytes(b"nonsense")
    save_file({"x": torch.zeros(9, 80), "y": torch.zeros(9, 80)}, mels / "two.safetensors")
    result = run("vocode", mels, "-o", tmp_path / "out", "--vocoder", vocoder, "--device", "cpu")
    assert result.exit_code == 1
    assert "2 written, 0 kept, 9 failed" in result.stdout
    for line in (
        "bins.npy: a vocoder takes mels of shape (batch, frames, 80), got (1, 9, 40)",
        "batch.npy: batch.npy holds torch.float32 of shape (1, 9, 80), expected floats (frames, bins)",
        "nan.npy: the mels have values that are NaN or infinite",
        "integers.npy: integers.npy holds no array of floats",
        "objects.npy: objects.npy holds no array of floats",
        "nonsense.npy: nonsense.npy holds no array of floats",
        "petabyte.npy: petabyte.npy holds no array of floats",
        "two.safetensors: two.safetensors holds 2 tensors, expected one of mels",
    ):
        assert line in result.stderr
    assert "nonsense2.safetensors must be a checkpoint, got a damaged or another file" in result.stderr


def test_sources_that_cannot_be(mels: Path, write_wav: WriteWav, tmp_path: Path) -> None:
    def fails(source: Path, message: str) -> None:
        result = run("vocode", source, "-o", tmp_path / "out", "--device", "cpu")
        assert result.exit_code == 2
        assert message in result.stderr
        assert not (tmp_path / "out").exists()

    fails(tmp_path / "absent", "absent does not exist")
    write_wav(mels / "speech.wav", noise(0.5))
    fails(mels, "holds mels and audio; give a folder with one of them")
    write_wav(tmp_path / "twice" / "a.wav", noise(0.5))
    write_wav(tmp_path / "twice" / "a.flac", noise(0.5))
    fails(tmp_path / "twice", "1 files would be written more than once, a.wav first")
    (tmp_path / "phones.jsonl").write_text('{"id": "a", "phones": ["a"]}\n')
    fails(tmp_path / "phones.jsonl", "is ready-made phones; give speech, or mels")
    result = run("vocode", mels, "-o", tmp_path / "out", "--vocoder", tmp_path / "v.safetensors", "--device", "cpu")
    assert result.exit_code == 2
    assert "there is no vocoder" in result.stderr


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from model_zoo.cli.main import main; import model_zoo.vocoder\n"
        "main(['vocode', '--help'], standalone_mode=False)\n"
        "assert not {'torch', 'numpy', 'scipy', 'h5py', 'soundfile'} & set(sys.modules), 'heavy'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_speech_of_another_making_is_never_mixed_with_this(write_wav: WriteWav, tmp_path: Path) -> None:
    write_wav(tmp_path / "speech" / "a.wav", noise(0.3))
    write_wav(tmp_path / "foreign" / "b.wav", noise(0.3))
    with pytest.raises(UsageError, match=r"holds b\.wav, which is not made here"):
        vocode(tmp_path / "speech", tmp_path / "foreign", VocodeOptions())
    write_wav(tmp_path / "unsaid" / "a.wav", noise(0.3))
    with pytest.raises(UsageError, match=r"holds a\.wav, which is not made here"):
        vocode(tmp_path / "speech", tmp_path / "unsaid", VocodeOptions())
    assert vocode(tmp_path / "speech", tmp_path / "unsaid", VocodeOptions(fresh=True)).written == ["a.wav"]
