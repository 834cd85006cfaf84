"""Numbers put into words: what may be said of each part of a report, and no more.

"Told apart" and "more than chance" mean at a family-wise error of 5 % over the numbers of a sentence (Holm 1979): of
many numbers that are judged alone, one in twenty would be a false alarm. Comparing two systems is `slm-eval compare`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from slm_eval.divergence.analysis import MIN_COVERAGE
from slm_eval.divergence.rarefaction import Rarefaction
from slm_eval.metrics.means import Gap, Moments, difference_of_intervals
from slm_eval.report.findings.contributions import Differences
from slm_eval.report.findings.traits import Trait
from slm_eval.run.finished import SIDES, FinishedRun

# The score that stands for its family; of another family it is the first.
_LEADING = frozenset({"dnsmos.ovrl", "nisqa.mos", "nisqa_tts.mos", "audiobox.PQ"})

# A divergence that doubling the speech lowers by less than this share has nearly levelled off.
_LEVEL = 0.05

_Metric = Mapping[str, Any]
_Key = TypeVar("_Key", int, str)


def excess_score(metric: _Metric) -> float:
    """Return by how many of its sds a divergence lies above what real speech scores, 0 where that is not known."""
    return float(metric["excess"]) / metric["floor_sd"] if metric.get("excess") and metric.get("floor_sd") else 0.0


def sharpest(divergences: Mapping[int, _Metric]) -> int | None:
    """Return the n at which generated speech is most surely not of real speech's source; None where no n has a test."""
    tested = {n: metric for n, metric in divergences.items() if metric.get("p") is not None}
    # Where samples are too small for an n, it says little about language: other n come first.
    covered = {n: metric for n, metric in tested.items() if metric["coverage"] >= MIN_COVERAGE} or tested
    return min(covered, key=lambda n: (covered[n]["p"], -excess_score(covered[n]))) if covered else None


def of_divergences(divergences: Mapping[int, _Metric]) -> str:
    """Say whether the sharpest pJSD tells generated from real speech."""
    best = sharpest(divergences)
    if best is None:
        return "There is no test of these values: they alone do not tell generated from real speech."
    metric = divergences[best]
    real = (
        ""
        if metric["floor"] is None
        else f", where real speech would score {metric['floor']:.3f} ± {metric['floor_sd']:.3f} against itself"
    )
    value = f"pJSD-{best} is {metric['value']:.3f} {metric['unit']}{real} at these sizes (p = {metric['p']:.3f})."
    if best not in _apart(divergences):
        return f"By its phones, generated speech cannot be told from real speech: {value}"
    return f"By its phones, generated speech is told apart from real speech: {value}"


def of_orders(divergences: Mapping[int, _Metric]) -> str:
    """Say which n tell generated from real speech, and which cannot."""
    apart = sorted(_apart(divergences))
    unknown = [n for n, metric in divergences.items() if metric.get("p") is None]
    alike = [n for n in divergences if n not in apart and n not in unknown]
    parts = ["Not the height of a dot counts, but its distance from the bar: what real speech scores at the same size."]
    if apart:
        parts.append(f"At n = {_listed(apart)} generated and real speech differ by more than chance.")
    if alike:
        parts.append(f"At n = {_listed(alike)} generated speech cannot be told from real speech at this size.")
    if unknown:
        parts.append(f"At n = {_listed(unknown)} there is no test to judge by.")
    return " ".join(parts)


def _apart(divergences: Mapping[int, _Metric]) -> set[int]:
    """Return the n at which generated and real speech are not of one source, by their tests together."""
    return holm({n: metric["p"] for n, metric in divergences.items() if metric.get("p") is not None})


def of_coverage(divergences: Mapping[int, _Metric], enough: float) -> str:
    """Say for which n the samples are large enough."""
    low = [n for n, metric in divergences.items() if metric.get("coverage", 1.0) < enough]
    if not low:
        return ""
    return (
        f"At n = {_listed(low)} fewer than {100 * enough:.0f} % of the n-grams that come next would have been seen "
        "before: the value says more about sample size than about language."
    )


def of_sizes(curves: Mapping[int, Rarefaction], n: int) -> str:
    """Say whether the sharpest pJSD still falls as speech is added."""
    curve = curves.get(n)
    if curve is None or len(curve.generated) < 2:
        return ""
    half, whole = curve.generated[-2:]
    change = 1 - whole.value / half.value if half.value else 0.0
    doubling = f"Doubling the speech to {whole.n_phones:,.0f} phones a side"
    if change < _LEVEL:
        return f"{doubling} moved pJSD-{n} by {100 * abs(change):.0f} %: it has nearly levelled off."
    return (
        f"{doubling} lowered pJSD-{n} by {100 * change:.0f} %, and more would lower it further: compare systems at "
        "equal amounts of speech."
    )


