"""Shards of one run become the run, the same to the last byte: their observations are put together and summarised here.

Nothing is observed: audio, weights and recognisers may all be elsewhere. What does not fit together is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.signature import Signature
from slm_eval.metrics.metric import Metric
from slm_eval.metrics.registry import make_again
from slm_eval.observing.observer import Observation, Observer, Refusal, Signal
from slm_eval.observing.sounds import ClipResult, Sound
from slm_eval.run.evaluate import summarise
from slm_eval.run.evaluation import Evaluation, environment
from slm_eval.run.identity import differences
from slm_eval.run.shards import Shard, ids_digest

_SHOWN = 3  # clips or shards that a message names


def merge(shards: Sequence[Shard]) -> Evaluation:
    """Return what ``evaluate`` finds out about all clips of these shards, given in any order.

    Raises:
        UsageError: no shard, shards of different runs or with clips in common, a metric that is not installed here.
        SlmEvalError: a shard is missing.
    """
    if not shards:
        raise UsageError("expected at least one shard to merge, got none")
    # 1. All shards are of one run, and have each of its clips once.
    shards = sorted(shards, key=lambda shard: (shard.share, shard.name))
    first = shards[0]
    for other in shards[1:]:
        _require_same_run(first, other)
    clips = {side: _put_together(shards, side) for side in first.run["corpora"]}
    _require_all(shards, clips)
    # 2. Clips and corpora as the run without shards has them.
    _join_sounds(clips)
    corpora = {
        side: replace(first.seen.corpora[side], clips=tuple(clip.clip for clip in clips[side])) for side in clips
    }
    # 3. The cheap half of a run: numbers from observations.
    metrics = [_make_again(recipe) for recipe in first.run["metrics"]]
    evaluation = summarise(corpora, clips, metrics, first.seen.not_computed)
    return replace(evaluation, environment=_environments(shards))


def _require_same_run(first: Shard, other: Shard) -> None:
    for place, first_value, other_value in differences(first.run, other.run):
        raise UsageError(
            f"{first.name} and {other.name} are shards of different runs: "
            f"{place} is {first_value!r} against {other_value!r}"
        )


def _put_together(shards: Sequence[Shard], side: str) -> list[ClipResult]:
    """Return the clips of one side in the order of ids.

    Raises:
        UsageError: two shards have clips in common.
    """
    owner: dict[str, Shard] = {}
    clips: list[ClipResult] = []
    for shard in shards:
        ids = [clip.clip.id for clip in shard.seen.clips[side]]
        other = next((owner[clip_id] for clip_id in ids if clip_id in owner), None)
        if other is not None:
            common = [clip_id for clip_id in ids if owner.get(clip_id) is other]
            raise UsageError(
                f"{other.name} ({other.share}) and {shard.name} ({shard.share}) overlap: both have "
                f"{_listed(map(repr, common))} of the {side} clips; leave one of the two out"
            )
        owner.update(dict.fromkeys(ids, shard))
        clips.extend(shard.seen.clips[side])
    return sorted(clips, key=lambda clip: clip.clip.id)


def _require_all(shards: Sequence[Shard], clips: dict[str, list[ClipResult]]) -> None:
    """Refuse shards in which a clip of the run is missing.

    Raises:
        SlmEvalError: a shard is missing.
    """
    corpora = shards[0].run["corpora"]
    lacking = {side: corpus["n_total"] - len(clips[side]) for side, corpus in corpora.items()}
    if any(lacking.values()):
        counts = {shard.share.count for shard in shards}
        listed = " and ".join(f"{lacks} of {corpora[side]['n_total']} {side} clips" for side, lacks in lacking.items())
        raise SlmEvalError(
            f"{_absent(shards) if len(counts) == 1 else ''}{listed} are in none of those given; run the missing shards"
        )
    for side, corpus in corpora.items():
        if ids_digest(clip.clip.id for clip in clips[side]) != corpus["ids"]:
            raise SlmEvalError(f"the {side} clips of these shards are not those of their run; run the shards again")


def _absent(shards: Sequence[Shard]) -> str:
    """Say which shards of how many were not given; those beyond the last clip are empty, and nobody misses them."""
    count = shards[0].share.count
    filled = min(count, max(corpus["n_total"] for corpus in shards[0].run["corpora"].values()))
    given = {shard.share.index for shard in shards}
    absent = [str(index) for index in range(1, filled + 1) if index not in given]
    return f"missing of the {count} shards: {_listed(absent)}; "


def _listed(names: Iterable[str]) -> str:
    """List the first few of them."""
    first = list(islice(names, _SHOWN + 1))
    return ", ".join(first[:_SHOWN]) + (", ..." if len(first) > _SHOWN else "")


def _join_sounds(clips: dict[str, list[ClipResult]]) -> None:
    """Give clips of one content one sound, as in a run without shards: that of the first clip that holds it."""
    sounds: dict[str, Sound] = {}
    for side in clips:
        clips[side] = [
            replace(clip, sound=sounds.setdefault(clip.sound.content, clip.sound)) if clip.sound.content else clip
            for clip in clips[side]
        ]


def _make_again(recipe: dict[str, Any]) -> Metric:
    """Make a metric that summarises what was observed elsewhere.

    Raises:
        UsageError: it is of a package that is not installed here.
        SlmEvalError: it is another one than that which observed.
    """
    metric = make_again(recipe["name"], recipe["options"]).observed_by(_Elsewhere(recipe["fingerprint"]))
    if list(metric.keys) != recipe["keys"]:
        raise SlmEvalError(
            f"{recipe['name']} gives {', '.join(metric.keys)} here, and {', '.join(recipe['keys'])} where the shards "
            "were made; install the same version of its package"
        )
    return metric


def _environments(shards: Sequence[Shard]) -> dict[str, str | None]:
    """Return where clips were observed and where they are summarised; values that differ stand side by side."""
    machines = [shard.seen.environment for shard in shards] + [environment()]
    keys = dict.fromkeys(key for machine in machines for key in machine)
    differing = {key: {machine.get(key) for machine in machines} for key in keys}
    return {
        key: values.pop() if len(values) == 1 else "; ".join(sorted(str(value) for value in values))
        for key, values in differing.items()
    }


class _Elsewhere(Observer):
    """Stands for the observer that saw the clips on another machine: all that is left of it is its fingerprint."""

    name = "elsewhere"
    sample_rate = None

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint

    @property
    def fingerprint(self) -> Signature:
        return Signature.parse(self._fingerprint)

    def observe(self, signals: Sequence[Signal]) -> list[Observation | Refusal]:
        """Refuse to be called: merging hears nothing."""
        raise SlmEvalError(f"{self._fingerprint} observed elsewhere and cannot observe here")
