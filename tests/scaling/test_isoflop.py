"""Parabolas through isoFLOP curves: exact on parabolas, biased by known factors on the law, and honest at edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from known_surface import METRIC, grid, noise

from slm_eval.errors import UsageError
from slm_eval.scaling import PUBLISHED, isoflop_minima

N, D, C = grid(sizes=5, span=0.6)


@pytest.mark.parametrize(("half_width", "ratio"), [(0.3, 0.991), (0.6, 0.966), (1.0, 0.910), (1.5, 0.816)])
def test_the_known_bias_on_the_published_law(half_width: float, ratio: float) -> None:
    """15 noise-free sizes within 10^half_width of N*: the vertex lies at this share of it, at every budget."""
    n, d, c = grid(span=half_width)
    minima = isoflop_minima(n, d, PUBLISHED(n, d), c)
    best = PUBLISHED.optimal([each.C for each in minima])
    assert len(minima) == 10
    assert [each.N for each in minima] == pytest.approx(ratio * best.N, abs=0, rel=6e-4)
    for each in minima:
        assert each.N is not None
        assert each.D is not None
        assert pytest.approx(each.C, rel=1e-9) == 6 * each.N * each.D
        assert each.r == pytest.approx(each.D / each.N)
        assert not each.edge
        assert each.problem is None


def test_a_parabola_is_found_exactly() -> None:
    n = np.geomspace(1e6, 1e9, 6)
    value = 2 + 0.25 * (np.log(n) - math.log(3e7)) ** 2
    (found,) = isoflop_minima(n, 1e18 / n, value)
    assert (found.N, found.value, found.curvature) == pytest.approx((3e7, 2, 0.5), rel=1e-6)
    assert found.N_best == n[np.argmin(value)]


def test_curvature_is_that_of_the_law_near_the_optimum() -> None:
    n, d, c = grid(span=0.05)
    for each in isoflop_minima(n, d, PUBLISHED(n, d), c):
        assert each.curvature == pytest.approx(float(PUBLISHED.optimal(each.C).curvature_log), rel=0.01)


def test_a_metric_of_which_more_is_better_has_summits() -> None:
    quality = 5 - METRIC(N, D)
    for up, down in zip(
        isoflop_minima(N, D, quality, lower_is_better=False), isoflop_minima(N, D, METRIC(N, D)), strict=True
    ):
        assert pytest.approx(down.N) == up.N
        assert up.curvature == pytest.approx(-down.curvature)
        assert up.N_best == down.N_best
    assert all(each.N is None and "no valley" in each.problem for each in isoflop_minima(N, D, quality))


def test_seeds_are_averaged_and_budgets_told_by_c() -> None:
    one, two = PUBLISHED(N, D) * noise(N.size, 0), PUBLISHED(N, D) * noise(N.size, 1)
    twice = isoflop_minima(np.tile(N, 2), np.tile(D, 2), np.concatenate([one, two]))
    for each, mean in zip(twice, isoflop_minima(N, D, (one + two) / 2), strict=True):
        assert (each.C, each.N, each.value) == pytest.approx((mean.C, mean.N, mean.value), rel=1e-9)
    # True FLOPs of small models are not 6ND: budgets are then those of C.
    assert [each.C for each in isoflop_minima(N, D, one, C * 1.5)] == pytest.approx(1.5 * np.unique(C))


def test_sizes_that_do_not_bracket_the_optimum_are_said() -> None:
    right = np.tile(PUBLISHED.optimal(np.unique(C)).N[:, None], 5).ravel() * 0.99 < N
    for each in isoflop_minima(N[right], D[right], PUBLISHED(N[right], D[right])):
        assert each.edge
        assert each.problem is not None
        assert "do not bracket" in each.problem


def test_two_sizes_make_no_parabola() -> None:
    few = np.tile([True, False, False, False, True], 10)
    for each in isoflop_minima(N[few], D[few], PUBLISHED(N[few], D[few])):
        assert each.N is None
        assert each.problem == "2 sizes only: a parabola needs 3"


def test_impossible_runs_are_refused() -> None:
    with pytest.raises(UsageError, match=r"value\[0\] is nan"):
        isoflop_minima([1e6, 2e6], [1e9, 1e9], [math.nan, 1])
    with pytest.raises(UsageError, match="differ in length"):
        isoflop_minima([1e6, 2e6], [1e9, 1e9], [1, 2], [1e18])
