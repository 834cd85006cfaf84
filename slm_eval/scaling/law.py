"""The laws of section 4 of arXiv 2604.24416 in closed form: what a fitted surface says about models never trained.

``LossLaw`` is equation 4.1, L = E + (A/N^alpha + B/D^beta)^gamma, with N parameters and D frames (tokens, or whatever
unit of data was fitted). ``MetricLaw`` is equation 4.3 in the form whose parameters can be identified: see there. Both
are callable and share the closed forms of one budget C = k N D: with s = alpha + beta,
G = (alpha A / (beta B))^(1/s), N* = G (C/k)^(beta/s) and D* = (C/k)^(alpha/s) / G. None depends on E or gamma.

Everything takes numbers or arrays and broadcasts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slm_eval.base.arrays import Floats
from slm_eval.base.errors import UsageError

# C = 6 N D: two operations per weight forward, four backward (section 4).
FLOPS_PER_TOKEN = 6.0

# ln of the largest number whose square a float holds: e^700 is 1e304.
LARGEST_LOG = 350.0


@dataclass(frozen=True)
class Exponents:
    """Powers of C with which compute-optimal quantities change: N* ~ C^N, and so on. ``excess`` is that of L* - E."""

    N: float
    D: float
    r: float
    excess: float


@dataclass(frozen=True)
class Optimum:
    """The compute-optimal run of each budget, and how flat the isoFLOP is there. Arrays of the shape of ``C``.

    Attributes:
        N, D, r: parameters, frames, and D / N.
        loss: L*; ``excess`` is L* - E.
        curvature_log: d²L / d(ln N)², the same in ln D. Times (ln 10)² for an axis in decades.
        curvature_linear_N, curvature_linear_D: d²L / dN² and d²L / dD². The slope vanishes at the optimum, so these
            are geometric curvatures too. The paper draws one of them: most of their fall is N* or D* growing.
    """

    C: Floats
    N: Floats
    D: Floats
    r: Floats
    loss: Floats
    excess: Floats
    curvature_log: Floats
    curvature_linear_N: Floats
    curvature_linear_D: Floats


@dataclass(frozen=True)
class Range:
    """The models of one budget whose loss is within epsilon of the optimum. Arrays of the shape of ``C``.

    Attributes:
        N_lo, N_hi, D_lo, D_hi: the ends; N_hi belongs to D_lo.
        t_lo, t_hi: ln(N / N*) at the ends, below and above 0.
        decades: log10(N_hi / N_lo), the same in D.
    """

    C: Floats
    N_lo: Floats
    N_hi: Floats
    D_lo: Floats
    D_hi: Floats
    t_lo: Floats
    t_hi: Floats
    decades: Floats


@dataclass(frozen=True)
class MetricOptimum:
    """The compute-optimal run of each budget and the metric it reaches. Arrays of the shape of ``C``."""

    C: Floats
    N: Floats
    D: Floats
    r: Floats
    metric: Floats


class _Surface:
    """The closed forms of A/N^alpha + B/D^beta alone, whatever is made of it."""

    A: float
    B: float
    alpha: float
    beta: float
    gamma: float

    def _check(self, **others: float) -> None:
        """Refuse coefficients with which nothing below has a meaning."""
        above_0 = {"A": self.A, "B": self.B, "alpha": self.alpha, "beta": self.beta, "gamma": self.gamma}
        for name, value in {**above_0, **others}.items():
            if not math.isfinite(value):
                raise UsageError(f"{name} of a scaling law: expected a finite number, got {value}")
            if name in above_0 and value <= 0:
                raise UsageError(f"{name} of a scaling law: expected a number above 0, got {value}")

    @property
    def G(self) -> float:
        """Return (alpha A / (beta B))^(1 / (alpha + beta)): N* of the budget C = k.

        Raises:
            UsageError: it is beyond floats, as of a law of runs without an optimum, in which A or B vanish.
        """
        log = (math.log(self.alpha / self.beta) + math.log(self.A) - math.log(self.B)) / self._s
        if abs(log) > LARGEST_LOG:
            raise UsageError(f"this law has no optimum: N* would be e^{log:.0f} times a power of C")
        return math.exp(log)

    @property
    def exponents(self) -> Exponents:
        alpha, beta, s = self.alpha, self.beta, self._s
        return Exponents(N=beta / s, D=alpha / s, r=(alpha - beta) / s, excess=-self.gamma * alpha * beta / s)

    def compute_at_ratio(self, ratio: npt.ArrayLike, flops_per_token: float = FLOPS_PER_TOKEN) -> Floats:
        """Return the budget at which r* = D*/N* is ``ratio``: k (R G²)^(s / (alpha - beta)).

        Raises:
            UsageError: alpha equals beta, so that r* is the same at every budget; or a ratio that is not above 0.
        """
        ratio = _positive("a ratio of frames to parameters", ratio)
        if self.alpha == self.beta:
            raise UsageError(f"alpha equals beta, so D*/N* is {self.G**-2:.4g} at every budget: there is no crossing")
        return flops_per_token * (ratio * self.G**2) ** (self._s / (self.alpha - self.beta))

    @property
    def _s(self) -> float:
        return self.alpha + self.beta

    def _inner(self, N: npt.ArrayLike, D: npt.ArrayLike) -> Floats:
        """Return (A/N^alpha + B/D^beta)^gamma."""
        N, D = _positive("N", N), _positive("D", D)
        return (self.A * N**-self.alpha + self.B * D**-self.beta) ** self.gamma

    def _allocate(self, C: npt.ArrayLike, flops_per_token: float) -> tuple[Floats, Floats, Floats]:
        """Return C, N* and D*."""
        C, powers = _positive("a budget C", C), self.exponents
        pairs = C / _positive("the FLOPs per parameter and frame", flops_per_token)
        return C, self.G * pairs**powers.N, pairs**powers.D / self.G

    def _best_inner(self) -> float:
        """Return A/N^alpha + B/D^beta at the optimum of C = k; at C it is this times (C/k)^(-alpha beta / s)."""
        return self.A * self.G**-self.alpha + self.B * self.G**self.beta


@dataclass(frozen=True)
class LossLaw(_Surface):
    """L(N, D) = E + (A/N^alpha + B/D^beta)^gamma.

    >>> round(float(PUBLISHED.optimal(1e21).r), 2)
    245.27
    """

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    gamma: float

    def __post_init__(self) -> None:
        self._check(E=self.E)
        if self.E < 0:
            raise UsageError(f"E of a scaling law: expected a number not below 0, got {self.E}")

    def __call__(self, N: npt.ArrayLike, D: npt.ArrayLike) -> Floats:
        """Return the loss of models with N parameters trained on D frames. N and D broadcast."""
        return self.E + self._inner(N, D)

    def optimal(self, C: npt.ArrayLike, flops_per_token: float = FLOPS_PER_TOKEN) -> Optimum:
        """Return the best model and data sizes of budgets ``C`` in FLOPs, and the curvature there."""
        C, N, D = self._allocate(C, flops_per_token)
        excess = self._best_inner() ** self.gamma * (C / flops_per_token) ** self.exponents.excess
        curvature = self.alpha * self.beta * self.gamma * excess
        return Optimum(C, N, D, D / N, self.E + excess, excess, curvature, curvature / N**2, curvature / D**2)

    def range(
        self, C: npt.ArrayLike, eps: float, relative: bool = False, flops_per_token: float = FLOPS_PER_TOKEN
    ) -> Range:
        """Return the models of budgets ``C`` whose loss is at most L* + eps.

        With ``relative``, eps is a share of L* - E, and the range is then equally wide, in decades, at every budget.
        An absolute one widens because L* - E shrinks; where it exceeds L* - E it says little.

        Raises:
            UsageError: eps not above 0.
        """
        best = self.optimal(C, flops_per_token)
        share = (
            _positive("epsilon", eps) * np.ones_like(best.excess)
            if relative
            else _positive("epsilon", eps) / best.excess
        )
        t_lo, t_hi = _roots(np.expm1(np.log1p(share) / self.gamma), self.alpha, self.beta)
        return Range(
            best.C,
            N_lo=best.N * np.exp(t_lo),
            N_hi=best.N * np.exp(t_hi),
            D_lo=best.D * np.exp(-t_hi),
            D_hi=best.D * np.exp(-t_lo),
            t_lo=t_lo,
            t_hi=t_hi,
            decades=(t_hi - t_lo) / math.log(10),
        )


@dataclass(frozen=True)
class Sigmoid:
    """Equation 4.2, from loss to metric: M = low + (high - low) / (1 + exp(-k (L - L0)))."""

    low: float
    high: float
    L0: float
    k: float

    def __call__(self, loss: npt.ArrayLike) -> Floats:
        """Return the metric of models of this loss."""
        return self.low + (self.high - self.low) * expit(self.k * (np.asarray(loss, dtype=np.float64) - self.L0))


@dataclass(frozen=True)
class MetricLaw(_Surface):
    """M(N, D) = low + (high - low) / (1 + exp(-(c + (A/N^alpha + B/D^beta)^gamma))).

    Equation 4.3 has ten parameters, of which eight can be told from data: M depends on E and L0 only through E - L0,
    and k can be moved into A and B. This form has the eight: c = k (E - L0), and A and B are k^(1/gamma) times those
    of the loss. With k > 0, which exchanging low and high allows, ``low`` is where the metric goes as the loss falls
    for ever, and ``high`` where it starts: low > high for a metric of which more is better.
    """

    low: float
    high: float
    c: float
    A: float
    B: float
    alpha: float
    beta: float
    gamma: float

    def __post_init__(self) -> None:
        self._check(low=self.low, high=self.high, c=self.c)

    @classmethod
    def from_sigmoid(cls, law: LossLaw, low: float, high: float, L0: float, k: float) -> MetricLaw:
        """Return the law of the paper's ten parameters: M = low + (high - low) / (1 + exp(-k (L - L0))), L by ``law``.

        Raises:
            UsageError: k is 0, which makes the metric a constant.
        """
        if k == 0:
            raise UsageError("the sharpness k of a sigmoid is 0, which makes the metric a constant")
        if k < 0:
            low, high, k = high, low, -k
        scale = k ** (1 / law.gamma)
        return cls(low, high, k * (law.E - L0), scale * law.A, scale * law.B, law.alpha, law.beta, law.gamma)

    def to_sigmoid(self, E: float, A: float) -> tuple[LossLaw, Sigmoid]:
        """Return the paper's ten parameters, which are any ten with this E and A: take these from a fit of the loss."""
        k = (self.A / A) ** self.gamma
        law = LossLaw(E, A, self.B * k ** (-1 / self.gamma), self.alpha, self.beta, self.gamma)
        return law, Sigmoid(self.low, self.high, E - self.c / k, k)

    def __call__(self, N: npt.ArrayLike, D: npt.ArrayLike) -> Floats:
        """Return the metric of models with N parameters trained on D frames. N and D broadcast."""
        return self._squash(self._inner(N, D))

    @property
    def limit(self) -> float:
        """Return M_inf, what the compute-optimal metric approaches as C grows: low + (high - low) sigmoid(c)."""
        return float(self._squash(np.float64(0.0)))

    def optimal(self, C: npt.ArrayLike, flops_per_token: float = FLOPS_PER_TOKEN) -> MetricOptimum:
        """Return the best model and data sizes of budgets ``C``, those of the loss (M is monotone in it), and M*."""
        C, N, D = self._allocate(C, flops_per_token)
        inner = self._best_inner() ** self.gamma * (C / flops_per_token) ** self.exponents.excess
        return MetricOptimum(C, N, D, D / N, self._squash(inner))

    def reaches(self, band: tuple[float, float], flops_per_token: float = FLOPS_PER_TOKEN) -> float | None:
        """Return the budget at which M* enters real speech's band (lowest, highest); None where no budget is enough.

        0 where the law is inside the band at any budget, however small. A law that crosses the band and leaves it on
        the other side does reach it.

        Raises:
            UsageError: the band's ends are not in order.
        """
        if not band[0] <= band[1]:
            raise UsageError(f"expected a band (lowest, highest), got {band}")
        # From the start, `high`, towards `limit`: the near end of the band is what has to be passed.
        if band[0] <= self.high <= band[1]:
            return 0.0
        near = band[1] if self.high > band[1] else band[0]
        if (near - self.high) * (near - self.limit) >= 0:
            return None
        share = (near - self.low) / (self.high - self.low)
        inner = math.log(share / (1 - share)) - self.c
        return float(flops_per_token * (inner / self._best_inner() ** self.gamma) ** (1 / self.exponents.excess))

    def _squash(self, inner: Floats) -> Floats:
        return self.low + (self.high - self.low) * expit(self.c + inner)


