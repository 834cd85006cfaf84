"""Everything that follows from a law, with intervals: the law itself gives the value, its bootstrap draws the spread.

Intervals are the middle 95 % of the draws, of each quantity for itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from slm_eval.base.arrays import Floats
from slm_eval.scaling.law import FLOPS_PER_TOKEN, LossLaw, MetricLaw

if TYPE_CHECKING:
    from slm_eval.scaling.fitting.bootstrap import Bootstrap
    from slm_eval.scaling.fitting.clustering import Clustering
    from slm_eval.scaling.fitting.fit import LossFit
    from slm_eval.scaling.fitting.metric_law import MetricFit

Law = TypeVar("Law", LossLaw, MetricLaw)
LEVEL = (0.025, 0.975)
_LARGEST_LOG = 150.0  # of an optimal size: its square, in a curvature, is still a float
FEWEST_DRAWS = 40  # whose 2.5 % quantile lies between the first and the second


def estimates(law: Law, draws: Sequence[Law], of: Callable[[Law], dict[str, Floats]]) -> dict[str, tuple[Floats, Any]]:
    """Name -> value and its interval (2, ...), or None where there are no draws.

    Args:
        of: quantities of one law, each of any shape.
    """
    values = of(law)
    if not draws:
        return {name: (value, None) for name, value in values.items()}
    drawn = [of(each) for each in draws]
    return {
        name: (value, np.quantile(np.stack([each[name] for each in drawn]), LEVEL, axis=0))
        for name, value in values.items()
    }


def has_optima(law: LossLaw | MetricLaw, compute: Floats) -> bool:
    """Whether N* and D* of these budgets are numbers: a law of data that show none puts them beyond all floats."""
    powers = law.exponents
    log_g = (math.log(law.alpha / law.beta) + math.log(law.A) - math.log(law.B)) / (law.alpha + law.beta)
    log_pairs = np.log(compute / FLOPS_PER_TOKEN)
    ends = [*(log_g + powers.N * log_pairs), *(powers.D * log_pairs - log_g), log_g]
    return bool(np.abs(ends).max() < _LARGEST_LOG)


@dataclass(frozen=True)
class Drawn(Generic[Law]):
    """Laws of resampled runs.

    Attributes:
        doubts: sentences on what makes their intervals unreliable.
        unit, why, clustering: as of ``bootstrap.Bootstrap``; None where nothing was drawn.
    """

    laws: Sequence[Law]
    doubts: Sequence[str] = ()
    unit: str | None = None
    why: str | None = None
    clustering: Clustering | None = None

    def to_dict(self) -> dict[str, Any] | None:
        """Return what was drawn and why, for JSON; None where nothing was."""
        if self.unit is None:
            return None
        found = None if self.clustering is None else asdict(self.clustering)
        return {"unit": self.unit, "why": self.why, "clustering": found}


def with_optima(bootstrap: Bootstrap[Law], compute: Floats) -> Drawn[Law]:
    """Return the draws that have optima, with a sentence where others were left out."""
    kept = [law for law in bootstrap.laws if has_optima(law, compute)]
    doubts = list(bootstrap.warnings)
    if len(kept) < len(bootstrap.laws):
        lost = f"{len(bootstrap.laws) - len(kept)} of {len(bootstrap.laws)}"
        doubts.append(f"{lost} bootstrap fits have no optimum and are left out: intervals are too narrow")
    return Drawn(kept, doubts, bootstrap.unit, bootstrap.why, bootstrap.clustering)


def optima(law: LossLaw, compute: Floats, epsilon: float, frame_rate: float) -> dict[str, Floats]:
    """Of each budget: its best run, how flat the isoFLOP is there, and the range within epsilon.

    ``curvature_log`` is in ln N, the same as in ln D; ``width_N`` and ``width_D`` are lengths on linear axes,
    ``ratio_of_ends`` is N_hi / N_lo, the same as D_hi / D_lo, and ``decades`` its log10.
    """
    best, within = law.optimal(compute), law.range(compute, epsilon)
    return {
        "N": best.N,
        "D": best.D,
        "r": best.r,
        "hours": best.D / (3600 * frame_rate),
        "loss": best.loss,
        "excess": best.excess,
        "curvature_log": best.curvature_log,
        "curvature_linear_N": best.curvature_linear_N,
        "curvature_linear_D": best.curvature_linear_D,
        "N_lo": within.N_lo,
        "N_hi": within.N_hi,
        "D_lo": within.D_lo,
        "D_hi": within.D_hi,
        "width_N": within.N_hi - within.N_lo,
        "width_D": within.D_hi - within.D_lo,
        "decades": within.decades,
        "ratio_of_ends": 10**within.decades,
    }


def relative_range(law: LossLaw, epsilon: float) -> dict[str, Floats]:
    """Sizes, as multiples of N*, whose loss exceeds L* by a share of L* - E; the same at every budget."""
    within = law.range(FLOPS_PER_TOKEN, epsilon, relative=True)
    return {"from": np.exp(within.t_lo), "to": np.exp(within.t_hi), "decades": within.decades}


def growth(law: LossLaw, compute: Floats, epsilon: float, first: float) -> dict[str, Floats]:
    """How curvatures and widths of budgets relate to those of the first."""
    at, before = optima(law, compute, epsilon, 1.0), optima(law, np.array(first), epsilon, 1.0)
    names = ("curvature_linear_N", "curvature_linear_D", "curvature_log", "width_N", "width_D", "ratio_of_ends")
    return {name: at[name] / before[name] for name in names}


def scalars(law: LossLaw | MetricLaw) -> dict[str, Floats]:
    """Coefficients, and exponents of C: ``exponent_N`` is that of N*, and so on."""
    powers = law.exponents
    found = {name: value for name, value in vars(law).items() if name in _COEFFICIENTS}
    found |= {"exponent_N": powers.N, "exponent_D": powers.D, "exponent_r": powers.r, "exponent_excess": powers.excess}
    if isinstance(law, MetricLaw):
        found["limit"] = law.limit
    return {name: np.asarray(value, dtype=np.float64) for name, value in found.items()}


_COEFFICIENTS = ("E", "low", "high", "c", "A", "B", "alpha", "beta", "gamma")


def one(value: float | Floats, interval: Any) -> dict[str, Any]:
    """A number as JSON: its interval is null where there is none, or where an end is beyond all numbers."""
    known = interval is not None and bool(np.isfinite(interval).all())
    return {"value": plain(value), "ci95": [float(end) for end in interval] if known else None}


def rows(found: dict[str, tuple[Floats, Any]]) -> list[dict[str, Any]]:
    """Quantities of shape (budgets,) as an object for each budget."""
    n = len(next(iter(found.values()))[0])
    return [
        {name: one(value[at], None if ends is None else ends[:, at]) for name, (value, ends) in found.items()}
        for at in range(n)
    ]


def curve(value: Floats, ends: Any) -> dict[str, Any]:
    """A quantity along compute, for a figure."""
    known = ends is not None and bool(np.isfinite(ends).all())
    low, high = (ends[0].tolist(), ends[1].tolist()) if known else (None, None)
    return {"value": value.tolist(), "lo": low, "hi": high}


def quality(fit: LossFit | MetricFit, held_out: float | None) -> dict[str, Any]:
    """How well a fit went, for JSON.

    Args:
        held_out: mean relative error on runs that it has not seen.
    """
    return {
        "n": fit.n,
        "runs": fit.runs,
        "mre_train": fit.mre,
        "mre_held_out": held_out,
        "skill_constant": plain(fit.skill),
        "skill_compute": plain(fit.skill_compute),
        "objective": fit.objective,
        "converged": fit.converged,
        "agreement": fit.agreement,
        "bounds_hit": list(fit.bounds_hit),
        "method": fit.method,
        "delta": fit.delta,
        "free": fit.free,
    }


def plain(value: float | Floats | None) -> float | None:
    """A float for JSON, null where it is no number."""
    return None if value is None or not math.isfinite(value) else float(value)


def columns_of(laws: Sequence[LossLaw] | Sequence[MetricLaw]) -> dict[str, list[float]]:
    """Coefficients of many laws, name -> one for each, to 9 digits: draws are random, and a file holds thousands."""
    return (
        {each.name: [float(f"{getattr(law, each.name):.9g}") for law in laws] for each in fields(laws[0])}
        if laws
        else {}
    )


def laws_of(of: type[Law], columns: dict[str, list[float]]) -> list[Law]:
    """The laws again."""
    names = [each.name for each in fields(of)]
    return [of(*row) for row in zip(*(columns[name] for name in names), strict=True)] if columns else []
