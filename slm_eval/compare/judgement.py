"""The verdict: p-values corrected for how many there are, and what may be claimed of whom.

Metrics of one family (all n of pJSD, and plm; all scores of one predictor) are alike, and share the labellings: within
a family the correction is by the smallest p-value (``permutation.step_down``). Across families it is Holm's.

Of pJSD two questions have a p-value each. *Are A and B the same system?* compares them against the real sample at hand,
under permuted labels. *Is one closer to real speech?* takes the real sample for one of many that could have been drawn.
Systems that differ, but are equally far from real speech, are not equally far from a sample of it, so the first
question says less than the second, and is easier to answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from slm_eval.compare.permutation import holm, holm_of_families, step_down
from slm_eval.compare.result import LEVEL, Difference, Tested, Together

# The family of metrics of what was said.
PHONES = "phones"
# Claims about A or B, by what was shown.
REAL_SPEECH, REAL_SAMPLE = "is closer to real speech", "is closer to this real sample"
HIGHER, LOWER = "has the higher mean", "has the lower mean"
HIGHER_HERE, LOWER_HERE = (
    "has the higher value against this real sample",
    "has the lower value against this real sample",
)
# What is shown of this real sample, and not of real speech.
OF_THE_SAMPLE = frozenset({REAL_SAMPLE, HIGHER_HERE, LOWER_HERE})


def judge(tested: Mapping[str, Tested]) -> tuple[dict[str, Difference], dict[str, Together]]:
    """Return the differences by key with corrected p-values and what they show, and families by name."""
    families: dict[str, list[str]] = {}
    for key, each in tested.items():
        families.setdefault(family(each.difference), []).append(key)
    within = [step_down([tested[key].statistics for key in keys]) for keys in families.values()]
    adjusted: dict[str, float] = {}
    for keys, p_values in zip(families.values(), holm_of_families(within), strict=True):
        adjusted.update(zip(keys, p_values, strict=True))
    source = _source_adjusted(tested)
    together = {
        name: Together(tuple(keys), min(p_values), min(adjusted[key] for key in keys))
        for (name, keys), p_values in zip(families.items(), within, strict=True)
        if len(keys) > 1
    }
    return {key: _judged(test, adjusted[key], source.get(key)) for key, test in tested.items()}, together


def family(difference: Difference) -> str:
    """Return what a metric is about: phones, or the name of its predictor.

    Numbers of whole corpora stand apart from the scores of a predictor, since they have labellings of their own.
    """
    if difference.kind in {"divergence", "cross_entropy"}:
        return PHONES
    name = difference.key.partition(".")[0]
    return f"{name} of corpora" if difference.kind == "corpus" else name


def _source_adjusted(tested: Mapping[str, Tested]) -> dict[str, float]:
    """Return Holm's correction of the p-values of the second question, for the keys that have one."""
    p_source = {key: p for key, test in tested.items() if (p := test.difference.p_source) is not None}
    return dict(zip(p_source, holm(list(p_source.values())), strict=True))


def _judged(tested: Tested, p: float, p_source: float | None) -> Difference:
    difference = tested.difference
    better, claim = None, None
    # Where the sign of a difference depends on the sizes that it is taken at, it says nothing.
    if p < LEVEL and difference.difference * tested.statistics[0] > 0 and difference.higher_is_better is not None:
        better = "A" if (difference.difference > 0) == difference.higher_is_better else "B"
        claim = f"{better} {_shown(difference, p_source)}"
    return replace(
        difference,
        p_adjusted=p,
        p_source_adjusted=p_source,
        better=better,
        claim=claim,
        needed=difference.needed if p >= LEVEL else None,
    )


def _shown(difference: Difference, p_source: float | None) -> str:
    if difference.kind == "corpus":
        return HIGHER_HERE if difference.higher_is_better else LOWER_HERE
    if difference.n_ngrams is None:
        return HIGHER if difference.higher_is_better else LOWER
    return REAL_SPEECH if p_source is not None and p_source < LEVEL else REAL_SAMPLE
