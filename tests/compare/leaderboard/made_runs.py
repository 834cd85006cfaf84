"""Runs of systems whose language and loudness are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from slm_eval.compare.leaderboard import System
from slm_eval.metrics.metric import Metric
from slm_eval.metrics.pjsd import pJSD
from slm_eval.observing.sounds import ClipResult, Sound
from slm_eval.run.evaluate import summarise
from slm_eval.run.evaluation import Evaluation
from slm_eval.run.files import write_run
from slm_eval.run.finished import SIDES, FinishedRun
from slm_eval.speech.corpus import Clip, Corpus
from tests.fakes import Loudness, SpellingObserver

Phones = list[list[str]]


def spoken(utterances: int, seed: int, mixed: float = 0.0, phones: int = 30) -> Phones:
    """Utterances of one chain of six phones, of which a share is drawn from another chain."""
    rng, known = np.random.default_rng(seed), np.random.default_rng(99)
    table = known.dirichlet(np.ones(6), 6)
    other = known.dirichlet(np.ones(6), 6)
    cumulative = np.cumsum((1 - mixed) * table + mixed * other, axis=1)
    state = rng.integers(6, size=utterances)
    columns = [state]
    for uniform in rng.random((phones - 1, utterances)):
        state = np.minimum((cumulative[state] < uniform[:, None]).sum(axis=1), 5)
        columns.append(state)
    return [["abcdef"[each] for each in row] for row in np.stack(columns, axis=1)]


REAL = spoken(60, seed=1000)
REAL_SCORES = tuple(np.random.default_rng(7).normal(0.5, 0.1, 60))


def evaluation(
    name: str,
    phones: Phones | None = None,
    scores: Sequence[float] | None = None,
    *,
    real: Phones = REAL,
    real_scores: Sequence[float] = REAL_SCORES,
    speakers: int | None = None,
    n: tuple[int, ...] = (1, 2),
    log_base: str = "e",
    rate: int = 16_000,
) -> Evaluation:
    """What ``slm-eval run`` would find out of these phones and scores.

    Args:
        speakers: clips are of so many, in turn; None: of nobody.
    """
    loudness = Loudness(rate)
    divergence = pJSD(n=n, recognizer=SpellingObserver(), log_base=log_base)  # type: ignore[arg-type]
    seen = {"generated": (phones, scores), "real": (real if phones else None, real_scores if scores else None)}
    clips: dict[str, list[ClipResult]] = {}
    for side in SIDES:
        of_phones, of_scores = seen[side]
        clips[side] = []
        for index in range(max(len(of_phones or ()), len(of_scores or ()))):
            clip = Clip(f"{index:04}.wav", Path("none"), speaker=None if speakers is None else f"s{index % speakers}")
            sound = Sound(clip, f"{name} {side} {index}")
            if of_phones is not None and index < len(of_phones):
                sound.observations[str(divergence.observer.fingerprint)] = {"phones": of_phones[index]}
            if of_scores is not None and index < len(of_scores):
                sound.observations[str(loudness.observer.fingerprint)] = {"scores": {"loudness.rms": of_scores[index]}}
            clips[side].append(ClipResult(clip, side, sound))
    corpora = {side: Corpus(side, tuple(each.clip for each in of_side)) for side, of_side in clips.items()}
    metrics: list[Metric] = [*([divergence] if phones else []), *([loudness] if scores else [])]
    return summarise(corpora, clips, metrics, {})


def system(name: str, *args, **options) -> System:  # type: ignore[no-untyped-def]
    """A system; arguments as for ``evaluation``."""
    return System(name, FinishedRun.from_evaluation(evaluation(name, *args, **options), name))


def write(folder: Path, *args, **options) -> Path:  # type: ignore[no-untyped-def]
    """The folder of a run; arguments as for ``evaluation``."""
    write_run(evaluation(folder.name, *args, **options), folder)
    return folder


def scores(mean: float, n: int = 60, seed: int = 0) -> list[float]:
    return np.random.default_rng(seed).normal(mean, 0.1, n).tolist()


def without_phones(one: System) -> System:
    clips = {side: [clip | {"phones": None} for clip in of_side] for side, of_side in one.run.clips.items()}
    return replace(one, run=replace(one.run, clips=clips))
