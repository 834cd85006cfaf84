"""Size against brute force, and by simulation with fresh samples of Markov chains, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from slm_eval.divergence.rarefaction import PhonesNeeded, Rarefaction, phones_needed, rarefaction
from slm_eval.divergence.resampling import Undefined
from slm_eval.functional import pjsd
from tests.divergence.chains import Corpus, brute_force, chain, sample


def mixed(share: float) -> np.ndarray:
    return (1 - share) * chain(1) + share * chain(2)


def test_curve_is_that_of_fresh_samples() -> None:
    rng = np.random.default_rng(0)
    measured = [rarefaction(sample(chain(2), 160, 40, rng), sample(chain(1), 160, 40, rng), (2,))[2] for _ in range(12)]
    for side, source, sizes in (("generated", 2, (20, 40, 80, 160)), ("real", 1, (10, 20, 40, 80))):
        for index, size in enumerate(sizes):
            points = [getattr(each, side)[index] for each in measured]
            fresh = [
                brute_force(sample(chain(source), size, 40, rng), sample(chain(1), size, 40, rng), 2) for _ in range(60)
            ]
            assert np.mean([point.n_phones for point in points]) == pytest.approx(40 * size, rel=0.05)
            # In both the mean has an error of its own: an eighth of the sd over 60, at most a third of it over 12.
            assert np.mean([point.value for point in points]) == pytest.approx(np.mean(fresh), abs=1.2 * np.std(fresh))
            # The true sd is known to 9 %.
            assert np.mean([point.sd for point in points]) == pytest.approx(np.std(fresh, ddof=1), rel=0.35)


def test_all_of_two_equal_sides_is_their_score() -> None:
    rng = np.random.default_rng(0)
    sides = [[rng.integers(6, size=20).tolist() for _ in range(30)] for _ in range(2)]
    curves = rarefaction(*sides, (3,))[3]
    assert isinstance(curves, Rarefaction)
    assert curves.generated[-1].value == pytest.approx(pjsd(*sides, n=3), abs=1e-12)
    assert curves.generated[-1].n_phones == 600


def test_order_changes_nothing_and_clusters_stay_together() -> None:
    rng = np.random.default_rng(0)
    generated, real = sample(chain(2), 60, 20, rng), sample(chain(1), 100, 20, rng)
    generated[3] = generated[7]
    speakers = [index % 20 for index in range(100)]
    expected = rarefaction(generated, real, (1, 3), real_clusters=speakers)
    first, second = rng.permutation(60), rng.permutation(100)
    shuffled = rarefaction(
        [generated[index] for index in first],
        [real[index] for index in second],
        (3,),
        real_clusters=[speakers[index] for index in second],
    )
    assert shuffled[3] == expected[3]
    few = rarefaction(generated, real, (1,), real_clusters=[index % 10 for index in range(100)])[1]
    assert few == Undefined("at least 16 clips (or clusters) of a side are needed; there are 10")


def difference(n: int, size: int, rng: np.random.Generator) -> float:
    real = sample(chain(1), size, 40, rng)
    return brute_force(sample(mixed(0.1), size, 40, rng), real, n) - brute_force(
        sample(mixed(0.2), size, 40, rng), real, n
    )


def three(size: int, rng: np.random.Generator) -> tuple[Corpus, Corpus, Corpus]:
    return sample(mixed(0.1), size, 40, rng), sample(mixed(0.2), size, 40, rng), sample(chain(1), size, 40, rng)


@pytest.mark.parametrize(("n", "size"), [(1, 60), (2, 24), (3, 24)])
def test_the_needed_size_is_right_within_a_factor_of_two(n: int, size: int) -> None:
    rng = np.random.default_rng(n)
    estimates = [phones_needed(*three(size, rng), (n,))[n] for _ in range(15)]
    # Those of too small a difference have no number: they count as too large.
    needed = float(np.median([each.n_phones if isinstance(each, PhonesNeeded) else np.inf for each in estimates]))
    # The exponent of z is 1/2 to 1: at half and twice the right size z is at least 2.80/2 and at most 2.80 * 2.
    utterances = round(needed / 40)

    def z(size: int) -> float:
        fresh = [difference(n, size, rng) for _ in range(80)]
        return float(abs(np.mean(fresh)) / np.std(fresh, ddof=1))

    assert z(utterances // 2) < 2.80
    assert z(utterances * 2) > 2.80


def test_pairs_take_what_they_share_out_of_the_difference() -> None:
    # The second system says what the first does, but for one phone in five: unpaired, the sd is that of two systems.
    rng = np.random.default_rng(0)
    first, _, real = three(200, rng)
    second = [[phone if rng.random() > 0.2 else int(rng.integers(12)) for phone in each] for each in first]
    alone, together = (phones_needed(first, second, real, (2,), paired=paired)[2] for paired in (False, True))
    assert isinstance(alone, PhonesNeeded)
    assert isinstance(together, PhonesNeeded)
    assert together.difference == pytest.approx(alone.difference, abs=0.01)
    assert together.sd < 0.8 * alone.sd
    order = rng.permutation(200)
    shuffled = phones_needed(
        [first[index] for index in order], [second[index] for index in order], real, (2,), paired=True
    )
    assert shuffled[2] == together
    with pytest.raises(ValueError, match="got 200 and 199"):
        phones_needed(first, second[:-1], real, (2,), paired=True)
    with pytest.raises(ValueError, match="expected a cluster label for each of 200 utterances; got 1"):
        rarefaction(first, real, (2,), generated_clusters=[0])


def test_what_cannot_be_said_has_a_reason() -> None:
    rng = np.random.default_rng(3)
    same = phones_needed(*(sample(chain(1), 100, 40, rng) for _ in range(3)), (1, 2))
    assert any("within its standard error" in each.reason for each in same.values() if isinstance(each, Undefined))
    assert not any(isinstance(each, PhonesNeeded) and each.z > 2 for each in same.values())
    few = phones_needed(*three(10, rng), (1,))[1]
    assert "at least 16 clips (or clusters) of a side are needed" in few.reason  # type: ignore[union-attr]
    silent = phones_needed([[]] * 20, [[0]] * 20, [[0]] * 20, (1,))[1]
    assert silent == Undefined("at least 16 clips (or clusters) of a side are needed; there are 0")
    constant = phones_needed([[0, 1]] * 20, [[0, 0]] * 20, [[0, 1]] * 20, (1,))[1]
    assert "do not vary" in constant.reason  # type: ignore[union-attr]
