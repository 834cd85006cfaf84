"""Cross-entropy of generated and of held-out real speech: what it tells, what it withholds, and that order is none."""

from __future__ import annotations

import numpy as np
import pytest

from slm_eval.divergence.resampling import Undefined
from slm_eval.metrics.crossentropy import MORE_PREDICTABLE, CrossEntropy, cross_entropy

RNG = np.random.default_rng(0)
CHAIN = RNG.dirichlet(np.full(20, 0.2), 20)


def speech(clips: int, seed: int, noise: float = 0.0) -> list[list[str]]:
    """Clips of 20 to 60 phones of a Markov chain; a share of phones is drawn from all alike."""
    rng = np.random.default_rng(seed)
    spoken = []
    for length in rng.integers(20, 60, clips):
        phone, clip = 0, []
        for _ in range(length):
            phone = int(rng.integers(20) if rng.random() < noise else rng.choice(20, p=CHAIN[phone]))
            clip.append(f"p{phone:02}")
        spoken.append(clip)
    return spoken


def entropy_of(generated: list[list[str]], real: list[list[str]], n: int = 3, **clusters: np.ndarray) -> CrossEntropy:
    result = cross_entropy(generated, real, n, **clusters)
    assert isinstance(result, CrossEntropy)
    return result


def test_unlike_speech_lies_above_real_speech_and_recited_or_repeated_speech_below() -> None:
    real = speech(60, 1)
    same, noisy = entropy_of(speech(60, 2), real), entropy_of(speech(60, 3, noise=0.2), real)
    assert same.difference.p_value() > 0.05
    assert noisy.difference.p_value() < 1e-4
    assert noisy.difference.value > 0
    assert not {*same.warnings, *noisy.warnings}
    phone, usual = 0, []
    for _ in range(60):
        usual.append(f"p{phone:02}")
        phone = int(CHAIN[phone].argmax())
    for predictable in (real[:40], [usual[:length] for length in range(20, 60)]):
        below = entropy_of(predictable, real)
        assert below.difference.value < 0
        assert below.warnings == (MORE_PREDICTABLE,)


def test_real_speech_scores_as_itself_whatever_its_size() -> None:
    """Both sides are scored by models of as much speech: 60 pairs of samples of one source have a mean gap of 0."""
    gaps = [entropy_of(speech(15, 2 * index), speech(12, 2 * index + 1)).difference.value for index in range(60)]
    assert abs(np.mean(gaps)) < 3 * np.std(gaps, ddof=1) / np.sqrt(60)


def test_halves_of_librispeech_are_told_from_reversed_speech_and_not_from_each_other(
    librispeech_phones: list[list[str]],
) -> None:
    first, second = librispeech_phones[::2], librispeech_phones[1::2]
    assert entropy_of(first, second).difference.p_value() > 0.05
    backwards = entropy_of([clip[::-1] for clip in first], second).difference
    assert backwards.value > 0.3
    assert backwards.p_value() < 1e-10


def test_order_and_names_of_clips_change_nothing_to_the_last_bit() -> None:
    generated, real = speech(30, 4, noise=0.1), speech(50, 5)
    spoken, read = np.arange(30) // 1, np.arange(50) // 2
    rng = np.random.default_rng(6)
    first, second = rng.permutation(30), rng.permutation(50)
    moved = entropy_of(
        [generated[index] for index in first],
        [real[index] for index in second],
        generated_clusters=spoken[first],
        real_clusters=rng.permutation(25)[read][second],
    )
    assert moved == entropy_of(generated, real, generated_clusters=spoken, real_clusters=read)


def test_clips_of_a_cluster_are_drawn_together_and_never_model_each_other() -> None:
    real = speech(30, 7)
    twice = [*real, *real]
    alone, together = (
        entropy_of(speech(30, 8), twice),
        entropy_of(speech(30, 8), twice, real_clusters=np.tile(np.arange(30), 2)),
    )
    assert alone.real.value < together.real.value  # a copy in the model is no held-out speech
    once = entropy_of(speech(30, 8), real).real.error
    assert together.real.error == pytest.approx(once, rel=0.25)
    assert alone.real.error < 0.75 * together.real.error
    assert alone.folds != together.folds


def test_what_is_too_little_is_withheld_with_the_reason() -> None:
    real = speech(30, 9)
    few = entropy_of(real[:7], real)
    assert few.difference.withheld is not None
    assert few.warnings == ("there is no interval and no test: a side has fewer than 8 clips",)
    speakers = entropy_of(speech(40, 1), real, generated_clusters=np.arange(40) % 19)
    assert speakers.warnings[0].endswith("a side has clips of fewer than 20 speakers (or prompts)")
    assert cross_entropy([], real, 3) == Undefined("the generated side has no clip of 3 phones")
    assert cross_entropy(real, [["a", "b"]], 3) == Undefined("the real side has no clip of 3 phones")
    alone = cross_entropy(real, real[:1], 3)
    assert isinstance(alone, Undefined)
    assert alone.reason.startswith("real speech is one clip")
    with pytest.raises(ValueError, match="got n=0"):
        cross_entropy(real, real, 0)


def test_phones_that_real_speech_has_not_are_counted() -> None:
    real = speech(30, 9)
    strange = [[*clip[:10], "x", *clip[10:]] for clip in speech(30, 10)]
    assert entropy_of(strange, real).n_unknown == 30
    assert entropy_of(strange, real).generated.value > entropy_of(speech(30, 10), real).generated.value
