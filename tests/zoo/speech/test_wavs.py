"""Folders of speech: every file of a clip stays in its folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_zoo.speech.wavs import wav_files, write_audio
from slm_eval.base.errors import SlmEvalError, UsageError


@pytest.mark.parametrize("clip_id", [".", "..", "../x", "/etc/x", "a/../../x", "\0", "x" * 300, "a/" + "y" * 250])
def test_an_id_makes_no_file_elsewhere(clip_id: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="rename it") as caught:
        wav_files(["fine.wav", clip_id], tmp_path)
    assert len(str(caught.value)) < 300


def test_wavs_stay_in_their_folder(tmp_path: Path) -> None:
    for name in ("../a.wav", "/a.wav", "b/../../a.wav"):
        with pytest.raises(UsageError, match=f"an id must be the name of a file below .*, got {name!r}; rename it"):
            wav_files([name], tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(SlmEvalError, match="cannot write"):
        write_audio(tmp_path / "file" / "a.wav", np.zeros(3), 24_000)
