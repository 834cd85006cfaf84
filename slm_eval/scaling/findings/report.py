"""The report of a fit: all that fit.json holds, with names and types. Tables, figures and predictions read it alone.

Fields stand in the order of the file. ``to_dict`` and ``from_dict`` convert all of it by its types.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, TypeAlias, get_args, get_origin, get_type_hints

from slm_eval.scaling.findings.context import Options
from slm_eval.scaling.fitting.clustering import Clustering
from slm_eval.scaling.fitting.isoflop import IsoflopMinimum
from slm_eval.scaling.law import LossLaw, MetricLaw
from slm_eval.scaling.runs.real import Real

Interval: TypeAlias = tuple[float, float]
# Coefficients of many laws: name -> one for each.
LawColumns: TypeAlias = dict[str, list[float]]


@dataclass(frozen=True)
class Estimate:
    """A quantity and its 95 % interval; ``value`` is None where it is no number, ``ci95`` where there is none."""

    value: float | None
    ci95: Interval | None

    @property
    def number(self) -> float:
        """Return the value of a quantity that always has one."""
        assert self.value is not None, "this quantity is finite in every law that has optima"
        return self.value


@dataclass(frozen=True)
class Curve:
    """A quantity along compute with the ends of its interval."""

    value: list[float]
    lo: list[float] | None
    hi: list[float] | None


@dataclass(frozen=True)
class Source:
    """The table of runs; ``seeds`` has the fewest and the most of a point."""

    name: str
    n_runs: int
    n_points: int
    seeds: tuple[int, int]


@dataclass(frozen=True)
class Budget:
    """A budget of the table; ``isoflop`` says whether it has enough sizes for a curve of its own."""

    C: float
    isoflop: bool
    n_points: int
    n_runs: int
    held_out: bool


@dataclass(frozen=True)
class Behaviour:
    """Counts of budgets with an optimum between their sizes, and of steps of compute that improve the best."""

    budgets: int
    interior: int
    steps: int
    improved: int


@dataclass(frozen=True)
class Column:
    """A metric of the table, whether it was fitted or not; a limit of None is infinite."""

    key: str
    guidance: str | None
    higher_is_better: bool
    limits: tuple[float | None, float | None]
    real: Real | None
    isoflop: Behaviour


@dataclass(frozen=True)
class MeanOfSeeds:
    """A metric of one point: None where it was not measured, or the sd has one seed."""

    value: float | None
    sd: float | None


@dataclass(frozen=True)
class Point:
    """Means over the seeds of one N and D; ``budget`` is an index into ``FitReport.budgets``."""

    budget: int
    N: float
    D: float
    n_seeds: int
    held_out: bool
    loss: float
    loss_sd: float | None
    metrics: dict[str, MeanOfSeeds]


@dataclass(frozen=True)
class Quality:
    """Errors and skill of a law; names as of ``fit.LossFit``, shares and skills None where they are no numbers."""

    n: int
    runs: int
    mre_train: float
    mre_held_out: float | None
    skill_constant: float | None
    skill_compute: float | None
    objective: float
    converged: bool
    agreement: float
    bounds_hit: tuple[str, ...]
    method: str
    delta: float
    free: int


@dataclass(frozen=True)
class LossQuality(Quality):
    """Also the error of what models can change at all."""

    mre_excess: float


@dataclass(frozen=True)
class MetricQuality(Quality):
    """Also whether the metric was fitted jointly with the loss."""

    tied: bool


@dataclass(frozen=True)
class Resampling:
    """The unit that the bootstrap drew, why, and how residuals cluster."""

    unit: str
    why: str | None
    clustering: Clustering | None


@dataclass(frozen=True)
class RelativeRange:
    """Sizes, as multiples of N*, whose loss is at most ``epsilon`` (L* - E) above L*."""

    epsilon: float
    from_: Estimate
    to: Estimate
    decades: Estimate


@dataclass(frozen=True)
class Ratio:
    """The compute ``C`` at which r* is ``ratio``, ``text`` in text tokens; ``problem``: why one is missing."""

    ratio: float
    text: float
    C: Estimate | None
    problem: str | None


@dataclass(frozen=True)
class LossCurves:
    """Compute-optimal quantities along the budgets ``C``."""

    C: list[float]
    N: Curve
    D: Curve
    r: Curve
    loss: Curve
    excess: Curve


@dataclass(frozen=True)
class OptimumEstimates:
    """The best run of a budget, how flat the isoFLOP is there, and the range within epsilon, as ``optima`` has them."""

    N: Estimate
    D: Estimate
    r: Estimate
    hours: Estimate
    loss: Estimate
    excess: Estimate
    curvature_log: Estimate
    curvature_linear_N: Estimate
    curvature_linear_D: Estimate
    N_lo: Estimate
    N_hi: Estimate
    D_lo: Estimate
    D_hi: Estimate
    width_N: Estimate
    width_D: Estimate
    decades: Estimate
    ratio_of_ends: Estimate


@dataclass(frozen=True)
class MetricOptimumEstimates:
    """The best run of a budget by a metric's own law."""

    N: Estimate
    D: Estimate
    r: Estimate
    metric: Estimate


