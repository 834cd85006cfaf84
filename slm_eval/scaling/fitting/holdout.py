"""Does the law say what larger budgets bring? Fitted to the smaller ones, it is tested on the largest.

By compute and never at random: between neighbours on one isoFLOP curve any smooth surface predicts well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats
from slm_eval.base.errors import UsageError
from slm_eval.scaling.fitting.quality import fit_power_of_compute, mean_relative_error
from slm_eval.scaling.law import FLOPS_PER_TOKEN
from slm_eval.scaling.runs.points import SAME_BUDGET, budgets, columns, gather


class Fitted(Protocol):
    """A law with its error on what it was fitted to."""

    @property
    def mre(self) -> float: ...

    def __call__(self, N: npt.ArrayLike, D: npt.ArrayLike, /) -> Floats: ...


F = TypeVar("F", bound=Fitted)


@dataclass(frozen=True)
class HoldOut(Generic[F]):
    """A law fitted to the smaller budgets and its errors.

    Attributes:
        fit: the law, from the runs of the smaller budgets alone.
        budgets: C of those held out.
        n_train, n_held: points.
        mre_train, mre_held: mean of |fitted / measured - 1|.
        mre_held_compute: on what was held out, that of a power law in C alone, from the same runs as ``fit``.
        skill: 1 - mre_held / mre_held_compute: what the law adds to knowing C.
    """

    fit: F
    budgets: tuple[float, ...]
    n_train: int
    n_held: int
    mre_train: float
    mre_held: float
    mre_held_compute: float

    @property
    def skill(self) -> float:
        return 1 - self.mre_held / self.mre_held_compute


def hold_out(
    N: npt.ArrayLike,
    D: npt.ArrayLike,
    C: npt.ArrayLike | None,
    value: npt.ArrayLike,
    fit: Callable[[Floats, Floats, Floats], F],
    *,
    budgets_held: int = 1,
    tolerance: float = SAME_BUDGET,
) -> HoldOut[F]:
    """Fit to all but the largest budgets, and test on those.

    Args:
        N, D, value: one entry per run. Seeds of one (N, D) are averaged.
        C: compute per run, to tell budgets by; None is 6ND.
        fit: ``fit_loss_law``, ``fit_metric_law``, or either with options by ``functools.partial``. A loss fit that is
            given to the latter should come from the smaller budgets too.
        budgets_held: how many of the largest are held out.
        tolerance: runs whose C differs by less than this share are of one budget.

    Raises:
        UsageError: fewer than two budgets would be left; or as of ``fit``.
    """
    N, D, value, C = columns(N=N, D=D, value=value, C=FLOPS_PER_TOKEN * np.multiply(N, D) if C is None else C)
    label, centres = budgets(C, tolerance)
    if not 1 <= budgets_held <= centres.size - 2:
        raise UsageError(
            f"{budgets_held} of {centres.size} budgets to be held out: 1 at least, and 2 have to be left to fit"
        )
    held = label >= centres.size - budgets_held
    train, test = gather(N[~held], D[~held], value[~held]), gather(N[held], D[held], value[held])
    fitted = fit(N[~held], D[~held], value[~held])
    by_compute = fit_power_of_compute(train)(test)
    return HoldOut(
        fitted, tuple(float(centre) for centre in centres[-budgets_held:]), train.n, test.n,
        mre_train=fitted.mre,
        mre_held=mean_relative_error(fitted(test.N, test.D), test.value),
        mre_held_compute=mean_relative_error(by_compute, test.value),
    )  # fmt: skip
