"""The two systems that a command line names: finished runs, or speech that is scored now, as ``slm-eval run`` would."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from slm_eval.base.errors import UsageError
from slm_eval.metrics.metric import Metric
from slm_eval.observing.options import RunOptions
from slm_eval.run.evaluate import evaluate
from slm_eval.run.finished import Clip, FinishedRun, is_run, read_run
from slm_eval.run.identity import source
from slm_eval.speech.corpus import load_corpus


def systems(
    a: Path,
    b: Path,
    real: str | None,
    metrics: Callable[[], list[Metric]],
    options: RunOptions,
    limit: int | None = None,
) -> tuple[FinishedRun, FinishedRun]:
    """Both systems as runs, under names that differ.

    Args:
        a, b: folders of finished runs, or speech in any form that ``run`` takes.
        real: what speech is scored against.
        metrics: makes the metrics for one scoring.
        options: of scoring.
        limit: clips of each side, where speech is scored.

    Raises:
        UsageError: speech without ``real``, runs against other real speech than ``real``, or the same run twice.
        SlmEvalError: speech that cannot be scored, or files that are damaged.
    """
    if a.resolve() == b.resolve():
        raise UsageError(f"A and B are both {a}; give two systems")
    known: dict[bytes, Clip] = {}
    first, second = (_system(path, real, metrics, options, limit, known) for path in (a, b))
    if first.clips["real"] == second.clips["real"]:  # the same speech is kept once: it is a quarter of all clips
        second = replace(second, clips={**second.clips, "real": first.clips["real"]})
    if first.name == second.name:
        return replace(first, name=str(a)), replace(second, name=str(b))
    return first, second


def keys_named(metrics: str, runs: tuple[FinishedRun, FinishedRun]) -> list[str]:
    """Return the keys of both runs that a list like "pjsd,dnsmos.ovrl" names: a metric stands for all of its keys.

    Raises:
        UsageError: a name with no key in both runs.
    """
    both = [key for key in runs[0].metrics if key in runs[1].metrics]
    keys: list[str] = []
    for text in metrics.split(","):
        name = text.strip().partition(":")[0]
        named = [key for key in both if key == name or key.startswith(f"{name}.")]
        if not named:
            raise UsageError(f"{name!r} is in no key that both runs have; those are {', '.join(both) or 'none'}")
        keys += [key for key in named if key not in keys]
    return keys


def _system(
    path: Path,
    real: str | None,
    metrics: Callable[[], list[Metric]],
    options: RunOptions,
    limit: int | None,
    known: dict[bytes, Clip],
) -> FinishedRun:
    if is_run(path) or (path / "shard.json").is_file():
        run = read_run(path, known)
        against = source(run.summary, "real", path)
        if real is not None and os.path.realpath(real) != os.path.realpath(against):
            raise UsageError(f"{path} is a finished run against {against}, not against {real}; leave --real out")
        return run
    if real is None:
        raise UsageError(
            f"{path} must be a finished run, got a path without summary.json; to score it as speech, add --real"
        )
    evaluation = evaluate(load_corpus(path).limit(limit), load_corpus(real).limit(limit), metrics(), options)
    return FinishedRun.from_evaluation(evaluation, path.resolve().name)
