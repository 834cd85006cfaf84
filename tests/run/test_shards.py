"""A shard read back is what was observed, and what is none, was damaged or written by hand is one line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.metrics.pjsd import pJSD
from slm_eval.run.merging import merge
from slm_eval.run.shards import _digest, read_shard
from slm_eval.run.share import Share
from slm_eval.speech.corpus import Clip, load_corpus
from tests.run.made_shards import make, refused, whole


def test_labels_of_clips_travel(tmp_path: Path, cache: Path) -> None:
    """Every field of a clip but its place comes back, also those that are added later."""
    path = tmp_path / "phones.jsonl"
    entry = {"id": "a", "phones": ["x", "y"], "seconds": 1.25, "recognizer": "r|rev:1", "speaker": "s", "prompt": "p"}
    path.write_text("".join(json.dumps({**entry, "id": each}) + "\n" for each in "ab"))
    read = read_shard(make((path, path), Share(index=1, count=1), cache, tmp_path / "s", pJSD(n=1)))
    for loaded, restored in zip(load_corpus(path).clips, read.seen.clips["real"], strict=True):
        assert dataclasses.replace(loaded, phones=None) == restored.clip
    assert {each.name for each in dataclasses.fields(Clip)} > {"id", "seconds", "recognizer"}
    assert merge([read])["pjsd.1"].value == 0.0


def test_files_that_are_no_shard(two: list[Path], corpora: tuple[Path, Path], cache: Path, tmp_path: Path) -> None:
    whole(corpora, cache, tmp_path / "whole")
    assert "must be a shard, got a finished run" in refused([two[0], tmp_path / "whole"])
    assert "got a folder without shard.json; `slm-eval run --shard 3/16` writes a shard" in refused([tmp_path])
    with pytest.raises(UsageError, match="holds a finished run"):
        make(corpora, Share(index=1, count=2), cache, tmp_path / "whole")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:-100], "cannot be read"),
        (lambda text: "", "cannot be read"),
        (lambda text: "[]", "cannot be read"),
        (lambda text: "{}", "cannot be read"),
        (lambda text: "[" * 100_000, "cannot be read"),
        (lambda text: text.replace("0.", "0.1", 1), "was changed after it was written"),
        (lambda text: text.replace('"vector": [', '"vector": [NaN, '), "cannot be read"),
        (lambda text: text.replace("é", "\udce9", 1), "cannot be read"),
    ],
)
def test_damaged_files(two: list[Path], damage: Callable[[str], str], message: str) -> None:
    path = two[1] / "shard.json"
    path.write_bytes(damage(path.read_text("utf-8")).encode("utf-8", "surrogateescape"))
    assert message in refused(two)
    assert str(path) in refused(two)


def test_another_version(two: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slm_eval.run.shards.__version__", "9.9")
    assert "is of slm-eval 0" in refused(two)
    assert "this is 9.9" in refused(two)


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content.pop("clips"),
        lambda content: content["clips"].pop("real"),
        lambda content: content.update(metrics=[1]),
        lambda content: content["clips"]["real"].append("x"),
        lambda content: content["clips"]["real"][0].update(facts={"x": 1}),
        lambda content: content["clips"]["real"][0].update(observations=[{"scores": {"loudness.rms": "."}}]),
        lambda content: content["corpora"]["real"].update(n_total="3"),
        lambda content: content.update(schema=None),
    ],
)
def test_a_shard_written_by_hand_is_one_line(
    edit: Callable[[dict[str, Any]], object], corpora: tuple[Path, Path], cache: Path, tmp_path: Path
) -> None:
    """Its digest is right: whoever writes a shard can write that too."""
    folder = make(corpora, Share(index=1, count=2), cache, tmp_path / "shard")
    read_shard(folder)
    content = json.loads((folder / "shard.json").read_text())
    del content["digest"]
    edit(content)
    (folder / "shard.json").write_text(json.dumps({"digest": _digest(content), **content}))
    with pytest.raises(SlmEvalError, match=r"shard\.json is ") as caught:
        read_shard(folder)
    assert "\n" not in str(caught.value)
