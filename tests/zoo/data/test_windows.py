"""Windows are what brute force cuts, drawn evenly, and the same however the batch is split."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_zoo.data.shards import MelShards
from model_zoo.data.windows import Short, Windows
from slm_eval.base.errors import UsageError
from tests.zoo.made_shards import Lengths, made

# Windows of 3 + 5 frames. Group b has short recordings around a long one, group c too few frames for one window.
LENGTHS: Lengths = {
    ("b/0", "b", "train"): 5,
    ("b/1", "b", "train"): 20,
    ("b/2", "b", "train"): 6,
    ("b/3", "b", "train"): 1,
    ("c/0", "c", "train"): 7,
    ("a/0", "a", "train"): 8,
    ("b/4", "b", "validation"): 30,
    ("b/5", "b", "validation"): 4,
}


@pytest.fixture
def shards(tmp_path: Path) -> MelShards:
    return made(tmp_path, LENGTHS)


def mels(shards: MelShards) -> dict[str, np.ndarray]:
    return {each.id: np.array(shards.mel(each)) for each in shards.recordings}


def every_window(shards: MelShards, short: Short) -> dict[str, tuple[np.ndarray, float]]:
    """By brute force, of the training split: name -> what is in it, and how often it should be drawn."""
    by_id = mels(shards)
    quiet = np.full((8, 80), -5, np.float16)
    windows = {f"b/1@{at}": (by_id["b/1"][at : at + 8], 1.0) for at in range(13)}
    windows["a/0@0"] = (by_id["a/0"], 1.0)
    if short == "pad":
        for name, frames in (("b/0", 5), ("b/2", 6), ("b/3", 1), ("c/0", 7)):
            windows[f"{name}@{frames - 8}"] = (np.concatenate([quiet, by_id[name]])[-8:], float(frames))
    if short == "join":
        joined = np.concatenate([by_id["b/0"], by_id["b/2"], by_id["b/3"]])
        windows |= {f"b/0@{at}": (joined[at : at + 8], 1.0) for at in range(5)}
    return windows


@pytest.mark.parametrize("short", ["join", "pad", "skip"])
def test_windows_are_those_of_brute_force_and_drawn_evenly(shards: MelShards, short: Short) -> None:
    windows = Windows(shards, "train", 3, 5, seed=1, short=short)
    expected = every_window(shards, short)
    assert len(windows) == sum(weight for _, weight in expected.values())
    n = 4000
    out = np.empty((n, 8, 80), np.float16)
    windows.fill(out, step=7)
    names = windows.names(7, 0, n)
    assert set(names) == set(expected)
    for name, row in zip(names, out, strict=True):
        np.testing.assert_array_equal(row, expected[name][0])
    counts = Counter(names)
    for name, (_, weight) in expected.items():
        share = weight / len(windows)
        assert abs(counts[name] / n - share) < 5 * (share * (1 - share) / n) ** 0.5  # 5 sd of a binomial
    left_out = {"join": ("c/0",), "pad": (), "skip": ("b/0", "b/2", "b/3", "c/0")}
    assert windows.left_out == left_out[short]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), step=st.integers(0, 10**6), cuts=st.sets(st.integers(1, 15)))
def test_a_window_depends_on_seed_step_and_index_alone(
    tmp_path_factory: pytest.TempPathFactory, seed: int, step: int, cuts: set[int]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "windows"
    shards = MelShards.open(folder) if folder.exists() else made(folder, LENGTHS)
    windows = Windows(shards, "train", 3, 5, seed)
    whole, parts = np.empty((2, 16, 8, 80), np.float16)
    windows.fill(whole, step)
    edges = [0, *sorted(cuts), 16]
    for low, high in reversed(list(pairwise(edges))):  # in another order, too
        windows.fill(parts[low:high], step, low)
    np.testing.assert_array_equal(whole, parts)
    assert windows.names(step, 0, 16)[5:9] == windows.names(step, 5, 4)
    assert windows.names(step, 0, 16) != windows.names(step + 1, 0, 16)


def test_draws_are_frozen(shards: MelShards) -> None:
    # What an earlier version drew: a run that is resumed must go on with the same windows.
    assert Windows(shards, "train", 3, 5, seed=3).names(11, 0, 6) == [
        "b/0@4",
        "b/1@9",
        "b/0@4",
        "b/1@11",
        "b/1@3",
        "b/1@10",
    ]


def test_how_recordings_lie_in_shards_changes_nothing(tmp_path: Path, shards: MelShards) -> None:
    other = made(tmp_path / "other", LENGTHS, per_shard=100)
    assert other.digest == shards.digest
    drawn = np.empty((2, 32, 8, 80), np.float16)
    for out, each in zip(drawn, (shards, other), strict=True):
        Windows(each, "train", 3, 5).fill(out, 0)
    np.testing.assert_array_equal(*drawn)


def test_a_folder_of_many_short_recordings_is_one_track(tmp_path: Path) -> None:
    lengths: Lengths = {(f"{at:03d}", "", "train"): 1 + at % 3 for at in range(300)}
    shards = made(tmp_path, {**lengths, ("v", "", "validation"): 9}, per_shard=37)
    joined = np.concatenate([shards.mel(each) for each in shards.of("train")])
    windows = Windows(shards, "train", 40, 60)
    assert len(windows) == 600 - 99
    out = np.empty((50, 100, 80), np.float16)
    windows.fill(out, 0)
    starts = {joined[at : at + 100].tobytes(): at for at in range(len(windows))}
    assert len({starts[row.tobytes()] for row in out}) > 40


def test_validation_is_fixed_normalised_and_spread(shards: MelShards) -> None:
    windows = Windows(shards, "validation", 3, 5, seed=1)
    clips = windows.validation(4)
    # 23 windows in b/4; the middles of four equal parts of them. b/5 is too short.
    assert [clip.id for clip in clips] == ["b/4@2", "b/4@8", "b/4@14", "b/4@20"]
    assert windows.left_out == ("b/5",)
    mel = torch.from_numpy(mels(shards)["b/4"]).float()
    normalised = (mel - shards.normalizer.mean) / shards.normalizer.scale
    for clip, start in zip(clips, (2, 8, 14, 20), strict=True):
        torch.testing.assert_close(clip.context, normalised[start : start + 3], rtol=0, atol=0)
        torch.testing.assert_close(clip.target, normalised[start + 3 : start + 8], rtol=0, atol=0)
    # Another seed of a run, and more clips than there are windows.
    assert [clip.id for clip in Windows(shards, "validation", 3, 5, seed=2).validation(4)] == [
        clip.id for clip in clips
    ]
    assert len(windows.validation(1000)) == 23
    padded = Windows(shards, "validation", 3, 5, short="pad").validation(1000)
    assert [clip.id for clip in padded].count("b/5@-4") == 1


def test_too_little_speech_says_what_helps(shards: MelShards) -> None:
    with pytest.raises(
        UsageError, match=r"no window of 5 s fits the 2 recordings of validation, the longest has 0\.4 s"
    ):
        Windows(shards, "validation", 200, 200, short="skip")
    with pytest.raises(UsageError, match="short=pad"):
        Windows(shards, "train", 200, 200)
    assert len(Windows(shards, "train", 200, 200, short="pad")) == 47
    with pytest.raises(UsageError, match="did you mean 'join'"):
        Windows(shards, "train", 3, 5, short="joined")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="context and target"):
        Windows(shards, "train", 0, 5)
