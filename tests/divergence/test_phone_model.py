"""The phone model against fractions worked out by hand and a version in dictionaries."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slm_eval.divergence import phone_model
from slm_eval.divergence.phone_model import PhoneModels, divide

CLIPS = st.lists(st.text("abcd", min_size=4, max_size=9), min_size=3, max_size=8)


class Dictionary:
    """Witten-Bell by the recursion in the docstring of the module, in fractions."""

    def __init__(self, clips: list[str], vocabulary: str, n: int) -> None:
        self.vocabulary, self.counts, self.after = vocabulary, Counter(), defaultdict(Counter)
        for clip in clips:
            for k in range(1, n + 1):
                for index in range(len(clip) - k + 1):
                    self.after[clip[index : index + k - 1]][clip[index + k - 1]] += 1

    def p(self, phone: str, context: str) -> Fraction:
        shorter = self.p(phone, context[1:]) if context else Fraction(1, len(self.vocabulary) + 1)
        seen, distinct = self.after[context].total() if self.after[context] else 0, len(self.after[context])
        return (self.after[context][phone] + distinct * shorter) / (seen + distinct) if seen else shorter

    def surprisal(self, clip: str, n: int) -> float:
        known = [phone if phone in self.vocabulary else "?" for phone in clip]
        text = "".join(known)
        return -math.fsum(
            math.log(self.p(text[index], text[index - n + 1 : index])) for index in range(n - 1, len(text))
        )


def test_golden() -> None:
    """By hand; V = 3: a, b and what is neither."""
    models = PhoneModels.from_clips(["abx"], ["aab", "ab"], np.array([0, 1]), 2)
    generated, real = models.surprisals()
    # Without "aab": p(a) = p(b) = (1 + 2/3)/4, p(a|a) = (5/12)/2, p(b|a) = (1 + 5/12)/2.
    assert real.total[0] == pytest.approx(-math.log(5 / 24) - math.log(17 / 24), abs=1e-14)
    # Without "ab": p(b) = (1 + 2/3)/5, p(b|a) = (1 + 2/3)/4.
    assert real.total[1] == pytest.approx(-math.log(5 / 12), abs=1e-14)
    # Two of three real windows are in the first fold. Nothing follows b: p(?) = (2/3)/4 and (2/3)/5.
    ab, bx = 2 * math.log(17 / 24) + math.log(5 / 12), 2 * math.log(1 / 6) + math.log(2 / 15)
    assert generated.total[0] == pytest.approx(-(ab + bx) / 3, abs=1e-14)
    assert (generated.windows.tolist(), real.windows.tolist()) == ([2], [2, 1])


@settings(max_examples=60, deadline=None)
@given(generated=st.lists(st.text("abcdxy", max_size=9), min_size=1, max_size=4), real=CLIPS, n=st.integers(1, 4))
def test_equals_dictionaries_for_any_clips(generated: list[str], real: list[str], n: int) -> None:
    folds = divide(real, np.arange(len(real)))
    surprisals = PhoneModels.from_clips(generated, real, folds, n).surprisals()
    vocabulary = "".join(sorted(set("".join(real))))
    models = [
        Dictionary([clip for clip, own in zip(real, folds, strict=True) if own != fold], vocabulary, n)
        for fold in range(int(folds.max()) + 1)
    ]
    expected = [models[fold].surprisal(clip, n) for clip, fold in zip(real, folds.tolist(), strict=True)]
    assert surprisals[1].total == pytest.approx(expected, abs=1e-11)
    windows = [len(clip) - n + 1 for clip in real]
    shares = [
        sum(size for size, own in zip(windows, folds, strict=True) if own == fold) / sum(windows)
        for fold in range(len(models))
    ]
    expected = [math.fsum(s * m.surprisal(clip, n) for s, m in zip(shares, models, strict=True)) for clip in generated]
    assert surprisals[0].total == pytest.approx(expected, abs=1e-11)


@settings(max_examples=40, deadline=None)
@given(real=CLIPS, n=st.integers(1, 3), context=st.text("abcdx", min_size=2, max_size=2))
def test_probabilities_after_a_context_sum_to_one(real: list[str], n: int, context: str) -> None:
    """Of the phones of real speech, and one that it does not have."""
    phones = [*sorted(set("".join(real))), "?"]
    clips = [context[len(context) - n + 1 :] + phone for phone in phones]
    halves = np.arange(len(real)) % 2
    models = PhoneModels.from_clips(clips, real, halves, n)
    counts = [np.asarray(of_level) for of_level in models._counts[0]]
    p = models.grams.probabilities(counts)
    types = models.grams.types[: len(phones)]  # one window a clip
    assert p[types].sum() == pytest.approx(1, abs=1e-12)


def test_a_clip_is_scored_alike_beside_any_others() -> None:
    rng = np.random.default_rng(0)
    real = ["".join(rng.choice(list("abcde"), size)) for size in rng.integers(4, 30, 40)]
    one, others = "abecadx", ["".join(rng.choice(list("abcdefxy"), 50)) for _ in range(20)]
    folds = divide(real, np.arange(len(real)))
    alone = PhoneModels.from_clips([one], real, folds, 3).surprisals()[0].total[0]
    assert PhoneModels.from_clips([*others, one], real, folds, 3).surprisals()[0].total[-1] == alone  # to the last bit


def test_folds_keep_clusters_together_and_depend_on_what_was_said_alone() -> None:
    rng = np.random.default_rng(1)
    real = ["".join(rng.choice(list("abcde"), size)) for size in rng.integers(4, 30, 60)]
    clusters = rng.permutation(np.arange(60) % 25)
    folds = divide(real, clusters)
    assert all(len(set(folds[clusters == each])) == 1 for each in range(25))
    sizes = np.bincount(folds, weights=[len(clip) for clip in real])
    assert len(sizes) == 10
    assert sizes.max() < 2 * sizes.min()
    order = rng.permutation(60)
    renamed = rng.permutation(25)[clusters]
    assert divide([real[index] for index in order], renamed[order]).tolist() == folds[order].tolist()


def test_coupling_is_what_pairs_of_real_clips_add_to_the_variance() -> None:
    """Independent clips of one source: the spread of (generated - real) over 200 draws, with and without it."""
    rng = np.random.default_rng(2)
    chain = rng.dirichlet(np.full(12, 0.4), (12, 12)).cumsum(axis=2)

    def draw(clips: int) -> list[list[int]]:
        said = np.empty((40, clips), dtype=int)
        said[:2] = rng.integers(0, 12, (2, clips))
        for index in range(2, 40):
            said[index] = (chain[said[index - 2], said[index - 1], :-1] < rng.random(clips)[:, None]).sum(axis=1)
        return said.T.tolist()

    values, given_models, coupling = [], [], []
    for _ in range(200):
        real = draw(40)
        models = PhoneModels.from_clips(draw(120), real, divide(real, np.arange(40)), 3)
        sides = [side.mean for side in models.surprisals()]
        values.append(sides[0].mean() - sides[1].mean())
        given_models.append(sum(np.var(side, ddof=1) / side.size for side in sides))
        coupling.append(models.coupling())
    true = np.var(values, ddof=1)  # known to 10 %
    assert np.mean(given_models) < 0.75 * true
    assert np.mean(given_models) + np.mean(coupling) == pytest.approx(true, rel=0.2)


def test_a_table_and_sorting_number_windows_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    generated, real = (["".join(random.choice(list(phones), 15)) for _ in range(20)] for phones in ("abcdxy", "abcd"))

    def measured() -> list[list[float]]:
        models = PhoneModels.from_clips(generated, real, divide(real, np.arange(20)), 3)
        return [each.total.tolist() for each in models.surprisals()] + [[models.coupling()]]

    by_table = measured()
    monkeypatch.setattr(phone_model, "_TABLE_BOUND", 0)
    assert measured() == by_table
