"""What runs can and cannot say about a law: refused before the fit where nothing could come of it, or said after it."""

from __future__ import annotations

import numpy as np

from slm_eval.errors import UsageError
from slm_eval.scaling.law import LossLaw
from slm_eval.scaling.points import Floats, Points, budgets
from slm_eval.scaling.surface import NAMES, LossSurface

# A coefficient whose standard error, to first order, is above this share of it is called undetermined.
UNDETERMINED = 0.5
# Below this skill against a constant a law has not been seen in the data.
LEAST_SKILL = 0.2
# A fit that misses by more than this on average: the paper's bar for a law.
LARGE_ERROR = 0.05
# A term below this share of the inner sum at every point has left no trace.
NEGLIGIBLE = 0.01


def check_design(points: Points, free: int, what: str = "loss") -> tuple[str, ...]:
    """Sentences on runs that make a poor basis; ``free`` is the number of parameters to be fitted.

    Raises:
        UsageError: no law can be fitted to such runs.
    """
    if points.n < free:
        raise UsageError(
            f"{points.n} different (N, D) came, and the law has {free} free parameters: add runs of other sizes or "
            "budgets, or fix gamma"
        )
    for name, values in (("N", points.N), ("D", points.D)):
        if np.ptp(np.log(values)) < 1e-6:
            raise UsageError(
                f"all runs have the same {name} ({values[0]:.4g}): how {what} changes with it is not known"
            )
    label, _ = budgets(points.N * points.D)
    n_budgets = int(label.max()) + 1
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
    surface: LossSurface, points: Points, theta: Floats, law: LossLaw, constant_error: float
) -> tuple[str, ...]:
    """Sentences on a fitted loss law that its numbers alone would hide."""
    fitted = law(points.N, points.D)
    mre = float(np.mean(np.abs(fitted / points.value - 1)))
    notes = []
    if mre > (1 - LEAST_SKILL) * constant_error:
        notes.append(
            f"the data do not support the law: it misses by {mre:.2%} on average, a constant by {constant_error:.2%}"
        )
    elif mre > LARGE_ERROR:
        notes.append(f"the law misses by {mre:.1%} on average; the paper's bar is 5 %")
    share = 1 / (1 + law.B / law.A * points.N**law.alpha / points.D**law.beta)
    for name, term, most in (("N", "A", share.max()), ("D", "B", (1 - share).max())):
        if most < NEGLIGIBLE:
            notes.append(f"{name} has no visible effect: its term is below 1 % everywhere, so {term} means nothing")
    for name in surface.bounds_hit(theta):
        value = getattr(law, name)
        notes.append(f"{name} ended on its bound ({value:.4g}): the data do not determine it")
    errors = _standard_errors(surface, theta)
    vague = [
        f"{name} ({getattr(law, name):.3g} ± {error:.2g})"
        for name, error in zip(NAMES, errors, strict=True)
        if name in {"alpha", "beta", "gamma"} and error > UNDETERMINED * getattr(law, name)
    ]
    if vague:
        notes.append(f"the data hardly determine {', '.join(vague)}: read exponents by their bootstrap intervals")
    return tuple(notes)


def _standard_errors(surface: LossSurface, theta: Floats) -> Floats:
    """First-order standard errors of theta (6,): the scatter of residuals and the pseudo-inverse of J^T J.

    0 for a parameter that is fixed or on a bound. A rough figure, to warn by and not to report.
    """
    r, jacobian = (each[0] for each in surface.residuals(theta[None]))
    free = (theta > surface.lower) & (theta < surface.upper)
    scatter = 1.4826 * float(np.median(np.abs(r)))
    design = jacobian[free]
    errors = np.zeros(theta.size)
    errors[free] = scatter * np.sqrt(np.diag(np.linalg.pinv(design @ design.T, rcond=1e-14, hermitian=True)))
    return errors