@dataclass(frozen=True)
class LossReport:
    """All that follows from the loss law; ``growth``: name -> curvature or width relative to the smallest budget's."""

    law: LossLaw
    coefficients: dict[str, Estimate]
    quality: LossQuality
    bootstrap: Resampling | None
    budgets: list[OptimumEstimates]
    relative_range: RelativeRange
    behaviour: Behaviour
    ratio: Ratio
    isoflop: list[IsoflopMinimum]
    curve: LossCurves
    growth: dict[str, Curve]


@dataclass(frozen=True)
class Allocation:
    """D* of a metric's own law along compute."""

    D: Curve


@dataclass(frozen=True)
class Reach:
    """The compute at which the optimum enters real speech's band.

    Attributes:
        C: None where no compute is enough, 0 where any is.
        share: of the bootstrap fits that enter it; None without them.
    """

    C: float | None
    share: float | None
    band: Interval


@dataclass(frozen=True)
class PaperLaw:
    """The ten parameters of equation 4.3; ``fixed`` names those that are the loss law's and not this fit's."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    gamma: float
    low: float
    high: float
    L0: float
    k: float
    fixed: tuple[str, ...]


@dataclass(frozen=True)
class MetricReport:
    """All that follows from a metric's law."""

    key: str
    guidance: str | None
    higher_is_better: bool
    real: Real | None
    law: MetricLaw
    coefficients: dict[str, Estimate]
    limit: Estimate
    quality: MetricQuality
    bootstrap: Resampling | None
    budgets: list[MetricOptimumEstimates]
    curve: Curve
    allocation: Allocation
    reaches: Reach | None
    paper: PaperLaw | None
    warnings: list[str]


@dataclass(frozen=True)
class Draws:
    """Coefficients of the laws of resampled runs, of the loss and by metric."""

    loss: LawColumns
    metrics: dict[str, LawColumns]


@dataclass(frozen=True)
class FitReport:
    """All that ``slm-eval scaling fit`` found out: the object of fit.json."""

    schema: int
    version: str
    environment: dict[str, str]
    source: Source
    options: Options
    budgets: list[Budget]
    columns: dict[str, Column]
    points: list[Point]
    loss: LossReport
    metrics: dict[str, MetricReport]
    not_fitted: dict[str, str]
    warnings: list[str]
    conclusions: list[str]
    draws: Draws

    def to_dict(self) -> dict[str, Any]:
        """Return the object of fit.json."""
        return asdict(self, dict_factory=lambda items: {name.rstrip("_"): value for name, value in items})

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> FitReport:
        """Return the report of an object of fit.json.

        Raises:
            ValueError: it has other names or other types than a report.
        """
        return _read(cls, content, "fit")


def _read(expected: Any, content: Any, where: str) -> Any:
    """Return what JSON holds as the type it was written from; ``where`` names the place, for messages."""
    origin, arguments = get_origin(expected), get_args(expected)
    if origin is types.UnionType:  # X | None
        return None if content is None else _read(arguments[0], content, where)
    if is_dataclass(expected):
        return _read_fields(expected, content, where)
    if origin is dict and isinstance(content, dict):
        return {name: _read(arguments[1], value, f"{where}.{name}") for name, value in content.items()}
    if origin is list and isinstance(content, list):
        return [_read(arguments[0], value, f"{where}[{index}]") for index, value in enumerate(content)]
    if origin is tuple and isinstance(content, list):
        types_of = [arguments[0]] * len(content) if Ellipsis in arguments else arguments
        if len(types_of) == len(content):
            pairs = zip(types_of, content, strict=True)
            return tuple(_read(part, value, f"{where}[{index}]") for index, (part, value) in enumerate(pairs))
    if expected is float and isinstance(content, int | float) and not isinstance(content, bool):
        return content
    if expected in (int, str, bool) and type(content) is expected:
        return content
    name = expected.__name__ if isinstance(expected, type) and origin is None else str(expected)
    raise ValueError(f"{where}: expected {name}, got {type(content).__name__}")


def _read_fields(expected: Any, content: Any, where: str) -> Any:
    """Return a dataclass of the entries of a JSON object."""
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected an object, got {type(content).__name__}")
    hints = get_type_hints(expected)
    names = {field.name: field.name.rstrip("_") for field in fields(expected)}
    if missing := [name for name in names.values() if name not in content]:
        raise ValueError(f"{where}: expected an entry {missing[0]!r}, got {', '.join(content) or 'none'}")
    values = {field: _read(hints[field], content[name], f"{where}.{name}") for field, name in names.items()}
    return expected(**values)
