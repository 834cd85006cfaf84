"""One way to fit any of the laws: the fast optimiser from many starts, or the paper's from one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from slm_eval.base.arrays import Floats
from slm_eval.base.errors import UsageError, unknown_name
from slm_eval.scaling.fitting.basin import basin_hopping
from slm_eval.scaling.fitting.levenberg import ROUNDING, Projection, Which, minimise

METHODS = ("fast", "paper")
# Starts agree that end within this share of the lowest objective.
AGREE = 1e-6
# With fewer of them at the minimum, that it is the lowest is said to be in doubt.
FEW_AGREE = 0.25


class Surface(Protocol):
    """A law in the coordinates it is fitted in, at given points: theta (P,), P names, bounds and residuals."""

    names: tuple[str, ...]
    lower: Floats
    upper: Floats

    def residuals(self, theta: Floats, which: Which) -> tuple[Floats, Floats]:
        """Return residuals (B, n) and their derivatives (B, P, n) of theta (B, P) of problems ``which`` (B,)."""
        ...


@dataclass(frozen=True)
class Solver:
    """Settings of the search for the minimum of sum_i w_i Huber(r_i; delta).

    Attributes:
        method: "fast" is batched Levenberg-Marquardt; "paper" is basin hopping, some hundred times slower.
        delta: where the Huber loss turns from quadratic to linear, in units of the residuals.
        starts: of the fast method.
        iterations, seed: of basin hopping.
    """

    method: str
    delta: float
    starts: int
    iterations: int
    seed: int

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise unknown_name("method", self.method, METHODS)
        if not (np.isfinite(self.delta) and self.delta > 0):
            raise UsageError(f"delta of the Huber loss: expected a finite number above 0, got {self.delta}")
        for name, value in (("starts", self.starts), ("iterations", self.iterations)):
            if value < 1:
                raise UsageError(f"{name}: expected at least 1, got {value}")

    def solve(self, surface: Surface, starts: Floats, weights: Floats, project: Projection | None = None) -> Minimum:
        """Return the lowest minimum reached from ``starts`` (S, P), best first; ``weights`` (n,).

        Args:
            project: see ``levenberg.minimise``; basin hopping does without.
        """
        if self.method == "paper":
            basin = basin_hopping(
                surface.residuals, starts[0], surface.lower, surface.upper, weights, self.delta,
                iterations=self.iterations, seed=self.seed,
            )  # fmt: skip
            return Minimum(basin.theta, basin.objective, basin.converged, share_that_agrees(basin.objectives, weights))
        minima = minimise(
            surface.residuals, starts, surface.lower, surface.upper, weights[None], self.delta,
            which=np.zeros(len(starts), dtype=np.intp), project=project,
        )  # fmt: skip
        best = int(minima.objective.argmin())
        agreement = share_that_agrees(minima.objective, weights)
        return Minimum(minima.theta[best], float(minima.objective[best]), bool(minima.converged[best]), agreement)


@dataclass(frozen=True)
class Minimum:
    """The lowest minimum: ``theta`` (P,), and the share of starts, or of hops, that ended within 1e-6 of it."""

    theta: Floats
    objective: float
    converged: bool
    agreement: float


def doubts(minimum: Minimum) -> tuple[str, ...]:
    """Return sentences on whether the minimum is one, and the lowest."""
    notes = []
    if not minimum.converged:
        notes.append("the fit did not converge: its numbers are where the optimiser stopped")
    if minimum.agreement < FEW_AGREE:
        notes.append(f"only {minimum.agreement:.0%} of the starts ended at this minimum: others may be as good")
    return tuple(notes)


def share_that_agrees(objectives: Floats, weights: Floats) -> float:
    """Return the share within 1e-6 of the lowest; what is only rounding agrees with what is."""
    rounding = ROUNDING**2 * float(weights.sum())
    return float(np.mean(objectives <= objectives.min() * (1 + AGREE) + rounding))


def bounds_hit(surface: Surface, theta: Floats) -> tuple[str, ...]:
    """Return the names of the parameters that end on a bound. One that was fixed is not named."""
    on_bound = (surface.lower < surface.upper) & ((theta <= surface.lower) | (theta >= surface.upper))
    return tuple(name for name, hit in zip(surface.names, on_bound, strict=True) if hit)
