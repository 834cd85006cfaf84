"""Parabolas through isoFLOP curves: exact on parabolas, biased by known factors on the law, and honest at edges."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from slm_eval.base.arrays import Floats
from slm_eval.base.errors import UsageError
from slm_eval.scaling import PUBLISHED, LossLaw, isoflop_minima
from tests.scaling.known_surface import METRIC, grid, noise

N, D, C = grid(sizes=5, span=0.6)


@pytest.mark.parametrize(("half_width", "ratio"), [(0.3, 0.991), (0.6, 0.966), (1.0, 0.910), (1.5, 0.816)])
def test_the_known_bias_on_the_published_law(half_width: float, ratio: float) -> None:
    """15 noise-free sizes within 10^half_width of N*: the vertex lies at this share of it, at every budget."""
    n, d, c = grid(span=half_width)
    minima = isoflop_minima(n, d, PUBLISHED(n, d), c)
    best = PUBLISHED.optimal([minimum.C for minimum in minima])
    assert len(minima) == 10
    assert [minimum.N for minimum in minima] == pytest.approx(ratio * best.N, abs=0, rel=6e-4)
    for minimum in minima:
        assert minimum.N is not None
        assert minimum.D is not None
        assert pytest.approx(minimum.C, rel=1e-9) == 6 * minimum.N * minimum.D
        assert minimum.r == pytest.approx(minimum.D / minimum.N)
        assert not minimum.edge
        assert minimum.problem is None


def test_a_parabola_is_found_exactly() -> None:
    n = np.geomspace(1e6, 1e9, 6)
    value = 2 + 0.25 * (np.log(n) - math.log(3e7)) ** 2
    (minimum,) = isoflop_minima(n, 1e18 / n, value)
    assert (minimum.N, minimum.value, minimum.curvature) == pytest.approx((3e7, 2, 0.5), rel=1e-6)
    assert minimum.N_best == n[np.argmin(value)]


def test_curvature_is_that_of_the_law_near_the_optimum() -> None:
    n, d, c = grid(span=0.05)
    for minimum in isoflop_minima(n, d, PUBLISHED(n, d), c):
        assert minimum.curvature == pytest.approx(float(PUBLISHED.optimal(minimum.C).curvature_log), rel=0.01)


def test_a_metric_of_which_more_is_better_has_summits() -> None:
    quality = 5 - METRIC(N, D)
    for up, down in zip(
        isoflop_minima(N, D, quality, lower_is_better=False), isoflop_minima(N, D, METRIC(N, D)), strict=True
    ):
        assert pytest.approx(down.N) == up.N
        assert up.curvature == pytest.approx(-down.curvature)
        assert up.N_best == down.N_best
    assert all(minimum.N is None and "no valley" in minimum.problem for minimum in isoflop_minima(N, D, quality))


def test_seeds_are_averaged_and_budgets_told_by_c() -> None:
    one, two = PUBLISHED(N, D) * noise(N.size, 0), PUBLISHED(N, D) * noise(N.size, 1)
    twice = isoflop_minima(np.tile(N, 2), np.tile(D, 2), np.concatenate([one, two]))
    for minimum, mean in zip(twice, isoflop_minima(N, D, (one + two) / 2), strict=True):
        assert (minimum.C, minimum.N, minimum.value) == pytest.approx((mean.C, mean.N, mean.value), rel=1e-9)
    # True FLOPs of small models are not 6ND: budgets are then those of C.
    assert [minimum.C for minimum in isoflop_minima(N, D, one, C * 1.5)] == pytest.approx(1.5 * np.unique(C))


def test_sizes_that_do_not_bracket_the_optimum_are_said() -> None:
    right = np.tile(PUBLISHED.optimal(np.unique(C)).N[:, None], 5).ravel() * 0.99 < N
    for minimum in isoflop_minima(N[right], D[right], PUBLISHED(N[right], D[right])):
        assert minimum.edge
        assert minimum.problem is not None
        assert "do not bracket" in minimum.problem


def test_two_sizes_make_no_parabola() -> None:
    few = np.tile([True, False, False, False, True], 10)
    for minimum in isoflop_minima(N[few], D[few], PUBLISHED(N[few], D[few])):
        assert minimum.N is None
        assert minimum.problem == "2 sizes only: a parabola needs 3"


def test_impossible_runs_are_refused() -> None:
    with pytest.raises(UsageError, match=r"value\[0\] is nan"):
        isoflop_minima([1e6, 2e6], [1e9, 1e9], [math.nan, 1])
    with pytest.raises(UsageError, match="differ in length"):
        isoflop_minima([1e6, 2e6], [1e9, 1e9], [1, 2], [1e18])


def spread_without_gaps() -> tuple[LossLaw, Floats, Floats, Floats, npt.NDArray[np.intp]]:
    """240 points in the style of Epoch's of Hoffmann et al.: nine budgets whose C runs into minimum other."""
    law = LossLaw(E=1.8172, A=477.83, B=2143.4, alpha=0.34731, beta=0.36717, gamma=1.0)
    plan = np.array([6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21, 3e21])
    rng = np.random.default_rng(0)
    planned = rng.integers(plan.size, size=240)
    apart = rng.uniform(-1, 1, 240)
    C = plan[planned] * np.exp(0.3 * apart + 0.1 * rng.standard_normal(240))  # larger models were trained for longer
    N = law.optimal(plan[planned]).N * 10 ** (0.7 * apart)
    return law, N, C / (6 * N), C, planned


def test_compute_without_gaps_makes_no_single_budget() -> None:
    """By steps alone 77 points of C within a factor of 5.5 were one budget, with r = 4.1 where the law says 22."""
    law, n, d, c, _ = spread_without_gaps()
    loss = law(n, d) * np.exp(0.004 * np.random.default_rng(1).standard_normal(n.size))
    minima = isoflop_minima(n, d, loss, c)
    assert max(minimum.spread for minimum in minima) <= 1.21 * (1 + 1e-6)
    sound = [minimum for minimum in minima if minimum.problem is None and minimum.n > 5]
    assert len(sound) > 10
    errors = [math.log(float(minimum.N or 0) / float(law.optimal(minimum.C).N)) for minimum in sound]
    assert abs(float(np.median(errors))) < 0.1
    assert np.abs(errors).max() < math.log(2)


def test_a_named_budget_whose_compute_differs_has_a_problem() -> None:
    law, n, d, c, planned = spread_without_gaps()
    minima = isoflop_minima(n, d, law(n, d), c, budget=planned)
    assert len(minima) == 9
    for minimum in minima:
        assert minimum.problem is not None
        assert f"C differs by a factor of {minimum.spread:.3g}" in minimum.problem
    # Larger models were trained for longer, and look better than they are.
    assert all(float(minimum.N or math.inf) > 1.1 * float(law.optimal(minimum.C).N) for minimum in minima)


def test_a_curve_that_hardly_bends_has_no_vertex_at_sizes_beyond_all_numbers() -> None:
    n = np.array([1e8, 2e8, 4e8])
    (minimum,) = isoflop_minima(n, 1e18 / n, 3 - 0.1 * np.log(n) + 1e-9 * np.log(n / 2e8) ** 2)
    assert (minimum.N, minimum.edge) == (None, True)
    assert minimum.problem == "the vertex is farther away than the sizes are apart"
