"""Metrics whose observation is a few scores per clip: their means, beside those of real speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from slm_eval.base.errors import SlmEvalError
from slm_eval.metrics.means import Moments, Withheld, mean
from slm_eval.metrics.metric import Metric, NotComputed, Summary
from slm_eval.observing.observer import Observation
from slm_eval.speech.clusters import Clusters, warn_of_repeats


@dataclass(frozen=True)
class ScoreSummary(Summary):
    """Mean of a per-clip score over the generated clips, beside the same of the real clips.

    Attributes:
        scale: the lowest and the highest possible score, which intervals never leave; None where there is none.
    """

    sd: float | None
    n: int
    real: Moments | None
    scale: tuple[float, float] | None
    clusters: dict[str, dict[str, Any]]  # side -> {"by": "clip", "speaker" or "prompt", "n": how many}


class ScoreMetric(Metric):
    """A metric whose observation is a few scores per clip; the summary is their mean (section 3.5 of the paper)."""

    unit: ClassVar[str] = "MOS"
    higher_is_better: ClassVar[bool] = True
    digits: ClassVar[int] = 3
    # The lowest and the highest possible score: an opinion score's, say, is (1.0, 5.0).
    scale: ClassVar[tuple[float, float] | None] = None

    def summarise(
        self, generated: Sequence[Observation], real: Sequence[Observation]
    ) -> dict[str, Summary | NotComputed]:
        """Return mean, sd and interval per key, beside those of the real clips."""
        if not generated:
            return {key: NotComputed("no generated clip could be scored") for key in self.keys}
        return {key: self._mean(key, generated, real) for key in self.keys}

    def _mean(self, key: str, generated: Sequence[Observation], real: Sequence[Observation]) -> ScoreSummary:
        sides = {"generated": generated, "real": real} if real else {"generated": generated}
        clusters = {side: Clusters.from_clips(seen) for side, seen in sides.items()}
        scores = {side: [_score(observation, key) for observation in seen] for side, seen in sides.items()}
        estimates = {side: mean(scores[side], clusters[side].numbered) for side in sides}
        moments = {side: Moments.from_estimate(scores[side], estimates[side], self.scale) for side in sides}
        warnings = [] if real else ["no real clip could be scored: there is no baseline"]
        for side, estimate in estimates.items():
            interval = estimate.interval(self.scale)
            if isinstance(interval, Withheld):
                warnings.append(f"there is no interval{' of real speech' * (side == 'real')}: {interval.reason}")
        own = moments["generated"]
        return ScoreSummary(
            key=key,
            value=own.value,
            ci95=own.ci95,
            unit=self.unit,
            higher_is_better=self.higher_is_better,
            signature=str(self.observer.fingerprint),
            warnings=(*warnings, *warn_of_repeats(clusters)),
            kind="score",
            digits=self.digits,
            sd=own.sd,
            n=own.n,
            real=moments.get("real"),
            scale=self.scale,
            clusters={side: each.to_dict() for side, each in clusters.items()},
        )


def _score(observation: Observation, key: str) -> float:
    """Return a score of an observation.

    Raises:
        SlmEvalError: it has none of that name; a shard that was edited, or an observer with a fault.
    """
    scores = observation.get("scores")
    if not isinstance(scores, dict) or key not in scores:
        has = ", ".join(map(str, scores)) if isinstance(scores, dict) and scores else "no scores"
        raise SlmEvalError(f"an observation must have the score {key!r}, got {has}")
    return float(scores[key])
