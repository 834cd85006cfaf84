"""Markov chains, fresh samples of which say what a sampling sd or a floor should have been; and brute force."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from slm_eval.divergence.estimators import jensen_shannon
from slm_eval.divergence.incidence import Incidence
from slm_eval.divergence.ngrams import encode, window_keys

Corpus = list[list[int]]


def chain(seed: int, n_phones: int = 12) -> npt.NDArray[np.float64]:
    """Transition probabilities of a random order-1 Markov chain."""
    return np.random.default_rng(seed).dirichlet(np.full(n_phones, 0.4), n_phones)


def sample(transitions: npt.NDArray[np.float64], n_utterances: int, length: int, rng: np.random.Generator) -> Corpus:
    """Utterances of exponential-like lengths around ``length``."""
    cumulative = transitions.cumsum(axis=1)
    lengths = rng.integers(length // 2, length * 3 // 2, size=n_utterances)
    states = rng.integers(len(transitions), size=n_utterances)
    steps = []
    for _ in range(lengths.max() + 10):
        states = np.minimum((cumulative[states] < rng.random(n_utterances)[:, None]).sum(axis=1), len(transitions) - 1)
        steps.append(states)
    # The first ten steps forget the uniform start.
    return [row[10 : 10 + size].tolist() for row, size in zip(np.array(steps).T, lengths, strict=True)]


def incidence_of(utterances: Sequence[Sequence[int]], n: int) -> Incidence:
    encoded = encode(utterances)
    ((_, keys),) = window_keys(encoded, (n,))
    return Incidence.build(keys, encoded.n_windows(n))


def as_counter(utterances: Corpus, n: int) -> Counter[tuple[int, ...]]:
    return Counter(tuple(phones[i : i + n]) for phones in utterances for i in range(len(phones) - n + 1))


def brute_force(generated: Corpus, real: Corpus, n: int) -> float:
    a, b = as_counter(generated, n), as_counter(real, n)
    union = sorted({*a, *b})
    return jensen_shannon([a[key] for key in union], [b[key] for key in union])


def chosen(utterances: Corpus, draw: npt.NDArray[np.uint8]) -> Corpus:
    return [phones for phones, taken in zip(utterances, draw.tolist(), strict=True) if taken]


def mixed() -> npt.NDArray[np.float64]:
    """Source that differs from ``chain(1)`` by 30 % of another one."""
    return 0.7 * chain(1) + 0.3 * chain(9)


def true_divergence(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64], n: int) -> float:
    """Divergence of the stationary n-gram distributions of two order-1 chains."""
    tables = []
    for transitions in (first, second):
        eigenvalues, vectors = np.linalg.eig(transitions.T)
        stationary = np.real(vectors[:, np.argmax(np.real(eigenvalues))])
        table = stationary / stationary.sum()
        for _ in range(n - 1):
            table = table[..., None] * transitions
        tables.append(table.ravel())
    middle = (tables[0] + tables[1]) / 2
    return float(sum((p[p > 0] * np.log(p[p > 0] / middle[p > 0])).sum() for p in tables) / 2)
