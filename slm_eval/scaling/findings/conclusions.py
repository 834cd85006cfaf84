"""What the numbers say, in plain sentences, and what they cannot say."""

from __future__ import annotations

import math
from typing import Any

from slm_eval.scaling.findings.behaviour import scattered
from slm_eval.scaling.fitting.reach import FARTHEST
from slm_eval.scaling.fitting.support import LEAST_SKILL

Report = dict[str, Any]


def conclusions(report: Report) -> list[str]:
    """A sentence each: the ratio, gamma, flatness, and how each metric stands to real speech."""
    if not _law_is_seen(report["loss"]["quality"]):
        return ["these runs support no law of the loss, and nothing that follows from one: see the warnings"]
    lines = [_ratio(report), *_outside(report), *_gamma(report), *_flatness(report)]
    largest = report["budgets"][-1]["C"]
    lines += [line for name, metric in report["metrics"].items() for line in _against_real(name, metric, largest)]
    return lines


def _law_is_seen(quality: Report) -> bool:
    """Whether it says more than a constant: the rule of ``support``, which adjusts errors for what was fitted."""
    n, free, skill = quality["n"], quality["free"], quality["skill_constant"]
    adjusted = math.sqrt((n - 1) / (n - free)) if n > free else 1.0
    return skill is not None and adjusted * (1 - skill) <= 1 - LEAST_SKILL


def _ratio(report: Report) -> str:
    """Whether r* rises or falls."""
    power = report["loss"]["coefficients"]["exponent_r"]
    way = "falls" if power["value"] < 0 else "rises"
    if power["ci95"] is None:
        return f"r* = D*/N* {way} with compute, as C^{power['value']:.3f}; without bootstrap it has no interval"
    low, high = power["ci95"]
    if low < 0 < high:
        return (
            f"whether r* = D*/N* rises or falls with compute is not determined: C^{power['value']:.3f}, "
            f"95 % [{low:.3f}, {high:.3f}]"
        )
    return f"r* = D*/N* {way} with compute, as C^{power['value']:.3f}, 95 % [{low:.3f}, {high:.3f}]"


def _outside(report: Report) -> list[str]:
    """Budgets whose optimum lies outside of the sizes that were trained at them."""
    if scattered([budget["n_points"] for budget in report["budgets"]]):
        return []
    low, high = [], []
    for at, (budget, best) in enumerate(zip(report["budgets"], report["loss"]["budgets"], strict=True)):
        if not budget["isoflop"]:
            continue
        sizes = [each["N"] for each in report["points"] if each["budget"] == at]
        if best["N"]["value"] < min(sizes):
            low.append(f"{budget['C']:.3g}")
        elif best["N"]["value"] > max(sizes):
            high.append(f"{budget['C']:.3g}")
    return [
        f"N* is {way} every size trained at C = {', '.join(found)}: it is extrapolated, train {models} models there"
        for way, models, found in (("below", "smaller", low), ("above", "larger", high))
        if found
    ]


def _gamma(report: Report) -> list[str]:
    """Whether the outer power is needed."""
    gamma = report["loss"]["coefficients"]["gamma"]
    if report["options"]["gamma"] is not None or gamma["ci95"] is None:
        return []
    low, high = gamma["ci95"]
    if low <= 1 <= high:
        return [f"gamma = 1 is as good: 95 % [{low:.3g}, {high:.3g}]"]
    return [f"gamma = 1 is outside of its interval, 95 % [{low:.3g}, {high:.3g}]"]


def _flatness(report: Report) -> list[str]:
    """Where the tolerated loss is more than can be gained at all."""
    epsilon, budgets = report["options"]["epsilon"], report["loss"]["budgets"]
    beyond = [
        budget["C"]
        for budget, best in zip(report["budgets"], budgets, strict=True)
        if epsilon > best["excess"]["value"]
    ]
    if not beyond:
        return []
    return [f"epsilon = {epsilon:g} is more than L* - E from C = {beyond[0]:.3g} on: such ranges say little"]


def _against_real(name: str, metric: Report, largest: float) -> list[str]:
    """Whether compute alone brings a metric into real speech's band."""
    found = metric["reaches"]
    if found is None:
        return []
    share = "" if found["share"] is None else f" ({100 * found['share']:.0f} % of the bootstrap fits do)"
    low, high = found["band"]
    band = f"real speech's band [{low:.4g}, {high:.4g}]"
    if found["C"] is None:
        limit = metric["limit"]
        ends = limit["ci95"]
        around = "" if ends is None else f", 95 % [{ends[0]:.4g}, {ends[1]:.4g}]"
        return [f"{name} does not reach {band} at any compute{share}: its limit is {limit['value']:.4g}{around}"]
    if found["C"] == 0:
        return [f"{name} is in {band} at any compute{share}"]
    beyond = found["C"] / largest
    if beyond > FARTHEST:
        return [f"{name} does not reach {band} within {FARTHEST:,.0f} times the largest budget{share}"]
    how_far = f", {beyond:.3g} times the largest budget" if beyond > 1 else ""
    return [f"{name} reaches {band} at C = {found['C']:.3g}{how_far}{share}"]
