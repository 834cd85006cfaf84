"""The permutation test of one source: dealing out, the score of every labelling, its level and its power."""

from __future__ import annotations

import numpy as np
import pytest

from slm_eval.divergence.analysis import Analysis, analyse
from slm_eval.divergence.same_source import deal_out, divergences_of_labels, p_value, why_not
from tests.divergence.chains import brute_force, chain, chosen, incidence_of, sample


def test_dealing_keeps_clusters_whole_and_sides_as_large_as_they_are() -> None:
    rng = np.random.default_rng(0)
    clusters = np.array([0, 0, 1, 1, 1, 2, 3]), np.array([0, 1, 1, 2, 3, 3, 3, 4])
    lengths = rng.integers(5, 40, size=15)
    members = deal_out(clusters, lengths, 300, rng)
    assert members[:, 0].tolist() == [1] * 7 + [0] * 8
    both = np.concatenate((clusters[0], clusters[1] + 4))
    largest = max(lengths[both == cluster].sum() for cluster in range(9))
    for labels in members.T:
        assert all(len(set(labels[both == cluster].tolist())) == 1 for cluster in range(9))
        assert abs(int(labels @ lengths) - int(lengths[:7].sum())) <= largest / 2
    assert len({labels.tobytes() for labels in members.T}) > 50


@pytest.mark.parametrize("n", [1, 3])
def test_divergences_of_labels_equal_brute_force(n: int) -> None:
    rng = np.random.default_rng(0)
    generated, real = sample(chain(1), 12, 20, rng), sample(chain(2), 20, 20, rng)
    both = [*generated, *real]
    members = deal_out((np.arange(12), np.arange(20)), np.array(list(map(len, both))), 70, rng)
    scores, sizes = divergences_of_labels(incidence_of(both, n), members)
    for index in range(70):
        parts = chosen(both, members[:, index]), chosen(both, 1 - members[:, index])
        assert scores[index] == pytest.approx(brute_force(*parts, n), abs=1e-12)
        assert [side[index] for side in sizes] == [sum(max(len(each) - n + 1, 0) for each in part) for part in parts]


def test_p_counts_labellings_at_least_as_far_apart() -> None:
    # Two phones, clips of one length: with no difference in size nothing is regressed out.
    clips = [[0] * 10] * 6 + [[1] * 10] * 6
    members = np.zeros((12, 4), dtype=np.uint8)
    members[:6, 0] = members[3:9, 1] = members[6:, 2] = members[::2, 3] = 1
    # The observed labelling, and the same with sides exchanged, separate the phones; the others do not.
    assert p_value(incidence_of(clips, 1), members) == 0.5


def test_a_side_without_n_grams_has_no_p() -> None:
    clips = [[0, 1, 2], [0], [1]]
    members = np.array([[1, 0], [0, 1], [0, 1]], dtype=np.uint8)
    assert p_value(incidence_of(clips, 2), members) is None


@pytest.mark.parametrize("speakers", [1, 5])
@pytest.mark.parametrize("n_real", [40, 120])
def test_false_alarms_are_as_rare_as_they_say(speakers: int, n_real: int) -> None:
    # Every speaker mixes two chains in a proportion of its own. 120 pairs of corpora of one source, p <= 10 % in 10 %
    # of them: within three standard errors, 8 %. Without regard to speakers of 5 clips it is 31 % and 37 %.
    def corpus(clips: int, rng: np.random.Generator) -> tuple[list[list[int]], list[int]]:
        found = []
        for _ in range(clips // speakers):
            share = rng.random()
            found += sample(share * chain(1) + (1 - share) * chain(9), speakers, 40, rng)
        return found, [index // speakers for index in range(clips)]

    alarms = []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        (generated, first), (real, second) = corpus(40, rng), corpus(n_real, rng)
        both = (np.array(first), np.array(second))
        members = deal_out(both, np.array([len(each) for each in (*generated, *real)]), 100, rng)
        p = p_value(incidence_of([*generated, *real], 2), members)
        assert p is not None
        alarms.append(p <= 0.1)
    assert np.mean(alarms) <= 0.18


def test_a_difference_is_found_and_copies_are_not_taken_for_one() -> None:
    rng = np.random.default_rng(0)
    generated, real = sample(chain(1), 60, 40, rng), sample(0.8 * chain(1) + 0.2 * chain(9), 60, 40, rng)
    result = analyse(generated, real, (2,))[2]
    same = analyse(real[:30] * 2, real, (2,))[2]
    assert isinstance(result, Analysis)
    assert isinstance(same, Analysis)
    assert result.p == 1 / 200
    assert same.p is not None
    assert same.p > 0.5


def test_copied_speech_lies_below_the_floor_and_is_warned_of() -> None:
    # A third of the clips are copies of real ones: nearer to the real sample than other real speech would be.
    rng = np.random.default_rng(0)
    generated, real = sample(chain(1), 80, 60, rng), sample(chain(1), 80, 60, rng)
    honest, copied = (analyse(side, real, (4,))[4] for side in (generated, [*generated[:54], *real[:26]]))
    assert isinstance(honest, Analysis)
    assert isinstance(copied, Analysis)
    assert not [line for line in honest.warnings if "below the floor" in line]
    assert [line for line in copied.warnings if "below the floor" in line]


def test_there_is_no_test_where_few_speakers_face_many_single_clips() -> None:
    clips, speakers, lengths = np.arange(90), np.arange(30) // 10, np.full(120, 40)
    assert "drawn by speakers" in str(why_not((clips, speakers), lengths))
    assert "drawn by speakers" in str(why_not((speakers, clips), lengths))
    assert "drawn by speakers" in str(why_not((np.arange(42), speakers), np.full(72, 40)))
    # As much speech on both sides, or more of the speakers': measured to hold.
    assert why_not((np.arange(30), speakers), np.full(60, 40)) is None
    assert why_not((np.arange(10), speakers), np.full(40, 40)) is None
    rng = np.random.default_rng(0)
    result = analyse(sample(chain(1), 90, 40, rng), sample(chain(1), 30, 40, rng), (2,), real_clusters=list(speakers))[
        2
    ]
    assert isinstance(result, Analysis)
    assert result.p is None
    assert any("no test against real speech" in line for line in result.warnings)
    assert any("grouped by speakers (or prompts), those of the other are not" in line for line in result.warnings)


def test_no_test_where_no_labelling_could_show_a_difference() -> None:
    def tested(first: int, second: int) -> bool:
        return why_not((np.arange(first), np.arange(second)), np.full(first + second, 40)) is None

    # Ways to deal clips out, two equal sides that change places counted once: 1/19 and 1/10 are above 5 %.
    assert [tested(1, 18), tested(1, 19), tested(3, 3), tested(3, 4), tested(4, 4)] == [False, True, False, True, True]
    unlike = analyse(["abab", "aabb", "abba"], ["cdcd", "ccdd", "cddc"], (1,))[1]
    assert isinstance(unlike, Analysis)
    assert unlike.p is None
    assert any(line.startswith("there is no test against real speech: so few clips") for line in unlike.warnings)