def of_scores(metrics: Mapping[str, _Metric]) -> str:
    """Say how per-clip scores stand against those of real speech."""
    pairs = {key: (moments(metric), moments(metric.get("real"))) for key, metric in metrics.items()}
    verdicts: dict[str, list[str]] = {"below": [], "above": [], "alike": [], "unknown": []}
    for key, verdict in compare(pairs).items():
        verdicts[verdict].append(key)
    total = len(metrics)
    parts = []
    for verdict in ("below", "above"):
        keys = verdicts[verdict]
        if keys:
            parts.append(f"{_how_many(keys, total)} {'is' if len(keys) == 1 else 'are'} {verdict} real speech")
    if verdicts["alike"]:
        parts.append(f"{_how_many(verdicts['alike'], total, none=True)} told from real speech at this size")
    if verdicts["unknown"]:
        parts.append(f"{_how_many(verdicts['unknown'], total)} cannot be compared")
    return _sentence(parts, metrics)


def of_traits(traits: Sequence[Trait]) -> str:
    """Say how tempo, silence, variety and repetition differ."""
    names = {trait.name: trait.name[0].lower() + trait.name[1:] for trait in traits}
    verdicts = compare({names[one.name]: (one.moments.get("generated"), one.moments.get("real")) for one in traits})
    higher, lower, alike = (
        [name for name, verdict in verdicts.items() if verdict == wanted] for wanted in ("above", "below", "alike")
    )
    parts = []
    if higher:
        parts.append(f"Higher in generated than in real speech: {_listed(higher)}.")
    if lower:
        parts.append(
            f"Lower: {_listed(lower)}." if higher else f"Lower in generated than in real speech: {_listed(lower)}."
        )
    if alike:
        parts.append(f"No difference can be told at this size: {_listed(alike)}.")
    return " ".join(parts)


def of_overlap(run: FinishedRun) -> str:
    """Say how many generated clips reach what half of the real clips reach, in the first score."""
    for key in leading_keys(run):
        generated, real = (list(run.scores(key, side).values()) for side in SIDES)
        if generated and len(real) >= 2 and run.metrics[key]["higher_is_better"]:
            half = float(np.median(real))
            reached = sum(score >= half for score in generated)
            return f"{reached:,} of {len(generated):,} generated clips reach the median of the real clips in {key}."
    return ""


def of_differences(differences: Differences) -> str:
    """Say which n-grams differ."""
    kind = "phones" if differences.n == 1 else f"{differences.n}-grams"
    if not differences.n_significant:
        return f"None of the {differences.n_types:,} {kind} differs by more than chance at this size."
    return (
        f"{differences.n_significant:,} of {differences.n_types:,} {kind} differ by more than chance; together they "
        f"make {100 * differences.significant_share:.0f} % of the divergence."
    )


def compare(pairs: Mapping[str, tuple[Moments | None, Moments | None]]) -> dict[str, str]:
    """Return "above" or "below" by key where means differ by more than chance, else "alike"; "unknown": no intervals.

    Args:
        pairs: generated and real, judged together.
    """
    gaps = {key: difference(*pair) for key, pair in pairs.items()}
    p = {key: gap.p_value() for key, gap in gaps.items() if gap}
    differ = holm(p)
    return {
        key: "unknown" if gap is None else "alike" if key not in differ else "above" if gap.value > 0 else "below"
        for key, gap in gaps.items()
    }


def holm(p: Mapping[_Key, float]) -> set[_Key]:
    """Return what is rejected at a family-wise error of 5 % (Holm 1979)."""
    rejected: set[_Key] = set()
    for rank, key in enumerate(sorted(p, key=lambda name: p[name])):
        if p[key] > 0.05 / (len(p) - rank):
            break
        rejected.add(key)
    return rejected


def difference(generated: Moments | None, real: Moments | None) -> Gap | None:
    """Return the difference of two means with its 95 % interval; None where one has no interval."""
    if generated is None or real is None or generated.ci95 is None or real.ci95 is None:
        return None
    gap = difference_of_intervals((generated.value, generated.ci95), (real.value, real.ci95))
    return gap if gap.interval[0] < gap.interval[1] else None


def leading_keys(run: FinishedRun) -> list[str]:
    """Return the score that stands for its family, for each family of per-clip scores."""
    families: dict[str, list[str]] = {}
    for key in run.score_keys:
        families.setdefault(key.partition(".")[0], []).append(key)
    return [next((key for key in keys if key in _LEADING), keys[0]) for keys in families.values()]


def moments(metric: _Metric | None) -> Moments | None:
    """Return the moments of a per-clip metric of summary.json, or of its "real"."""
    if metric is None:
        return None
    ci95 = metric.get("ci95")
    return Moments(metric["value"], metric.get("sd"), None if ci95 is None else (ci95[0], ci95[1]), metric["n"])


def _how_many(keys: Sequence[str], total: int, *, none: bool = False) -> str:
    """Return "all 4 scores", "dnsmos.sig", "3 of 9 scores"; where all cannot be, "none of the 4 scores can be"."""
    if len(keys) == total and total > 1:
        count = f"none of the {total} scores can be" if none else f"all {total} scores"
    else:
        count = _listed(keys) if len(keys) <= 2 else f"{len(keys)} of {total} scores"
        count += " cannot be" if none else ""
    return count


def _listed(items: Sequence[Any]) -> str:
    texts = [str(item) for item in items]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _sentence(parts: Sequence[str], keys: Iterable[str]) -> str:
    """Return the parts as a sentence; a key at its beginning stays as it is."""
    if not parts:
        return ""
    joined = "; ".join(parts)
    first = joined[0] if joined.startswith(tuple(keys)) else joined[0].upper()
    return f"{first}{joined[1:]}."
