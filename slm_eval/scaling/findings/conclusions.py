"""Plain sentences on what the numbers say, and what they cannot say."""

from __future__ import annotations

import math

from slm_eval.scaling.findings.behaviour import scattered
from slm_eval.scaling.findings.report import FitReport, LossQuality, MetricReport
from slm_eval.scaling.fitting.reach import FARTHEST
from slm_eval.scaling.fitting.support import LEAST_SKILL


def conclusions(report: FitReport) -> list[str]:
    """Return a sentence each on the ratio, gamma, flatness, and how each metric stands to real speech."""
    if not _law_is_seen(report.loss.quality):
        return ["these runs support no law of the loss, and nothing that follows from one: see the warnings"]
    lines = [_ratio(report), *_outside(report), *_gamma(report), *_flatness(report)]
    largest = report.budgets[-1].C
    lines += [line for name, metric in report.metrics.items() for line in _against_real(name, metric, largest)]
    return lines


def _law_is_seen(quality: LossQuality) -> bool:
    """Return whether the law says more than a constant: the rule of ``support``, which adjusts errors for the fit."""
    n, free, skill = quality.n, quality.free, quality.skill_constant
    adjusted = math.sqrt((n - 1) / (n - free)) if n > free else 1.0
    return skill is not None and adjusted * (1 - skill) <= 1 - LEAST_SKILL


def _ratio(report: FitReport) -> str:
    """Say whether r* rises or falls."""
    power = report.loss.coefficients["exponent_r"]
    way = "falls" if power.number < 0 else "rises"
    if power.ci95 is None:
        return f"r* = D*/N* {way} with compute, as C^{power.value:.3f}; without bootstrap it has no interval"
    low, high = power.ci95
    if low < 0 < high:
        return (
            f"whether r* = D*/N* rises or falls with compute is not determined: C^{power.value:.3f}, "
            f"95 % [{low:.3f}, {high:.3f}]"
        )
    return f"r* = D*/N* {way} with compute, as C^{power.value:.3f}, 95 % [{low:.3f}, {high:.3f}]"


def _outside(report: FitReport) -> list[str]:
    """Name the budgets whose optimum lies outside of the sizes that were trained at them."""
    if scattered([budget.n_points for budget in report.budgets]):
        return []
    low, high = [], []
    for index, (budget, best) in enumerate(zip(report.budgets, report.loss.budgets, strict=True)):
        if not budget.isoflop:
            continue
        sizes = [point.N for point in report.points if point.budget == index]
        if best.N.number < min(sizes):
            low.append(f"{budget.C:.3g}")
        elif best.N.number > max(sizes):
            high.append(f"{budget.C:.3g}")
    return [
        f"N* is {way} every size trained at C = {', '.join(budgets)}: it is extrapolated, train {models} models there"
        for way, models, budgets in (("below", "smaller", low), ("above", "larger", high))
        if budgets
    ]


def _gamma(report: FitReport) -> list[str]:
    """Say whether the outer power is needed."""
    gamma = report.loss.coefficients["gamma"]
    if report.options.gamma is not None or gamma.ci95 is None:
        return []
    low, high = gamma.ci95
    if low <= 1 <= high:
        return [f"gamma = 1 is as good: 95 % [{low:.3g}, {high:.3g}]"]
    return [f"gamma = 1 is outside of its interval, 95 % [{low:.3g}, {high:.3g}]"]


def _flatness(report: FitReport) -> list[str]:
    """Say from which budget on the tolerated loss is more than can be gained at all."""
    epsilon, budgets = report.options.epsilon, report.loss.budgets
    beyond = [budget.C for budget, best in zip(report.budgets, budgets, strict=True) if epsilon > best.excess.number]
    if not beyond:
        return []
    return [f"epsilon = {epsilon:g} is more than L* - E from C = {beyond[0]:.3g} on: such ranges say little"]


def _against_real(name: str, metric: MetricReport, largest: float) -> list[str]:
    """Say whether compute alone brings a metric into real speech's band."""
    reach = metric.reaches
    if reach is None:
        return []
    share = "" if reach.share is None else f" ({100 * reach.share:.0f} % of the bootstrap fits do)"
    low, high = reach.band
    band = f"real speech's band [{low:.4g}, {high:.4g}]"
    if reach.C is None:
        limit = metric.limit
        ends = limit.ci95
        around = "" if ends is None else f", 95 % [{ends[0]:.4g}, {ends[1]:.4g}]"
        return [f"{name} does not reach {band} at any compute{share}: its limit is {limit.value:.4g}{around}"]
    if reach.C == 0:
        return [f"{name} is in {band} at any compute{share}"]
    beyond = reach.C / largest
    if beyond > FARTHEST:
        return [f"{name} does not reach {band} within {FARTHEST:,.0f} times the largest budget{share}"]
    how_far = f", {beyond:.3g} times the largest budget" if beyond > 1 else ""
    return [f"{name} reaches {band} at C = {reach.C:.3g}{how_far}{share}"]
