"""The feed gives what windows, noise and timesteps are, whatever the threads do, and leaves none behind."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from model_zoo.data.feed import Batch, Feed
from model_zoo.data.windows import Windows
from model_zoo.noise import stratified_timesteps, training_noise
from slm_eval.base.errors import UsageError
from tests.zoo.made_shards import Lengths, made

LENGTHS: Lengths = {("a", "", "train"): 70, ("b", "", "train"): 90, ("c", "", "validation"): 40}


@pytest.fixture
def windows(tmp_path: Path) -> Windows:
    return Windows(made(tmp_path, LENGTHS), "train", 10, 20, seed=4)


def take(feed: Feed, n: int) -> list[Batch]:
    with feed:
        return [next(feed) for _ in range(n)]


def feeding() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("feed")]


def test_a_batch_is_windows_noise_and_timesteps(windows: Windows) -> None:
    normalizer = windows.shards.normalizer
    for step, batch in enumerate(take(Feed(windows, 100, 8, 2, 5, seed=9, start_step=3), 4), start=3):
        assert batch.step == step
        raw = np.empty((8, 30, 80), np.float16)
        windows.fill(raw, step)
        mels = (torch.from_numpy(raw).float() - normalizer.mean) / normalizer.scale
        torch.testing.assert_close(batch.context, mels[2:7, :10], rtol=0, atol=0)
        torch.testing.assert_close(batch.target, mels[2:7, 10:], rtol=0, atol=0)
        noise = training_noise(torch.empty(8, 20, 80), 9, step)
        torch.testing.assert_close(batch.noise, noise[2:7], rtol=0, atol=0)
        assert batch.t.tolist() == stratified_timesteps(100, 8, 9, step).tolist()[2:7]
    assert not feeding()


@pytest.mark.parametrize(("threads", "start"), [(1, 0), (3, 0), (16, 2)])
def test_threads_ranks_and_resuming_change_nothing(windows: Windows, threads: int, start: int) -> None:
    expected = take(Feed(windows, 100, 6, threads=2), 5)[start:]
    low = take(Feed(windows, 100, 6, 0, 2, threads=threads, start_step=start), 5 - start)
    high = take(Feed(windows, 100, 6, 2, 4, threads=threads, start_step=start), 5 - start)
    for whole, first, second in zip(expected, low, high, strict=True):
        for name in ("context", "target", "noise", "t"):
            parts = torch.cat([getattr(first, name), getattr(second, name)])
            torch.testing.assert_close(getattr(whole, name), parts, rtol=0, atol=0)


def test_batches_are_not_written_into_again(windows: Windows) -> None:
    with Feed(windows, 100, 4) as feed:
        first = next(feed)
        copies = [each.clone() for each in (first.context, first.target, first.noise, first.t)]
        for _ in range(5):
            next(feed)
        for each, copy in zip((first.context, first.target, first.noise, first.t), copies, strict=True):
            torch.testing.assert_close(each, copy, rtol=0, atol=0)


def test_batches_are_made_ahead(windows: Windows, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    fill = windows.fill
    monkeypatch.setattr(windows, "fill", lambda out, step, first: (begun.append(step), fill(out, step, first)))
    with Feed(windows, 100, 4, threads=2) as feed:
        next(feed)
        for _ in range(500):  # the two steps after the one that was taken, without being asked for
            if max(begun) == 2 and len(begun) == 6:
                break
            time.sleep(0.01)
        assert sorted(begun) == [0, 0, 1, 1, 2, 2]


def test_an_error_in_a_thread_is_raised_in_the_loop(windows: Windows, monkeypatch: pytest.MonkeyPatch) -> None:
    fill = windows.fill

    def break_at_two(out: np.ndarray, step: int, first: int) -> None:
        if step == 2:
            raise OSError("the disk is gone")
        fill(out, step, first)

    monkeypatch.setattr(windows, "fill", break_at_two)
    with Feed(windows, 100, 4) as feed:
        assert [next(feed).step, next(feed).step] == [0, 1]
        with pytest.raises(OSError, match="the disk is gone"):
            next(feed)
        assert not feeding()
    assert not feeding()


def test_leaving_early_leaves_no_thread(windows: Windows) -> None:
    with Feed(windows, 100, 4) as feed:
        next(feed)
        assert feeding()
    assert not feeding()
    feed.close()  # twice does no harm


def test_shares_that_do_not_fit(windows: Windows) -> None:
    with pytest.raises(UsageError, match="samples 2 to 8 do not lie in a batch of 8"):
        Feed(windows, 100, 8, 2, 7)
    with pytest.raises(UsageError, match="threads must be at least 1, got 0"):
        Feed(windows, 100, 8, threads=0)
    assert not feeding()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_the_same_numbers_arrive(windows: Windows) -> None:
    here = take(Feed(windows, 100, 64), 8)
    with Feed(windows, 100, 64, device="cuda") as feed:
        for batch, expected in zip(feed, here, strict=False):
            torch.cuda._sleep(50_000_000)  # computation that buffers could be overwritten beneath
            for name in ("context", "target", "noise", "t"):
                arrived = getattr(batch, name)
                assert arrived.is_cuda
                torch.testing.assert_close(arrived.cpu(), getattr(expected, name), rtol=1e-6, atol=1e-6)
            if batch.step == 7:
                break
