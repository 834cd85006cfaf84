"""Made speech, and the statistics of given labels of it."""

from __future__ import annotations

import math

import numpy as np

from slm_eval.base.arrays import Floats
from slm_eval.compare.labellings import Labellings
from slm_eval.compare.pool import Groups, Pool
from slm_eval.compare.welch import UnitScores, welch_statistics
from slm_eval.divergence.incidence import Draws

Corpus = list[list[int]]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def corpus(transitions: np.ndarray, size: int, length: int, random: np.random.Generator) -> Corpus:
    """Utterances of one length from a Markov chain."""
    cumulative = transitions.cumsum(axis=1)
    states = [random.integers(len(transitions), size=size)]
    for _ in range(length - 1):
        below = cumulative[states[-1]] < random.random(size)[:, None]
        states.append(np.minimum(below.sum(axis=1), len(transitions) - 1))
    return np.array(states).T.tolist()


def all_of(drawn: Labellings) -> Draws:
    return drawn.block(slice(0, drawn.size))


def groups_of(pool: Pool, members: Draws) -> Groups:
    return pool.groups(lambda index: members[:, index], members.shape[1])


def differences_of(pool: Pool, members: Draws) -> Floats:
    groups = groups_of(pool, members)
    return groups.first - groups.second


def statistics_of(pool: Pool, members: Draws, random: np.random.Generator, *, centred: bool) -> Floats:
    return pool.statistics(lambda index: members[:, index], members.shape[1], random, centred=centred)


def welch(scores: np.ndarray, clusters: np.ndarray, drawn: Labellings) -> Floats:
    return welch_statistics([UnitScores.from_scores(scores, clusters, drawn.observed.size)], drawn)[0]


def false_alarms(p_values: list[float], level: float = 0.05) -> None:
    """No more than chance allows: the number is binomial, and four of its sds are never exceeded by an honest test."""
    allowed = level * len(p_values) + 4 * math.sqrt(level * (1 - level) * len(p_values))
    alarms = sum(p <= level for p in p_values)
    assert 0 < alarms <= allowed


def uneven(transitions: np.ndarray, total: int, mean: float, random: np.random.Generator) -> Corpus:
    """Utterances of very different length."""
    lengths = np.maximum(random.lognormal(math.log(mean) - 0.18, 0.6, total), 3).astype(int)
    lengths = lengths[: np.searchsorted(lengths.cumsum(), total) + 1]
    whole = corpus(transitions, lengths.size, int(lengths.max()), random)
    return [utterance[:length] for utterance, length in zip(whole, lengths.tolist(), strict=True)]
