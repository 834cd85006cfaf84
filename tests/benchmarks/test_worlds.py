"""The worlds of benchmarks/statistics are what they say: truths beside endless speech, labels beside what is drawn."""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt
import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks" / "statistics"))
from worlds import World

K = 8


def small(**of: object) -> World:
    return World(**{"phones": K, "successors": 4, **of})  # type: ignore[arg-type]


def dense(clips: list[list[int]], n: int) -> npt.NDArray[np.float64]:
    """Return shares of all n-grams in clips: shape (K, ..., K)."""
    counts = np.zeros((K,) * n)
    for clip in clips:
        np.add.at(counts, tuple(np.array(clip[at : len(clip) - n + 1 + at], dtype=int) for at in range(n)), 1)
    return counts / counts.sum()


def divergence(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> float:
    middle = (p + q) / 2
    return sum(float((each[each > 0] * np.log(each[each > 0] / middle[each > 0])).sum()) for each in (p, q)) / 2


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("order", [1, 2])
def test_the_truth_of_a_shift_and_of_errors_is_that_of_endless_speech(order: int, n: int) -> None:
    world = small(order=order, accents=(0.7, 0.3), longwinded=2.0)
    rng = np.random.default_rng(n)
    real = dense(world.draw(400_000, rng)[0], n)
    shifted = dense(world.draw(400_000, rng, 0.3)[0], n)
    assert world.truth(n, 0.3) == pytest.approx(divergence(real, shifted), rel=0.05)
    heard = dense(small(order=order, accents=(0.7, 0.3), longwinded=2.0, errors=0.2).draw(400_000, rng)[0], n)
    assert world.truth(n, 0.0, 0.2) == pytest.approx(divergence(real, heard), rel=0.05)


def test_errors_spread_what_is_said_over_all_phones() -> None:
    """Of dense arrays, axis by axis: another way than by which places are heard right."""
    world = small(order=2)
    keys, said = world._distribution(3, 0.0)
    p = np.zeros(K**3)
    p[keys] = said
    p = p.reshape(K, K, K)
    q = p
    for axis in range(3):
        q = 0.9 * q + 0.1 * q.mean(axis=axis, keepdims=True)
    assert world.truth(3, 0.0, 0.1) == pytest.approx(divergence(p, q), rel=1e-12)


def test_speakers_of_unlike_topics_differ_more_than_their_clips() -> None:
    def between(topics: float) -> float:
        clips, speakers = small(speaker_clips=200, topics=topics).draw(100_000, np.random.default_rng(1))
        of_speaker = [dense([clip for clip, who in zip(clips, speakers, strict=True) if who == at], 2) for at in (0, 1)]
        return divergence(*of_speaker)

    assert between(0.3) > 5 * between(0.0)


def test_what_is_said_again_is_the_same_but_for_errors() -> None:
    clips, speakers = small(repeats=8, errors=0.1).draw(40_000, np.random.default_rng(1))
    assert [len(clip) for clip in clips[::8]] == [len(clip) for clip in clips[7::8]]
    assert len(clips) == 8 * len(set(speakers))
    assert sum(map(len, clips)) == 40_000
    unlike = np.mean(
        [a != b for one, two in zip(clips[::8], clips[1::8], strict=True) for a, b in zip(one, two, strict=True)]
    )
    # Of two that are each wrong in one of ten places, by any of K phones.
    assert unlike == pytest.approx(1 - 0.9**2 - (1 - 0.9**2) / K, abs=0.02)
