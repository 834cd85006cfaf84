"""Everything that follows from a law, with intervals: the law itself gives the value, its bootstrap draws the spread.

Intervals are the middle 95 % of the draws, of each quantity for itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from slm_eval.base.arrays import Floats
from slm_eval.scaling.findings.report import (
    Curve,
    Estimate,
    LawColumns,
    MetricOptimumEstimates,
    OptimumEstimates,
    Quality,
    Resampling,
)
from slm_eval.scaling.law import FLOPS_PER_TOKEN, LossLaw, MetricLaw

if TYPE_CHECKING:
    from slm_eval.scaling.fitting.bootstrap import Bootstrap
    from slm_eval.scaling.fitting.clustering import Clustering
    from slm_eval.scaling.fitting.fit import LossFit
    from slm_eval.scaling.fitting.metric_law import MetricFit

Law = TypeVar("Law", LossLaw, MetricLaw)
OfBudget = TypeVar("OfBudget", OptimumEstimates, MetricOptimumEstimates)
AnyQuality = TypeVar("AnyQuality", bound=Quality)
LEVEL = (0.025, 0.975)
_LARGEST_LOG = 150.0  # of an optimal size: its square, in a curvature, is still a float
FEWEST_DRAWS = 40  # whose 2.5 % quantile lies between the first and the second


def estimates(
    law: Law, draws: Sequence[Law], quantities: Callable[[Law], dict[str, Floats]]
) -> dict[str, tuple[Floats, Floats | None]]:
    """Return name -> value and its interval (2, ...), or None where there are no draws.

    Args:
        quantities: those of one law, each of any shape.
    """
    values = quantities(law)
    if not draws:
        return {name: (value, None) for name, value in values.items()}
    drawn = [quantities(draw) for draw in draws]
    return {
        name: (value, np.quantile(np.stack([draw[name] for draw in drawn]), LEVEL, axis=0))
        for name, value in values.items()
    }


def has_optima(law: LossLaw | MetricLaw, compute: Floats) -> bool:
    """Return whether N* and D* of these budgets are numbers: without an optimum in the data they are beyond floats."""
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

    @property
    def resampling(self) -> Resampling | None:
        """Return what was drawn and why; None where nothing was."""
        return None if self.unit is None else Resampling(self.unit, self.why, self.clustering)


def with_optima(bootstrap: Bootstrap[Law], compute: Floats) -> Drawn[Law]:
    """Return the draws that have optima, with a sentence where others were left out."""
    kept = [law for law in bootstrap.laws if has_optima(law, compute)]
    doubts = list(bootstrap.warnings)
    if len(kept) < len(bootstrap.laws):
        lost = f"{len(bootstrap.laws) - len(kept)} of {len(bootstrap.laws)}"
        doubts.append(f"{lost} bootstrap fits have no optimum and are left out: intervals are too narrow")
    return Drawn(kept, doubts, bootstrap.unit, bootstrap.why, bootstrap.clustering)


def optima(law: LossLaw, compute: Floats, epsilon: float, frame_rate: float) -> dict[str, Floats]:
    """Return, for each budget, its best run, how flat the isoFLOP is there, and the range within epsilon.

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
    """Return the sizes, as multiples of N*, whose loss exceeds L* by a share of L* - E; the same everywhere."""
    within = law.range(FLOPS_PER_TOKEN, epsilon, relative=True)
    return {"from": np.exp(within.t_lo), "to": np.exp(within.t_hi), "decades": within.decades}


def growth(law: LossLaw, compute: Floats, epsilon: float, first: float) -> dict[str, Floats]:
    """Return curvatures and widths of budgets relative to those of the first."""
    now, before = optima(law, compute, epsilon, 1.0), optima(law, np.array(first), epsilon, 1.0)
    names = ("curvature_linear_N", "curvature_linear_D", "curvature_log", "width_N", "width_D", "ratio_of_ends")
    return {name: now[name] / before[name] for name in names}


def scalars(law: LossLaw | MetricLaw) -> dict[str, Floats]:
    """Return coefficients, and exponents of C: ``exponent_N`` is that of N*, and so on."""
    powers = law.exponents
    values = {name: value for name, value in vars(law).items() if name in _COEFFICIENTS}
    values |= {"exponent_N": powers.N, "exponent_D": powers.D, "exponent_r": powers.r, "exponent_excess": powers.excess}
    if isinstance(law, MetricLaw):
        values["limit"] = law.limit
    return {name: np.asarray(value, dtype=np.float64) for name, value in values.items()}


_COEFFICIENTS = ("E", "low", "high", "c", "A", "B", "alpha", "beta", "gamma")


def estimate(value: float | Floats, interval: Floats | None = None) -> Estimate:
    """Return a number with its interval, None where there is none, or where an end is beyond all numbers."""
    if interval is None or not np.isfinite(interval).all():
        return Estimate(plain(value), None)
    return Estimate(plain(value), (float(interval[0]), float(interval[1])))


def estimates_by_budget(
    kind: type[OfBudget], quantities: dict[str, tuple[Floats, Floats | None]], count: int
) -> list[OfBudget]:
    """Return quantities of shape (count,) as one ``kind``, with a field for each of them, for each budget."""
    return [
        kind(
            **{
                name: estimate(value[index], None if ends is None else ends[:, index])
                for name, (value, ends) in quantities.items()
            }
        )
        for index in range(count)
    ]


def curve(value: Floats, ends: Floats | None) -> Curve:
    """Return a quantity along compute, for a figure."""
    if ends is None or not np.isfinite(ends).all():
        return Curve(value.tolist(), None, None)
    return Curve(value.tolist(), ends[0].tolist(), ends[1].tolist())


def quality(kind: type[AnyQuality], fit: LossFit | MetricFit, held_out: float | None, **more: Any) -> AnyQuality:
    """Return how well a fit went.

    Args:
        kind: the class of what is returned; ``more`` are the fields that it adds to ``Quality``.
        held_out: mean relative error on runs that the fit has not seen.
    """
    return kind(
        n=fit.n,
        runs=fit.runs,
        mre_train=fit.mre,
        mre_held_out=held_out,
        skill_constant=plain(fit.skill),
        skill_compute=plain(fit.skill_compute),
        objective=fit.objective,
        converged=fit.converged,
        agreement=fit.agreement,
        bounds_hit=fit.bounds_hit,
        method=fit.method,
        delta=fit.delta,
        free=fit.free,
        **more,
    )


def plain(value: float | Floats | None) -> float | None:
    """Return a float; None where it is no number."""
    return None if value is None or not math.isfinite(value) else float(value)


def columns_from_laws(laws: Sequence[LossLaw] | Sequence[MetricLaw]) -> LawColumns:
    """Return the coefficients of many laws to 9 digits: draws are random, and a file holds thousands."""
    if not laws:
        return {}
    return {field.name: [float(f"{getattr(law, field.name):.9g}") for law in laws] for field in fields(laws[0])}


def laws_from_columns(kind: type[Law], columns: LawColumns) -> list[Law]:
    """Return the laws whose coefficients these are."""
    names = [field.name for field in fields(kind)]
    return [kind(*row) for row in zip(*(columns[name] for name in names), strict=True)] if columns else []