def expit(x: Floats) -> Floats:
    """Return 1 / (1 + exp(-x)), by scipy, which is loaded when it is first needed."""
    from scipy.special import expit as scipy_expit

    return scipy_expit(x)


def _positive(what: str, values: npt.ArrayLike) -> Floats:
    """Return float64; refuse what has no place in a power law."""
    array = np.asarray(values, dtype=np.float64)
    bad = ~(np.isfinite(array) & (array > 0))
    if bad.any():
        raise UsageError(f"{what}: expected a finite number above 0, got {array[bad].flat[0]}")
    return array[()]


def _roots(rise: Floats, alpha: float, beta: float) -> tuple[Floats, Floats]:
    """Return both t with (beta/s) (e^(-alpha t) - 1) + (alpha/s) (e^(beta t) - 1) = rise, one on either side of 0.

    The left side is convex with its minimum 0 at t = 0, so Newton's method from outside comes in without overshooting.
    """
    s = alpha + beta
    ends = -np.log((1 + rise) * s / beta) / alpha, np.log((1 + rise) * s / alpha) / beta
    roots = []
    for t in ends:
        for _ in range(100):
            falling, rising = np.expm1(-alpha * t), np.expm1(beta * t)
            step = ((beta * falling + alpha * rising) / s - rise) / ((rising - falling) * alpha * beta / s)
            t = t - step
            # The error is now the square of this: rounding.
            if np.all(np.abs(step) <= 1e-9 * np.abs(t)):
                break
        roots.append(t)
    return roots[0], roots[1]


# Section 4.2 of the paper. D counts frames of 80 Hz, N parameters.
PUBLISHED = LossLaw(E=0.0055, A=0.0638, B=29.7667, alpha=0.3995, beta=0.5644, gamma=0.7051)
