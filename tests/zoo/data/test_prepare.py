"""Shards hold the features of what was given, whatever the workers, stops and failures on the way."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from model_zoo.data import parts, work
from model_zoo.data import prepare as module
from model_zoo.data import shards as shards_module
from model_zoo.data.prepare import PrepareOptions, prepare, split_of
from model_zoo.features import FeatureSpec
from slm_eval.base.errors import SlmEvalError, UsageError
from tests.conftest import noise
from tests.zoo.data.prepared import SPEC, content, features, make


def command(source: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    """slm-zoo prepare in a process of its own."""
    code = "import sys; from model_zoo.cli.main import main; main(sys.argv[1:])"
    arguments = [sys.executable, "-c", code, "prepare", str(source), "-o", str(output), *options]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_shards_hold_features_and_statistics(speech: Path, tmp_path: Path) -> None:
    done = make(speech, tmp_path / "out", shard_hours=1.2 / 3600)
    shards = done.shards
    assert [each.id for each in shards.recordings] == [f"s{s}/{at}.wav" for s in (0, 1) for at in range(s, 6, 2)]
    assert [each.group for each in shards.recordings] == ["speech/s0"] * 3 + ["speech/s1"] * 3
    # 0.4 + 0.6, 0.8, 0.5 + 0.7, 0.9 s: at most 1.2 s in a shard.
    assert [each.shard for each in shards.recordings] == [0, 0, 1, 2, 2, 3]
    for each in shards.recordings:
        np.testing.assert_array_equal(shards.mel(each), features(speech / each.id))
        assert not shards.mel(each).flags.writeable
    train = np.concatenate([shards.mel(each) for each in shards.of("train")]).astype(np.float64)
    np.testing.assert_allclose(shards.normalizer.mean, train.mean(0), rtol=1e-6)
    np.testing.assert_allclose(shards.normalizer.scale, train.std(0), rtol=1e-6)
    assert {each.split for each in shards.recordings} == {"train", "validation"}
    assert shards.hours("train") == pytest.approx(len(train) / 80 / 3600)
    assert (done.added, done.failed) == (6, {})
    assert not (tmp_path / "out" / "parts").exists()


def test_the_split_is_a_function_of_id_and_seed() -> None:
    ids = [f"speaker/{at}.wav" for at in range(4000)]
    splits = {seed: [split_of(each, PrepareOptions(validation=0.1, seed=seed)) for each in ids] for seed in (0, 1)}
    share = splits[0].count("validation") / len(ids)
    assert abs(share - 0.1) < 5 * (0.09 / len(ids)) ** 0.5  # 5 sd of a binomial
    assert splits[0] != splits[1]
    # Frozen: data that grows under a later version must not move from validation to training.
    assert [at for at in range(60) if splits[0][at] == "validation"] == [22, 44]
    # A larger share only adds.
    more = [split_of(each, PrepareOptions(validation=0.3)) for each in ids]
    assert all(after == "validation" for before, after in zip(splits[0], more, strict=True) if before == "validation")


def killed_at(point: int, speech: Path, out: Path) -> bool:
    """Run the command in a fork that dies, without any clean-up, when it renames or removes for the n-th time.

    False where it ends before.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    replace, unlink, left = os.replace, Path.unlink, [point]

    def count() -> None:
        left[0] -= 1
        if left[0] == 0:
            os._exit(9)

    def counted_replace(source: Path, target: Path) -> None:
        count()  # before the file is there, and after
        replace(source, target)
        count()

    def counted_unlink(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".part":
            count()
        unlink(path, missing_ok)

    os.replace, Path.unlink = counted_replace, counted_unlink  # type: ignore[assignment]
    try:
        make(speech, out, shard_hours=1.2 / 3600)
        os._exit(0)
    finally:
        os._exit(1)


def test_a_kill_anywhere_changes_nothing(speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("s0/4.wav", "s1/5.wav"):
        (speech / name).unlink()
    make(speech, tmp_path / "whole", shard_hours=1.2 / 3600)
    expected = content(tmp_path / "whole")
    heard: list[str] = []
    do = work._do
    monkeypatch.setattr(work, "_do", lambda job, spec: (heard.append(job.id), do(job, spec))[1])
    points = 0
    while killed_at(points + 1, speech, out := tmp_path / str(points)):
        points += 1
        tables = [json.loads(path.read_text()) for path in out.glob("shards/[0-9]*.json")]
        there = {parts.part_path(out, each["id"]).name for table in tables for each in table["recordings"]}
        there |= {path.name for path in out.glob("parts/*.part")}
        heard.clear()
        make(speech, out, shard_hours=1.2 / 3600)
        assert content(out) == expected
        assert len(heard) == 4 - len(there)  # what was finished is not heard again
    # Before and after each of claim, 4 parts, 2 shards with tables, and index; and 4 parts are removed.
    assert points == 2 * (1 + 4 + 2 + 2 + 1) + 4
    assert content(out) == expected


def test_the_command_killed_with_its_worker_and_run_again(speech: Path, tmp_path: Path) -> None:
    make(speech, tmp_path / "whole")
    out = tmp_path / "killed"
    process = command(speech, out, "--validation", "0.5", "--workers", "1")
    for _ in range(3000):
        if any(out.glob("parts/*.part")) or process.poll() is not None:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    # It may have heard them all by then: then there is nothing left to show the progress of.
    left = not any(out.glob("shards/*.json")) and len(list(out.glob("parts/*.part"))) < len(list(speech.rglob("*.*")))
    done = command(speech, out, "--validation", "0.5", "--workers", "1")
    stdout, stderr = done.communicate()
    assert done.returncode == 0, stderr
    assert re.fullmatch(rf"{out}: \d for train, .* h; \d for validation, .* added, 0 failed; features \w+\n", stdout)
    assert ("100%" in stderr) == left
    assert content(out) == content(tmp_path / "whole")


def test_more_recordings_go_into_further_shards(speech: Path, tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    out = tmp_path / "out"
    before = make(speech, out).shards
    kept = (out / "shards" / "00000.mel").read_bytes()
    write_wav(speech / "s0" / "00.wav", noise(0.6, 24_000, seed=50), 24_000)
    done = make(speech, out)
    assert done.added == 1
    assert (out / "shards" / "00000.mel").read_bytes() == kept
    by_id = {each.id: each for each in done.shards.recordings}
    assert all(by_id[each.id] == each for each in before.recordings)
    np.testing.assert_array_equal(done.shards.mel(by_id["s0/00.wav"]), features(speech / "s0" / "00.wav"))
    scratch = make(speech, tmp_path / "scratch").shards
    assert scratch.digest == done.shards.digest != before.digest
    torch.testing.assert_close(scratch.normalizer.mean, done.shards.normalizer.mean)
    assert make(speech, out).added == 0


def test_failures_are_accounted_and_tried_again(speech: Path, tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    (speech / "s0" / "empty.wav").touch()
    (speech / "s0" / "text.wav").write_text("no audio")
    whole = (speech / "s1" / "5.wav").read_bytes()
    (speech / "s1" / "cut.wav").write_bytes(whole[: len(whole) // 2])
    write_wav(speech / "s1" / "silent.wav", np.zeros(24_000, np.float32), 24_000)
    write_wav(speech / "s1" / "short.wav", noise(0.02, 24_000), 24_000)
    write_wav(speech / "s1" / "nan.wav", np.full(24_000, np.nan, np.float32), 24_000, subtype="FLOAT")
    out = tmp_path / "out"
    done = make(speech, out)
    assert {name: why["reason"] for name, why in done.failed.items()} == {
        "s0/empty.wav": "empty", "s0/text.wav": "decode_error", "s1/cut.wav": "decode_error",
        "s1/nan.wav": "not_finite", "s1/short.wav": "too_short", "s1/silent.wav": "silent",
    }  # fmt: skip
    assert len(done.shards.recordings) == 6
    assert done.shards.failed == done.failed
    before = content(out)
    assert make(speech, out).failed == done.failed
    assert content(out) == before
    (speech / "s1" / "cut.wav").write_bytes(whole)
    mended = make(speech, out)
    assert mended.added == 1
    assert sorted(mended.failed) == sorted(set(done.failed) - {"s1/cut.wav"})
    assert len(mended.shards.recordings) == 7


def test_groups_of_manifests_and_lists(speech: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.jsonl"
    lines = [
        {"id": "x", "path": "speech/s0/0.wav", "speaker": "Ann"},
        {"id": "y", "path": "speech/s1/1.wav", "start": 0.1, "end": 0.4},
    ]
    manifest.write_text("\n".join(json.dumps(line) for line in lines))
    shards = make(manifest, tmp_path / "a", validation=0.5, seed=_seed_that_splits(["x", "y"])).shards
    x, y = shards.recordings
    assert x.group == "Ann"
    assert y.group.endswith("/speech/s1")
    np.testing.assert_array_equal(shards.mel(y), features(speech / "s1" / "1.wav", 0.1, 0.4))


def _seed_that_splits(ids: list[str]) -> int:
    for seed in range(100):
        if len({split_of(each, PrepareOptions(validation=0.5, seed=seed)) for each in ids}) == 2:
            return seed
    raise AssertionError


def test_an_empty_side_is_refused_before_any_work_and_the_advice_helps(speech: Path, tmp_path: Path) -> None:
    for validation, side in ((0.001, "validation"), (0.999, "train")):
        with pytest.raises(UsageError, match=f"none of 6 recordings falls to {side}") as caught:
            make(speech, tmp_path / "out", validation=validation)
        assert not (tmp_path / "out").exists()
        advised = float(str(caught.value).split("take --validation ")[1].split(",")[0])
        shutil.rmtree(tmp_path / "other", ignore_errors=True)
        assert len(make(speech, tmp_path / "other", validation=advised).shards.of(side)) == 1  # type: ignore[arg-type]
    shutil.rmtree(speech / "s1")
    for name in ("0.wav", "2.wav"):
        (speech / "s0" / name).unlink()
    with pytest.raises(UsageError, match="give at least two"):
        make(speech, tmp_path / "out")


def test_nothing_left_of_one_side_after_failures(speech: Path, tmp_path: Path) -> None:
    for path in speech.rglob("*.wav"):
        path.write_bytes(b"broken")
    with pytest.raises(SlmEvalError, match=r"no recording that could be read is left for train \(6 failed\)"):
        make(speech, tmp_path / "out")
    assert not (tmp_path / "out" / "index.json").exists()


def test_a_folder_of_other_shards_is_refused(speech: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(speech, out)
    before = content(out)
    other = FeatureSpec(mel_floor=None)
    with pytest.raises(UsageError, match="seed 0 instead of 1"):
        make(speech, out, seed=1)
    with pytest.raises(UsageError, match=f"features {SPEC.digest} instead of {other.digest}"):
        make(speech, out, features=other)
    (speech / "s0" / "0.wav").rename(speech / "s0" / "renamed.wav")
    with pytest.raises(UsageError, match=r"1 recordings that are not in the sources, 's0/0\.wav' first"):
        make(speech, out)
    assert content(out) == before


def test_two_sources_with_one_id(speech: Path, tmp_path: Path) -> None:
    shutil.copytree(speech, tmp_path / "copy")
    with pytest.raises(UsageError, match="prepare the folder that holds both"):
        prepare([speech, tmp_path / "copy"], tmp_path / "out", PrepareOptions(workers=0))


def test_two_commands_at_once(speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    write = shards_module.write_index

    def meanwhile(*args: object) -> None:
        with pytest.raises(UsageError, match="another slm-zoo prepare is at work"):
            make(speech, out)
        write(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "write_index", meanwhile)
    make(speech, out)


def test_a_full_disk_stops_the_run_with_a_line(speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SlmEvalError, match="No space left on device; choose another"):
        make(speech, tmp_path / "out")
    monkeypatch.undo()
    (tmp_path / "file").touch()
    with pytest.raises(SlmEvalError, match="cannot write"):
        make(speech, tmp_path / "file")
    assert len(make(speech, tmp_path / "out").shards.recordings) == 6


@pytest.mark.parametrize("options", [{"validation": 0.0}, {"validation": 1.0}, {"shard_hours": 0.0}, {"workers": -1}])
def test_impossible_options(options: dict) -> None:
    with pytest.raises(UsageError):
        PrepareOptions(**options)


def test_real_speech(librispeech: Path, tmp_path: Path) -> None:
    files = sorted(librispeech.glob("*.flac"))[:12]
    (tmp_path / "list").write_text("\n".join(map(str, files)))
    shards = make(tmp_path / "list", tmp_path / "out", validation=0.3).shards
    assert [each.id for each in shards.recordings] == [path.name for path in files]
    for each, path in zip(shards.recordings, files, strict=True):
        np.testing.assert_array_equal(shards.mel(each), features(path))
    # Means of speech, not of what normalises it: within the spread that reference data shows (-2.19, sd .84 to 1.02).
    assert -2.8 < float(shards.normalizer.mean.mean()) < -1.6
    assert 0.6 < float(shards.normalizer.scale.min()) <= float(shards.normalizer.scale.max()) < 1.3
