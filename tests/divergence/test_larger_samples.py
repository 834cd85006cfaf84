"""The estimate for larger samples, against enumeration, closed forms, and fresh samples."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest

from slm_eval.divergence import larger_samples
from slm_eval.divergence.estimators import LN2, jensen_shannon
from slm_eval.divergence.floor import Floor, draw_splits, floor
from slm_eval.divergence.larger_samples import Spectrum, expected_score
from slm_eval.divergence.ngrams import encode, window_keys
from tests.divergence.chains import Corpus, incidence_of


def spectrum_of(utterances: Corpus, n: int, clusters: npt.NDArray[np.intp] | None = None) -> Spectrum:
    groups = np.arange(len(utterances)) if clusters is None else clusters
    return Spectrum.from_side(incidence_of(utterances, n), slice(0, len(utterances)), groups)


def x_ln_x(x: float) -> float:
    return x * math.log(x) if x else 0.0


def phi(p: float, q: float) -> float:
    return x_ln_x(p + q) - x_ln_x(p) - x_ln_x(q)


# ---- patterns ----


def test_spectrum_counts_types_that_are_spread_alike() -> None:
    # Clusters {0, 1}, {2}, {3}. 1: twice in the first; 2: 1, 1, 0; 3: 0, 1, 1; 4: 2, 0, 1; 5: 1, 1, 1; 6: only once.
    utterances = [[1, 1, 2, 4], [4, 5], [2, 3, 5], [3, 4, 5, 6]]
    spectrum = spectrum_of(utterances, 1, np.array([0, 0, 1, 2]))
    assert spectrum.sizes.tolist() == [6, 3, 4]
    assert spectrum.multiplicities.tolist() == [1, 2, 3, 4, 6]
    rows = [tuple(row) for row in spectrum.patterns.toarray().astype(int).tolist()]
    types = dict(zip(rows, spectrum.weights.tolist(), strict=True))
    # Two clusters with one each (2, 3), one with 1 and one with 2 (4), three with 1 (5), and all types together.
    assert types == {(2, 0, 0, 0, 0): 2, (1, 1, 0, 0, 0): 1, (3, 0, 0, 0, 0): 1, (0, 0, 1, 1, 1): -1}


def test_spectrum_is_of_its_side_alone() -> None:
    rng = np.random.default_rng(0)
    utterances = rng.integers(5, size=(30, 12)).tolist()
    whole, part = incidence_of(utterances, 2), incidence_of(utterances[10:25], 2)
    scores = [
        expected_score(Spectrum.from_side(incidence, side, np.arange(15)), (165, 165))
        for incidence, side in ((whole, slice(10, 25)), (part, slice(0, 15)))
    ]
    assert scores[0] == scores[1]


# ---- expectations over draws ----


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.2, 0.7), (0.3, 0.3), (1.0, 1.0), (0.5, 1.3)])
def test_mean_score_equals_enumeration_of_all_draws(
    shares: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Seven clusters, 3^7 draws, each weighted with its "probability", negative ones too; nothing faded out.
    monkeypatch.setattr(larger_samples, "_FADING", 60)
    larger_samples._signs.cache_clear()
    rng = np.random.default_rng(1)
    utterances = [rng.integers(4, size=length).tolist() for length in (3, 9, 5, 5, 12, 1, 7)]
    counts = np.array([np.bincount(each, minlength=4) for each in utterances], dtype=np.float64)
    wanted = tuple(share * counts.sum() for share in shares)
    expected = 0.0
    for draw in itertools.product(range(3), repeat=7):
        weight = math.prod((*shares, 1 - sum(shares))[where] for where in draw)
        p, q = (counts[[where == side for where in draw]].sum(axis=0) / wanted[side] for side in (0, 1))
        overlap = sum(phi(*pair) for pair in zip(p, q, strict=True))
        expected += weight * (phi(p.sum(), q.sum()) - overlap) / 2
    got = larger_samples._mean_score(spectrum_of(utterances, 1), wanted, shares)
    larger_samples._signs.cache_clear()
    assert got == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("rare", [0.5, 0.1, 0.03])
@pytest.mark.parametrize("wanted", [(40, 40), (20, 60), (30, 20)])
def test_two_types_in_closed_form(rare: float, wanted: tuple[int, int]) -> None:
    # Clips of one phone, one of two: all samples of 40 clips, in proportion to their probability. Off by 2 % at most,
    # where splits alone, which can score no more than 20 against 20, would be off by a factor of two.
    def binomial(size: int) -> npt.NDArray[np.float64]:
        return np.array([math.comb(size, k) * rare**k * (1 - rare) ** (size - k) for k in range(size + 1)])

    truth = sum(
        chance_a * chance_b * jensen_shannon([k, wanted[0] - k], [m, wanted[1] - m])
        for k, chance_a in enumerate(binomial(wanted[0]))
        for m, chance_b in enumerate(binomial(wanted[1]))
        if chance_a * chance_b > 1e-15
    )
    estimate = sum(
        chance * expected_score(spectrum_of([[0]] * k + [[1]] * (40 - k), 1), wanted)
        for k, chance in enumerate(binomial(40))
        if chance > 1e-12
    )
    assert estimate == pytest.approx(truth, rel=0.02)


def test_one_type_scores_nothing_and_distinct_types_all() -> None:
    assert expected_score(spectrum_of([[0] * 7] * 20, 1), (140, 140)) == pytest.approx(0, abs=1e-9)
    distinct = [list(range(start, start + 5)) for start in range(0, 100, 5)]
    # 20 equal clips: what the draws leave to chance is taken out to second order.
    assert expected_score(spectrum_of(distinct, 1), (100, 100)) == pytest.approx(LN2, rel=0.01)


def test_numbers_of_a_large_side_do_not_drown_in_rounding() -> None:
    # n = 1 of 2e5 phones of 40 equal ones: J is (K - 1) / (8 N) (1/1 + 1/1) to first order, here 4.9e-5.
    rng = np.random.default_rng(0)
    spectrum = spectrum_of(rng.integers(40, size=(2000, 100)).tolist(), 1)
    scores = [expected_score(spectrum, (share * 200_000, (2 - share) * 200_000)) for share in (1.0, 0.5)]
    expected = [39 / 8 * (1 / share + 1 / (2 - share)) / 200_000 for share in (1.0, 0.5)]
    assert scores == pytest.approx(expected, rel=0.15)
    finer = larger_samples._mean_score(spectrum, (2e5, 2e5), (1.0, 1.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(larger_samples, "_STEP", 0.1)
        patch.setattr(larger_samples, "_FIRST", 1e-6)
        assert larger_samples._mean_score(spectrum, (2e5, 2e5), (1.0, 1.0)) == pytest.approx(finer, rel=2e-6)


# ---- the floor ----


def speech(n_speakers: int, clips: int, phones: int, accents: float, rng: np.random.Generator) -> Corpus:
    """Clips of 40 to 60 independent phones; each speaker has an accent, of two."""
    base = np.random.default_rng(5).dirichlet(np.full(phones, 1.0), 2)
    usual = (1 - accents) / phones + accents * base
    return [
        rng.choice(phones, rng.integers(40, 61), p=usual[accent]).tolist()
        for accent in rng.integers(2, size=n_speakers)
        for _ in range(clips)
    ]


@pytest.mark.parametrize(
    ("n", "n_speakers", "clips", "phones", "accents", "other"),
    # Carried on from the splits alone, errors were 1.8, 0.7 and 0.2 of floor_sd.
    [(2, 40, 1, 40, 0.0, 1.0), (3, 30, 4, 12, 0.5, 1.0), (4, 60, 1, 8, 1.0, 0.5)],
)
def test_floor_is_unbiased(n: int, n_speakers: int, clips: int, phones: int, accents: float, other: float) -> None:
    # 40 corpora; the truth is the mean over all pairs of corpora, "other" the size of the generated side.
    rng = np.random.default_rng(n)
    clusters = np.repeat(np.arange(n_speakers), clips)
    real = [speech(n_speakers, clips, phones, accents, rng) for _ in range(40)]
    generated = [speech(int(n_speakers * other), clips, phones, accents, rng) for _ in range(40)] if other < 1 else real
    counts = [[_counts(corpus, n, phones) for corpus in side] for side in (generated, real)]
    truth = np.mean(
        [
            jensen_shannon(a, b)
            for i, a in enumerate(counts[0])
            for j, b in enumerate(counts[1])
            if i < j or (other < 1 and i != j)
        ]
    )
    floors = []
    for corpus, own in zip(real, counts[1], strict=True):
        wanted = round(float(np.mean([each.sum() for each in counts[0]]))) if other < 1 else int(own.sum())
        result = floor(
            incidence_of(corpus, n),
            slice(0, len(corpus)),
            clusters,
            (wanted, int(own.sum())),
            draw_splits(clusters, 20, rng),
        )
        assert isinstance(result, Floor)
        floors.append(result)
    sd = math.sqrt(np.mean([each.sd**2 for each in floors]))
    assert abs(np.mean([each.value for each in floors]) - truth) < 0.35 * sd


def _counts(corpus: Corpus, n: int, phones: int) -> npt.NDArray[np.int64]:
    ((_, keys),) = window_keys(encode([*corpus, list(range(phones))]), (n,))
    return np.bincount(keys[: sum(len(clip) - n + 1 for clip in corpus)].astype(np.int64), minlength=phones**n)
