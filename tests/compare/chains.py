"""Utterances of Markov chains: speech whose language is known."""

from __future__ import annotations

import numpy as np


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def markov(generator: np.random.Generator, utterances: int, phones: int = 30, sharp: float = 1.0) -> list[list[int]]:
    """Utterances of one chain of six phones; another ``sharp`` is another language."""
    table = np.random.default_rng(0).dirichlet(np.ones(6), 6) ** sharp
    cumulative = np.cumsum(table / table.sum(axis=1, keepdims=True), axis=1)
    state = generator.integers(6, size=utterances)
    spoken = [state]
    for uniform in generator.random((phones - 1, utterances)):
        state = np.minimum((cumulative[state] < uniform[:, None]).sum(axis=1), 5)
        spoken.append(state)
    return np.stack(spoken, axis=1).tolist()
