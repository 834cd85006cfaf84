"""Counts of types in many draws by sums of bits, against counting one occurrence after the other."""

from collections import Counter

import numpy as np
import pytest

from slm_eval.divergence import bitsums
from slm_eval.divergence.bitsums import Bits, Group
from slm_eval.divergence.incidence import Incidence


def frequencies(totals: list[int], n_utterances: int, rng: np.random.Generator) -> list[list[int]]:
    """Utterances in which type t occurs ``totals[t]`` times, several times in some."""
    utterances: list[list[int]] = [[] for _ in range(n_utterances)]
    for phone, total in enumerate(totals):
        for index in rng.integers(0, n_utterances, total):
            utterances[index].append(phone)
    return utterances


def counted(group: Group, side: int, bits: Bits) -> np.ndarray:
    parts = [part.counts(side, bits) for part in group.parts(bits.words.shape[1])]
    assert all(part.dtype.kind == "u" for part in parts)
    return np.concatenate(parts)


@pytest.mark.parametrize("draws", [1, 63, 64, 130])
@pytest.mark.parametrize("sizes", [(2**17, 2**20), (64, 64)])
def test_counts_of_draws_equal_counting(draws: int, sizes: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Around every length at which rows are padded, cut into pieces or given wider integers, however few at a time."""
    monkeypatch.setattr(bitsums, "_WORDS", sizes[0])
    monkeypatch.setattr(bitsums, "_COUNTS", sizes[1])
    rng = np.random.default_rng(draws)
    totals = [1, 1, 2, 3, 4, 5, 8, 9, 15, 16, 17, 31, 32, 33, 64, 65, 127, 128, 129, 255, 256, 257, 1300, 3000]
    sides = [frequencies(each, 40, rng) for each in (totals, totals[::-1])]
    utterances = [*sides[0], *sides[1]]
    windows = np.array([phone for each in utterances for phone in each], dtype=np.uint32)
    incidence = Incidence.build(windows, np.array([len(each) for each in utterances]))
    drawn = rng.integers(0, 2, (2, 40, draws), dtype=np.uint8)
    drawn[:, :, 0] = 1
    bits = [Bits.from_draws(each) for each in drawn]
    groups = incidence.groups(np.ones(len(totals), dtype=bool), (slice(0, 40), slice(40, 80)))
    for side in (0, 1):
        counts = np.concatenate([counted(group, side, bits[side]).T for group in groups], axis=1)
        for draw in range(draws):
            taken = [each for each, label in zip(sides[side], drawn[side, :, draw], strict=True) if label]
            expected = Counter(phone for each in taken for phone in each)
            # Types are in the order of their groups, which no caller depends on.
            assert sorted(counts[draw].tolist()) == sorted(expected[phone] for phone in range(len(totals)))


def test_blocks_of_draws_are_one_behind_the_other() -> None:
    drawn = np.random.default_rng(0).integers(0, 2, (9, 100), dtype=np.uint8)
    one, several = Bits.from_draws(drawn), Bits.from_draws(drawn[:, :16], drawn[:, 16:80], drawn[:, 80:])
    assert one.draws == several.draws == 100
    assert np.array_equal(one.words, several.words)
    assert not one.words[-1].any()
