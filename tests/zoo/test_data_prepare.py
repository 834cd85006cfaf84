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
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_zoo.data import parts, work
from model_zoo.data import prepare as module
from model_zoo.data import shards as shards_module
from model_zoo.data.listening import hear, log_mels
from model_zoo.data.prepare import Prepared, PrepareOptions, prepare, split_of
from model_zoo.data.shards import MelShards
from model_zoo.features import FeatureSpec, log_mel
from slm_eval.audio import AudioError, read_audio, resample
from slm_eval.errors import SlmEvalError, UsageError
from tests.conftest import noise

SPEC = FeatureSpec()
HALF = {"validation": 0.5, "workers": 0}


def make(source: Path, output: Path, **options: object) -> Prepared:
    return prepare([source], output, PrepareOptions(**{**HALF, **options}))  # type: ignore[arg-type]


def command(source: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    """slm-zoo prepare in a process of its own."""
    code = "import sys; from model_zoo.cli.main import main; main(sys.argv[1:])"
    arguments = [sys.executable, "-c", code, "prepare", str(source), "-o", str(output), *options]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but the lock."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def features(path: Path, start: float | None = None, end: float | None = None) -> np.ndarray:
    """By the way that evaluation reads files: the whole recording at once."""
    audio = read_audio(path, start, end)
    samples = resample(audio.samples, audio.facts.sample_rate, 24_000)
    return log_mel(torch.from_numpy(samples), SPEC).half().numpy()


@pytest.fixture
def speech(tmp_path: Path, write_wav: Callable[..., Path]) -> Path:
    """Six recordings of 0.4 to 0.9 s of two speakers."""
    folder = tmp_path / "speech"
    for at in range(6):
        write_wav(folder / f"s{at % 2}" / f"{at}.wav", noise(0.4 + at / 10, 24_000, seed=at), 24_000)
    return folder


@settings(max_examples=25, deadline=None)
@given(
    samples=st.integers(1025, 60 * 24_000),
    cuts=st.lists(st.integers(1, 20 * 24_000), max_size=6),
    piece=st.sampled_from([256, 512, 1024]),
)
def test_pieces_are_the_whole_to_the_bit(samples: int, cuts: list[int], piece: int) -> None:
    wave = noise(samples / 24_000, 24_000, seed=samples)
    blocks = iter(np.split(wave, sorted(cut for cut in cuts if cut < len(wave))))
    pieces = torch.cat(list(log_mels(blocks, SPEC, piece)))
    torch.testing.assert_close(pieces, log_mel(torch.from_numpy(wave), SPEC), rtol=0, atol=0)


def test_too_short_for_a_frame_of_features() -> None:
    assert list(log_mels(iter([np.ones(1024, np.float32)]), SPEC)) == []


@pytest.mark.parametrize(
    ("rate", "channels", "suffix"), [(44_100, 2, "wav"), (16_000, 1, "flac"), (8_000, 1, "ogg"), (24_000, 1, "mp3")]
)
def test_hearing_equals_reading_at_once(tmp_path: Path, rate: int, channels: int, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    seconds = 2 * (1 << 20) / rate  # more than one block of decoding
    wave = np.stack([noise(seconds, rate, seed=at) for at in range(channels)], axis=1)
    with soundfile.SoundFile(path, "w", rate, channels) as file:
        for block in np.split(wave, range(rate, len(wave), rate)):  # libsndfile's Vorbis cannot take much at once
            file.write(block)
    heard = hear(path, None, None, SPEC)
    np.testing.assert_array_equal(heard.mel, features(path))
    assert heard.seconds == pytest.approx(read_audio(path).facts.seconds, abs=1e-9)
    np.testing.assert_array_equal(hear(path, 1.25, 2.5, SPEC).mel, features(path, 1.25, 2.5))


def test_the_digest_is_of_the_audio_not_of_the_file(tmp_path: Path) -> None:
    wave = (noise(0.5, 24_000) * 32_768).astype(np.int16)
    for name in ("a.wav", "b.flac"):
        soundfile.write(tmp_path / name, wave, 24_000)
    soundfile.write(tmp_path / "c.wav", wave[1:], 24_000)
    first, second, third = (hear(tmp_path / name, None, None, SPEC).digest for name in ("a.wav", "b.flac", "c.wav"))
    assert first == second != third


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


def test_workers_change_nothing(speech: Path, tmp_path: Path) -> None:
    make(speech, tmp_path / "none", shard_hours=1e-4)
    make(speech, tmp_path / "two", shard_hours=1e-4, workers=2)
    assert content(tmp_path / "none") == content(tmp_path / "two")


class Stop(BaseException):
    """As Ctrl-C would."""


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


def test_a_decoder_that_crashes_costs_one_recording(
    speech: Path, tmp_path: Path, write_wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only what has to be resampled needs soxr, which here takes its process with it.
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "soxr.py").write_text("import os; os._exit(9)")
    monkeypatch.syspath_prepend(tmp_path / "broken")
    write_wav(speech / "s0" / "bad.wav", noise(0.5), 16_000)
    done = make(speech, tmp_path / "out", workers=1)
    error = "the decoder process died twice on bad.wav, the second time with status 9"
    assert done.failed == {"s0/bad.wav": {"reason": "decode_error", "error": error}}
    assert len(done.shards.recordings) == 6


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


def test_a_damaged_part_is_heard_again(speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"

    def stop(*args: object) -> None:
        raise Stop

    monkeypatch.setattr(module, "write_shard", stop)
    with pytest.raises(Stop):
        make(speech, out)
    monkeypatch.undo()
    first, second, *_ = sorted(out.glob("parts/*.part"))
    first.write_bytes(first.read_bytes()[:-100])
    raw = bytearray(second.read_bytes())
    raw[-1000] ^= 1
    second.write_bytes(raw)
    assert parts.read_part(first) is None
    assert parts.read_part(second) is None
    make(speech, out)
    make(speech, tmp_path / "whole")
    assert content(out) == content(tmp_path / "whole")


def edit(path: Path, change: Callable[[dict], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda out: os.truncate(out / "shards/00000.mel", 1000), r"00000\.mel is damaged: it holds 1000 bytes"),
        (lambda out: (out / "shards/00000.mel").unlink(), r"cannot open .*00000\.mel: No such file"),
        (lambda out: (out / "shards/00000.json").unlink(), r"cannot read .*00000\.json"),
        (lambda out: os.truncate(out / "shards/00000.json", 50), r"00000\.json is damaged"),
        (lambda out: (out / "shards/00000.json").write_text("{}"), r"no table of a shard"),
        (lambda out: edit(out / "shards/00000.json", lambda t: t.update(frames=1)), "not that of the index"),
        (lambda out: os.truncate(out / "index.json", 50), r"index\.json is damaged"),
        (lambda out: (out / "index.json").write_text("[]"), "must hold a JSON object, got list"),
        (lambda out: edit(out / "index.json", lambda i: i.update(version=2)), "is of version 2, this slm-zoo reads"),
        (
            lambda out: edit(out / "index.json", lambda i: i.pop("normalizer")),
            "lacks features, shards,",
        ),
        (lambda out: edit(out / "index.json", lambda i: i["features"].update(hop=200)), "these values make"),
        (lambda out: (out / "index.json").unlink(), "not finished; run its slm-zoo prepare again"),
        (lambda out: shutil.rmtree(out), "holds no shards; make some: slm-zoo prepare"),
    ],
)
def test_damage_is_told_at_opening(
    speech: Path, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    out = tmp_path / "out"
    make(speech, out)
    damage(out)
    with pytest.raises(SlmEvalError, match=message):
        MelShards.open(out)


def test_shards_of_other_features_name_both_digests(speech: Path, tmp_path: Path) -> None:
    make(speech, tmp_path / "out")
    assert MelShards.open(tmp_path / "out", expected=SPEC).spec == SPEC
    other = FeatureSpec(mel_floor=-4.0)
    with pytest.raises(
        SlmEvalError, match=f"{SPEC.digest}, expected are {other.digest} .mel_floor -5.0 instead of -4.0"
    ):
        MelShards.open(tmp_path / "out", expected=other)


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


def test_hearing_tells_why_not(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"cannot decode missing\.wav: No such file"):
        hear(tmp_path / "missing.wav", None, None, SPEC)
    soundfile.write(tmp_path / "a.wav", noise(1.0, 24_000), 24_000)
    with pytest.raises(AudioError, match="the segment ends at 2 s, the file at 1 s"):
        hear(tmp_path / "a.wav", 0.5, 2.0, SPEC)
