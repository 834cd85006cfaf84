"""Vocoders by name and by file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from model_zoo.vocoder.loading import load_vocoder
from slm_eval.base.errors import SlmEvalError, UsageError


def test_vocoders_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no vocoder 'hifigan'; give griffin-lim, or a \.safetensors file"):
        load_vocoder("hifigan", "cpu")
    (tmp_path / "checkpoint.pkl").touch()
    with pytest.raises(SlmEvalError, match=r"checkpoint\.pkl must be a converted vocoder, got a name that does not"):
        load_vocoder(tmp_path / "checkpoint.pkl", "cpu")
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(
        SlmEvalError, match=r"other\.safetensors must be a converted vocoder of format .*, got None; make one"
    ):
        load_vocoder(tmp_path / "other.safetensors", "cpu")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0")
    with pytest.raises(SlmEvalError, match="damaged"):
        load_vocoder(tmp_path / "cut.safetensors", "cpu")
