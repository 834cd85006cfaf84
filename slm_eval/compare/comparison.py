"""The main path: two finished runs in, every metric of both compared, p-values corrected for how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.compare.corpus_metrics import corpus_differences
from slm_eval.compare.cross_entropies import cross_entropy_differences, read_both_ways
from slm_eval.compare.design import Design
from slm_eval.compare.divergences import divergence_changes, phones_to_tell_apart
from slm_eval.compare.judgement import judge
from slm_eval.compare.result import Difference, Tested, Together
from slm_eval.compare.scores import score_differences
from slm_eval.metrics.recitation import warnings_of_copies
from slm_eval.run.finished import FinishedRun, no_collection


@dataclass(frozen=True)
class Comparison:
    """Hold how two systems differ, by every metric that both have.

    Attributes:
        a, b: names.
        paired: whether clips were compared by id.
        n_clips: clips of A and of B that took part; where paired, pairs.
        left_out: clips of A and of B that have no partner.
        by: what was swapped or shuffled as a whole: "clip", "speaker" or "prompt".
        labellings: that were tried, the observed one among them: all there are, or as many as were asked for.
        seed: of the random draws.
        differences: by key.
        together: by family of metrics, where it has several ("phones", say): whether the systems differ by any of them.
        not_compared: key -> why.
    """

    a: str
    b: str
    paired: bool
    n_clips: tuple[int, int]
    left_out: tuple[int, int]
    by: str
    labellings: int
    seed: int
    differences: dict[str, Difference]
    together: dict[str, Together]
    not_compared: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        values = asdict(self)
        for difference in values["differences"].values():
            del difference["kind"], difference["digits"]
        return values


@no_collection()
def compare(
    a: FinishedRun,
    b: FinishedRun,
    *,
    keys: Sequence[str] | None = None,
    paired: bool | None = None,
    permutations: int | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare two systems by every metric that both runs have.

    Args:
        a, b: runs against the same real speech.
        keys: metrics to look at; None: all that both have. Corrections are over these.
        paired: by clip id; None: where at least half of the clips of either system have a partner.
        permutations: labellings beside the observed one, where not all can be tried; at least 99. None: 1,999, or 499
            of more than 100,000 clips.
        seed: of the random draws.

    Raises:
        SlmEvalError: a metric was computed differently in both; the message names the part that differs.
        UsageError: a key that is not in both runs, no id in common where pairs are asked for, or nothing to compare.
    """
    # 1. What both runs have, computed alike, and which clips are compared.
    common, not_compared = _common_keys(a, b, keys)
    for key in common:
        _require_same_signature(key, a, b)
    design = Design.from_runs(a, b, paired, permutations, seed)
    # 2. The difference of each metric, with its test under the labellings that all of them share.
    scores = score_differences([key for key in common if key in a.score_keys], a.metrics, design)
    orders = [n for n, key in a.divergence_keys.items() if key in common]
    entropies = cross_entropy_differences([key for key in common if key in a.cross_entropies], a.metrics, design)
    corpora = corpus_differences([key for key in common if key in a.corpus_metrics], a, b, design)
    results = {**scores, **divergence_changes(orders, a.metrics, design), **entropies, **corpora}
    tested = {key: result for key in common if isinstance(result := results[key], Tested)}
    # 3. The verdict: p-values corrected for how many metrics there are, and what may be claimed.
    judged, together = judge(tested)
    judged |= {key: result for key in common if isinstance(result := results[key], Difference)}
    judged |= {key: read_both_ways(row, a, b) for key, row in judged.items() if key in entropies}
    for key in (key for key in judged if key not in scores):
        judged[key] = replace(judged[key], notes=(*judged[key].notes, *_copies(key, a, b)))
    # 4. Where systems are not told apart: how much speech would do it.
    unclear = [n for n in orders if (key := a.divergence_keys[n]) in judged and judged[key].better is None]
    for key, line in phones_to_tell_apart(unclear, design).items():
        judged[key] = replace(judged[key], needed=line)
    return Comparison(
        a=a.name,
        b=b.name,
        paired=design.paired,
        n_clips=(len(design.a), len(design.b)),
        left_out=(len(a.clips["generated"]) - len(design.a), len(b.clips["generated"]) - len(design.b)),
        by=design.by,
        labellings=design.labellings.size,
        seed=seed,
        differences=judged,
        together=together,
        not_compared=not_compared | {key: result for key in common if isinstance(result := results[key], str)},
    )


def _common_keys(a: FinishedRun, b: FinishedRun, keys: Sequence[str] | None) -> tuple[list[str], dict[str, str]]:
    """Return the metrics that can be compared, and why the others cannot."""
    common = [key for key in a.metrics if key in b.metrics and a.metrics[key]["kind"] == b.metrics[key]["kind"]]
    if not common:
        raise UsageError(f"{a.name} and {b.name} have no metric in common; run both with the same --metrics")
    if keys is not None:
        for key in keys:
            if key not in common:
                raise UsageError(f"{key} is not in both runs; those that are: {', '.join(common)}")
        return [key for key in common if key in keys], {}
    absent = {}
    for key in dict.fromkeys([*a.metrics, *b.metrics]):
        if key not in common:
            both = key in a.metrics and key in b.metrics
            absent[key] = "its kind differs" if both else f"not in {b.name if key in a.metrics else a.name}"
    return common, absent


def _require_same_signature(key: str, a: FinishedRun, b: FinishedRun) -> None:
    differing = a.signature(key).differences(b.signature(key))
    if differing:
        parts = ", ".join(f"{part} {of_a} against {of_b}" for part, (of_a, of_b) in differing.items())
        hint = "run both against the same real speech" if "real" in differing else "run both with the same options"
        raise SlmEvalError(f"{key} of {a.name} and of {b.name} cannot be compared ({parts}); {hint}")


def _copies(key: str, a: FinishedRun, b: FinishedRun) -> list[str]:
    """Return what both runs warned of: speech that is compared with itself looks real."""
    return [
        f"warning: {name}: {warning}"
        for name, run in (("A", a), ("B", b))
        for warning in warnings_of_copies(run.metrics[key])
    ]
