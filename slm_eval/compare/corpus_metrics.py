"""Metrics of whole corpora that other packages add: the permutation test of any number that can be computed again.

The metric is made again by its name and options, and its ``values`` are computed under each labelling, from what
clips.jsonl says of each clip. The null hypothesis is that it makes no difference which system a clip came from; the
statistic is V(A, R) - V(B, R), R the real speech of both. Without pairs groups may differ in size, and a value with it,
so the mean over all labellings is taken off, which treats them alike. Where the value of a run does not come out
again, there is no test: both values stand side by side.

Each labelling costs two calls of ``values``, whatever they cost: there are ``LABELLINGS`` of them, or as many as were
asked for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from slm_eval.base.errors import SlmEvalError
from slm_eval.compare.design import Clip, Design
from slm_eval.compare.permutation import p_value
from slm_eval.compare.result import Difference, Tested
from slm_eval.divergence.incidence import Floats
from slm_eval.metrics.metric import Metric
from slm_eval.metrics.registry import METRICS, PLUGINS, make_again
from slm_eval.observing.observer import Observation
from slm_eval.run.finished import FinishedRun

# p-values are multiples of 1/200: fine enough for some tens of corrected ones, and 400 calls of ``values``.
LABELLINGS = 200
# A value that comes out again differs by the order of sums at most.
_TOLERANCE = 1e-9
# What clips.jsonl keeps of an observation.
_KEPT = ("scores", "phones", "details", "speaker", "prompt")

NO_INTERVAL = "there is no interval: of a metric of whole corpora only the test is computed"


def corpus_differences(
    keys: Sequence[str], a: FinishedRun, b: FinishedRun, design: Design
) -> dict[str, Tested | Difference]:
    """Return each key's difference with its test, or without one where its value cannot be computed again."""
    recipes: dict[str, list[str]] = {}
    for key in keys:
        recipes.setdefault(json.dumps(a.metrics[key]["made_by"], sort_keys=True), []).append(key)
    found: dict[str, Tested | Difference] = {}
    for together in recipes.values():
        try:
            found |= _Recomputed(a.metrics[together[0]]["made_by"], design).tested(together, a, b)
        except SlmEvalError as error:
            found |= {key: _untested(key, a, b, design, str(error)) for key in together}
    return {key: found[key] for key in keys}


