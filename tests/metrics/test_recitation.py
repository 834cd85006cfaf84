"""Copies of real clips in generated ones, and clips that repeat each other."""

from __future__ import annotations

import numpy as np
import pytest

from slm_eval.metrics.pjsd import DivergenceSummary, pJSD
from slm_eval.metrics.plm import CrossEntropySummary, PhoneLM
from slm_eval.metrics.recitation import recited, warn_of_recitation
from slm_eval.observing.phones.given import GivenPhones
from slm_eval.speech.clusters import MIN_PHONES, Clusters, warn_of_repeats

Clips = list[list[str]]


def speech(clips: int, seed: int) -> Clips:
    """Clips of 5 to 70 phones, 20 of each speaker."""
    rng = np.random.default_rng(seed)
    return [rng.choice(list("abcdefghij"), size).tolist() for size in rng.integers(5, 70, clips)]


def in_one(clip: list[str], other: list[str]) -> bool:
    return any(other[index : index + len(clip)] == clip for index in range(len(other) - len(clip) + 1))


def test_equals_comparing_everything_with_everything() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(60):
        real = [rng.choice(list("ab"), size).tolist() for size in rng.integers(0, 50, 12)]
        generated = [rng.choice(list("ab"), size).tolist() for size in rng.integers(0, 50, 12)]
        for index in range(6):  # inside others, or cut, or whole, or changed at one place
            clip = real[index]
            generated[index] = (["a", *clip, "b"], clip[2:-1], clip, [*clip[:-1], "c"])[rng.integers(4)]
        expected = [
            any(
                min(len(clip), len(real_clip)) >= MIN_PHONES and (in_one(clip, real_clip) or in_one(real_clip, clip))
                for real_clip in real
            )
            for clip in generated
        ]
        hits += sum(expected)
        assert recited(generated, real).tolist() == expected
    assert hits > 50


def results(generated: Clips, real: Clips) -> tuple[DivergenceSummary, CrossEntropySummary]:
    sides = [[{"phones": clip} for clip in side] for side in (generated, real)]
    divergence = pJSD(n=2, recognizer=GivenPhones(None)).summarise(*sides)["pjsd.2"]
    entropy = PhoneLM(recognizer=GivenPhones(None)).summarise(*sides)["plm.3"]
    assert isinstance(divergence, DivergenceSummary)
    assert isinstance(entropy, CrossEntropySummary)
    return divergence, entropy


def test_copies_of_real_clips_are_told() -> None:
    """The issue: 30 % of the generated clips are copies of real ones."""
    real, generated = speech(200, 1), speech(200, 2)
    long = [clip for clip in real if len(clip) >= MIN_PHONES][:60]
    warning_start = (
        f"60 of 200 generated clips hold all phones of a real clip, or lie within one ({MIN_PHONES} phones",
    )
    for summary in results([*long, *generated[60:]], real):
        assert [warning for warning in summary.warnings if warning.startswith(warning_start)], summary.warnings
    for summary in results(generated, real):
        assert not [warning for warning in summary.warnings if "hold all phones" in warning or "repeat" in warning]


def test_one_clip_repeated_is_one_draw() -> None:
    """The issue: one clip 400 times had a tight interval."""
    real, clip = speech(200, 1), speech(200, 2)[5]
    assert len(clip) >= MIN_PHONES
    for summary in results([clip] * 400, real):
        assert "399 of 400 generated clips repeat another one: equal clips count as one draw" in summary.warnings
        assert summary.clusters["generated"] == {"by": "clip", "n": 1}
        assert summary.ci95 is None
    for summary in results([*speech(100, 3), *[clip] * 300], real):
        assert summary.clusters["generated"] == {"by": "clip", "n": 101}


def test_copies_join_the_clusters_that_labels_made() -> None:
    long, other = ["a"] * MIN_PHONES, ["b"] * MIN_PHONES
    clips = [
        {"speaker": "x", "phones": long},
        {"speaker": "x", "phones": other},
        {"speaker": "y", "phones": other},
        {"speaker": "z", "phones": long[1:]},
        {"speaker": "w", "phones": long[1:]},
        {"speaker": "v", "phones": None},
    ]
    clusters = Clusters.from_clips(clips)
    assert (clusters.by, len(set(clusters.labels)), clusters.repeats) == ("speaker", 4, 1)
    assert clusters.labels[0] == clusters.labels[1] == clusters.labels[2]
    assert Clusters.from_clips([{"content": "1"}, {"content": "2"}, {"content": "1"}]).numbered.tolist() == [0, 1, 0]
    sides = {"real": Clusters.from_clips([{"content": None}, {"content": None}])}
    assert warn_of_repeats(sides) == ()


def test_halves_of_librispeech_recite_nothing(librispeech_phones: Clips) -> None:
    first, second = librispeech_phones[::2], librispeech_phones[1::2]
    assert warn_of_recitation(first, second) == {}
    assert Clusters.from_clips([{"phones": clip} for clip in librispeech_phones]).repeats == 0


@pytest.mark.parametrize("copies", [1, 5])
def test_a_folder_that_holds_one_file_several_times_counts_it_once(copies: int) -> None:
    """Scores hear audio: equal audio is one draw."""
    from tests.fakes import Loudness

    observed = [{"scores": {"loudness.rms": 0.1 * index}, "content": str(index)} for index in range(8)]
    copied = [*observed, *observed[:1] * (copies - 1)]
    summary = Loudness().summarise(copied, observed)["loudness.rms"].to_dict()  # type: ignore[union-attr]
    assert summary["clusters"]["generated"]["n"] == 8
    assert any("repeat" in warning for warning in summary["warnings"]) == (copies > 1)
