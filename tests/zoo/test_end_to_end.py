"""The whole loop at its smallest: train, sample, vocode and score, as ``examples/cdslm_small.py`` does it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import soundfile

from model_zoo.training.config import from_dict
from tests.conftest import EXAMPLES, ROOT


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import cdslm_small

    yield cdslm_small
    sys.modules.pop("cdslm_small")


def test_train_sample_vocode_and_score(example: object, tmp_path: Path) -> None:
    speech = tmp_path / "speech"
    speech.mkdir()
    for path in sorted((EXAMPLES / "real").rglob("*.ogg"))[:6]:
        (speech / f"{path.parent.name}-{path.name}").symlink_to(path)
    tiny = {"layers": 1, "patch": 4, "context_seconds": 1.0, "target_seconds": 2.0}
    sizes = {"batch": 4, "steps": 3, "optimizer": {"warmup_steps": 1}}
    data = {"shards": str(tmp_path / "shards"), "validation_clips": 2}
    config = from_dict({**example.SMALL, **sizes, "model": tiny, "data": data})  # type: ignore[attr-defined]
    example.run(speech, tmp_path, config, clips=2)  # type: ignore[attr-defined]
    for folder in ("generated", "vocoded"):
        wavs = sorted((tmp_path / folder).glob("*.wav"))
        assert len(wavs) == 2
        assert [path.name for path in wavs] == sorted(path.name for path in (tmp_path / "contexts").glob("*.wav"))
        assert all(soundfile.info(path).duration == 2.0 for path in wavs)
        summary = json.loads((tmp_path / f"run-{folder}" / "summary.json").read_text())
        assert summary["corpora"]["generated"]["n_scored"] == 2
        assert summary["metrics"]["dnsmos.p808"]["n"] == 2
        made = summary["corpora"]["generated"]["provenance"]
        assert made["made_by"].startswith("slm-zoo sample" if folder == "generated" else "slm-zoo vocode")
    assert made["features"] == json.loads((tmp_path / "generated" / "provenance.json").read_text())["features"]
    result = json.loads((tmp_path / "training" / "result.json").read_text())
    generated = json.loads((tmp_path / "generated" / "provenance.json").read_text())
    assert generated["checkpoint"]["loss"] == result["validation"]["loss"]
    assert generated["checkpoint"]["step"] == 3