class _Recomputed:
    """A metric made again, and its observations in a comparison."""

    def __init__(self, made_by: Mapping[str, Any] | None, design: Design) -> None:
        if made_by is None:
            raise SlmEvalError("the run does not say what made it")
        if made_by["metric"] in METRICS:
            # Options come from a file of anybody's: as those of ours they could name weights to fetch or paths to read.
            raise SlmEvalError(f"the run says that {made_by['metric']!r} made it, which gives no such number")
        self.metric: Metric = make_again(made_by["metric"], made_by["options"])
        with PLUGINS.others_code(self.metric.name):
            self.observer = self.metric.observer.fingerprint.name
        self.design = design
        self.real = self._observations(design.real)

    def tested(self, keys: Sequence[str], a: FinishedRun, b: FinishedRun) -> dict[str, Tested | Difference]:
        """Return the differences, tested where both runs' values come out again."""
        again = [self._values(self._observations(run.clips["generated"])) for run in (a, b)]
        why = {key: _differing(key, (a, b), again) for key in keys}
        statistics, observed, n = self._statistics([key for key in keys if why[key] is None])
        found: dict[str, Tested | Difference] = {}
        for key in keys:
            reason = why[key]
            if reason is None and not all(map(math.isfinite, observed[key])):
                reason = "its value cannot be computed of the clips that are compared"
            if reason is not None:
                found[key] = _untested(key, a, b, self.design, reason)
                continue
            p = p_value(statistics[key])
            notes = (NO_INTERVAL, f"p is of {statistics[key].size:,} labellings, each computed again")
            found[key] = Tested(_difference(key, a, observed[key], n, notes, p), statistics[key])
        return found

    def _statistics(
        self, keys: Sequence[str]
    ) -> tuple[dict[str, Floats], dict[str, tuple[float, float]], tuple[int, int]]:
        """Return by key the statistic under each labelling, (B,), and the values of A and B; and their clips."""
        design = self.design
        kept = [np.array([self._observed(clip) for clip in side], dtype=bool) for side in (design.a, design.b)]
        if design.paired:
            kept = [kept[0] & kept[1]] * 2
        sides = [
            self._observations([clip for clip, keep in zip(clips, of_side, strict=True) if keep])
            for clips, of_side in zip((design.a, design.b), kept, strict=True)
        ]
        n = len(sides[0]), len(sides[1])
        if not keys:
            return {}, {}, n
        units = np.concatenate([of_side[keep] for of_side, keep in zip(design.units, kept, strict=True)])
        of_b = np.arange(units.size) >= n[0]
        pooled = [*sides[0], *sides[1]]
        size = design.labellings.size
        if design.labellings.everything is None and not design.asked:
            size = min(size, LABELLINGS)
        values = np.full((size, 2, len(keys)), np.nan)
        for number in range(size):
            label = design.labellings.block(slice(number, number + 1))[units, 0].astype(bool)
            first = label ^ of_b if design.paired else label
            for group, chosen in enumerate((first, ~first)):
                computed = self._values([each for each, taken in zip(pooled, chosen.tolist(), strict=True) if taken])
                values[number, group] = [computed.get(key, math.nan) for key in keys]
        differences = values[:, 0] - values[:, 1]
        if not design.paired:
            finite = np.isfinite(differences)
            differences -= np.where(finite, differences, 0.0).sum(axis=0) / np.maximum(finite.sum(axis=0), 1)
        observed = {key: (float(values[0, 0, at]), float(values[0, 1, at])) for at, key in enumerate(keys)}
        return {key: differences[:, at] for at, key in enumerate(keys)}, observed, n

    def _values(self, generated: Sequence[Observation]) -> dict[str, float]:
        """Return the values of one group against real speech, as numbers.

        Raises:
            SlmEvalError: the metric cannot compute them from what clips.jsonl keeps; the message says why.
        """
        with PLUGINS.others_code(self.metric.name):
            return {key: float(value) for key, value in self.metric.values(generated, self.real).items()}

    def _observations(self, clips: Sequence[Clip]) -> list[Observation]:
        return [
            {name: clip[name] for name in _KEPT if clip.get(name) is not None} for clip in clips if self._observed(clip)
        ]

    def _observed(self, clip: Clip) -> bool:
        """Return whether this metric's observer saw something in the clip."""
        return clip["status"] == "ok" and self.observer not in clip.get("refused", {})


def _differing(key: str, runs: Sequence[FinishedRun], again: Sequence[Mapping[str, float]]) -> str | None:
    """Return why what comes out now is not what the runs say, or None."""
    for run, values in zip(runs, again, strict=True):
        told, now = run.metrics[key]["value"], values.get(key, math.nan)
        if not abs(now - told) <= _TOLERANCE * max(abs(told), 1.0):
            return (
                f"from the clips of {run.name} and the real speech of {runs[0].name} it comes out as {now:.6g}, "
                f"and the run says {told:.6g}"
            )
    return None


def _untested(key: str, a: FinishedRun, b: FinishedRun, design: Design, why: str) -> Difference:
    """Return the values of both runs, without a test."""
    values = float(a.metrics[key]["value"]), float(b.metrics[key]["value"])
    n = len(design.a), len(design.b)
    return _difference(key, a, values, n, (f"no test is possible, these are the values of the runs: {why}",), None)


def _difference(
    key: str, run: FinishedRun, values: tuple[float, float], n: tuple[int, int], notes: tuple[str, ...], p: float | None
) -> Difference:
    metric = run.metrics[key]
    return Difference(
        key=key,
        a=values[0],
        b=values[1],
        difference=values[0] - values[1],
        ci95=None,
        effect=None,
        p=p,
        p_adjusted=p,
        p_source=None,
        p_source_adjusted=None,
        n=n,
        n_ngrams=None,
        unit=metric["unit"],
        higher_is_better=metric["higher_is_better"],
        better=None,
        claim=None,
        needed=None if p is None else "how much speech would tell is not known",
        notes=notes,
        signature=metric["signature"],
        kind=metric["kind"],
        digits=metric["digits"],
    )
