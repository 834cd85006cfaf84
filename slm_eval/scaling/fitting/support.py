"""Limits of what runs say about a law: refused before the fit where nothing could come of it, or said after it."""

from __future__ import annotations

import math

import numpy as np

from slm_eval.base.arrays import Floats
from slm_eval.base.errors import UsageError
from slm_eval.scaling.fitting.quality import constant_error, mean_relative_error, power_of_compute_error
from slm_eval.scaling.fitting.solver import Surface, bounds_hit
from slm_eval.scaling.law import LossLaw, MetricLaw
from slm_eval.scaling.runs.points import Points

# A coefficient whose standard error, to first order, is above this share of it is called undetermined.
UNDETERMINED = 0.5
# Below this skill against a constant a law has not been seen in the data.
LEAST_SKILL = 0.2
# A fit that misses by more than this on average: the paper's bar for a law.
LARGE_ERROR = 0.05

ON_A_BOUND = {
    "E": "E ended on its bound: these runs show no floor of the loss",
    "low": "low ended on its limit: these runs do not show where the metric goes, so M at endless C is open",
    "high": "high ended on its limit: these runs do not show where the metric starts",
    "centre": "these runs show one end of the sigmoid only: read low, high and the limit as extrapolations",
}


def check_design(points: Points, free: int, what: str = "loss") -> tuple[str, ...]:
    """Return sentences on runs that make a poor basis; ``free`` is the number of parameters to be fitted.

    Raises:
        UsageError: no law can be fitted to such runs.
    """
    if points.n < free:
        raise UsageError(
            f"{points.n} different (N, D) came, and the law has {free} free parameters: add runs of other sizes or "
            "budgets"
        )
    for name, values in (("N", points.N), ("D", points.D)):
        if np.ptp(np.log(values)) < 1e-6:
            raise UsageError(
                f"all runs have the same {name} ({values[0]:.4g}): how {what} changes with it is not known"
            )
    n_budgets = np.unique(points.budget).size
    if n_budgets == 1 and np.ptp(np.log(points.N * points.D)) < np.log(2):
        raise UsageError(
            f"all {points.n} runs have one budget (C is the same within a factor of 2): how {what} changes with "
            "compute is not known; add runs of other budgets"
        )
    notes = list(points.notes)
    if points.n == free:
        notes.append(f"{points.n} points for {free} parameters: the law passes through them and cannot be checked")
    if n_budgets == 2:
        notes.append(f"two budgets only: they cannot tell the {what} that remains from how fast it falls")
    if np.all(points.value == points.value[0]):
        raise UsageError(f"every run has the same {what} ({points.value[0]:.6g}): there is no law to fit")
    return tuple(notes)


def warn_of_fit(
    surface: Surface, points: Points, theta: Floats, law: LossLaw | MetricLaw, free: int, what: str = "loss"
) -> tuple[str, ...]:
    """Return sentences on a law that its numbers alone would hide; ``free`` is the number of parameters fitted."""
    return (*_of_errors(points, law, free, what), *_of_coefficients(surface, points, theta, law))


def _of_errors(points: Points, law: LossLaw | MetricLaw, free: int, what: str) -> list[str]:
    """Say whether there is a law in the data at all: the first answer that applies."""
    compute = points.N * points.D
    larger = points.part(compute >= np.median(compute))
    # Parameters follow noise: as in an adjusted R², errors are made what they would be without that.
    adjusted = math.sqrt((points.n - 1) / (points.n - free)) if points.n > free else 1.0

    def no_better_than(error: float, points: Points = points) -> bool:
        return adjusted * mean_relative_error(law(points.N, points.D), points.value) > (1 - LEAST_SKILL) * error

    mre, constant = mean_relative_error(law(points.N, points.D), points.value), constant_error(points)
    if no_better_than(constant):
        return [
            f"the data do not support the law: {what} hardly changes with N and D beyond its scatter (the law misses "
            f"by {mre:.2%} on average, a constant by {constant:.2%}), so its exponents mean nothing"
        ]
    if no_better_than(power_of_compute_error(points)):
        return [
            f"a power law in C alone does as well ({power_of_compute_error(points):.2%} against {mre:.2%}): these runs "
            "show no optimum within a budget, so N*, D* and r* mean nothing"
        ]
    if what != "loss" and no_better_than(constant_error(larger), larger):
        return [
            f"the {what} saturates: over the larger half of compute it changes no more than it scatters, so the law "
            "rests on the smallest runs and says little of larger ones"
        ]
    return [f"the law misses by {mre:.1%} on average; the paper's bar is 5 %"] if mre > LARGE_ERROR else []


def _of_coefficients(surface: Surface, points: Points, theta: Floats, law: LossLaw | MetricLaw) -> list[str]:
    notes = []
    mre = mean_relative_error(law(points.N, points.D), points.value)
    N, D = (np.exp(np.log(sizes).mean()) for sizes in (points.N, points.D))
    for name, ends in (
        ("N", law([points.N.min(), points.N.max()], D)),
        ("D", law(N, [points.D.min(), points.D.max()])),
    ):
        if abs(ends[1] / ends[0] - 1) < mre:
            notes.append(
                f"{name} has no visible effect: all of its range changes less than the law misses by ({mre:.2%})"
            )
    notes += [
        ON_A_BOUND.get(name, f"{name} ended on its bound: the data do not determine it")
        for name in bounds_hit(surface, theta)
    ]
    vague = [
        f"{name} ({getattr(law, name):.3g} ± {error:.2g})"
        for name, error in zip(surface.names, _standard_errors(surface, theta), strict=True)
        if name in {"alpha", "beta", "gamma"} and error > UNDETERMINED * getattr(law, name)
    ]
    if vague:
        notes.append(f"the data hardly determine {', '.join(vague)}: read exponents by their bootstrap intervals")
    return notes


def _standard_errors(surface: Surface, theta: Floats) -> Floats:
    """Return first-order standard errors of theta (P,): the scatter of residuals and the pseudo-inverse of J^T J.

    0 for a parameter that is fixed or on a bound. A rough figure, to warn by and not to report.
    """
    r, jacobian = (batch[0] for batch in surface.residuals(theta[None], np.array([0])))
    free = (theta > surface.lower) & (theta < surface.upper)
    scatter = 1.4826 * float(np.median(np.abs(r)))
    design = jacobian[free]
    errors = np.zeros(theta.size)
    errors[free] = scatter * np.sqrt(np.diag(np.linalg.pinv(design @ design.T, rcond=1e-14, hermitian=True)))
    return errors
