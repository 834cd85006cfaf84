"""The closed forms against golden values of 50-digit arithmetic, against the paper's own figures, and by brute force.

Golden values: the formulas of ``law.py`` with the coefficients of section 4.2 and k = 6, at 50 digits (mpmath), given
to 17. The roots of the epsilon range were found there by bisection.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from slm_eval.base.errors import UsageError
from slm_eval.scaling import PUBLISHED, LossLaw, MetricLaw, Sigmoid
from tests.scaling.known_surface import METRIC

EXACT = 1e-12

# C -> N*, D*, r*, L*; curvature in ln N, log10 N, N, D; and with epsilon = 1e-3 the ends t of the range, its decades,
# N_lo, N_hi, D_lo, D_hi, and the widths of N and D.
# fmt: off
GOLDEN = {
    1e18: (
        14437391.876392138, 11544097998.697267, 799.59719162115754, 0.0075157556453220785,
        0.00032047369532741028, 0.0016991188797144264, 1.5374992006335104e-18, 2.4047635385836725e-24,
        -2.6337375071046397, 2.3248154475477906, 2.1534721864306157,
        1036742.9210162833, 147619341.9674235, 1129030006.8093144, 160759879125.37573,
        146582599.04640721, 159630849118.56642,
    ),
    3e18: (
        27470169.00197115, 18201562573.718494, 662.59376024997964, 0.0071816752528716505,
        0.00026736012565765332, 0.0014175161450415792, 3.5430230200082315e-19, 8.0701069553321843e-25,
        -2.8893151636689696, 2.5264921113466275, 2.3520552145907608,
        1527733.8423939068, 343639369.73141103, 1455013726.7182181, 327282139156.20083,
        342111635.88901713, 325827125429.48261,
    ),
    6e18: (
        41221691.474331085, 24259072450.306996, 588.50259614924387, 0.006999997869297517,
        0.00023847625642155102, 0.0012643768133153833, 1.4034389602403556e-19, 4.0522549599946641e-25,
        -3.0622821165740333, 2.6614525778971212, 2.4857863936870175,
        1928384.2831782499, 590173869.64511611, 1694415919.5006734, 518568839584.11993,
        588245485.36193786, 516874423664.61926,
    ),
    1e19: (
        55593838.82123236, 29979341272.43853, 539.25654187760174, 0.0068787934179366922,
        0.00021920663983489944, 0.0011622112695449721, 7.0925168732386087e-20, 2.4389872664872083e-25,
        -3.1957670845899857, 2.764834844042468, 2.5886565264269551,
        2275740.0539823457, 882631006.06693218, 1888293811.5820951, 732362496213.10925,
        880355266.01294984, 730474202401.52716,
    ),
    3e19: (
        105778949.61657253, 47268383909.31274, 446.86002347963511, 0.0066502796855101819,
        0.00018287652192912437, 0.00096959268606688582, 1.6344041376624504e-20, 8.1849578087156261e-26,
        -3.5006642956586323, 2.998687206522805, 2.8226324933470088,
        3192126.2794718428, 2121839631.7735035, 2356445758.2597019, 1566354073193.8967,
        2118647505.4940316, 1563997627435.637,
    ),
    6e19: (
        158731721.86382549, 62999379598.357217, 396.89218297779075, 0.0065260108629268023,
        0.00016311971813214494, 0.00086484412534658812, 6.474094101618892e-21, 4.1099251919827499e-26,
        -3.7058499556571147, 3.1544511077553325, 2.9793908960350363,
        3901517.3345843055, 3720698137.5130346, 2687667644.7297432, 2563105361946.4358,
        3716796620.1784503, 2560417694301.7061,
    ),
    1e20: (
        214074324.59702084, 77854580169.950041, 363.68013920635069, 0.0064431060226755767,
        0.00014993914211466156, 0.00079496205426447614, 3.271793284604455e-21, 2.473698054150601e-26,
        -3.8635255623097073, 3.2733616345828437, 3.0995107275764017,
        4494245.0638340687, 5651548743.6989936, 2949044133.300383, 3708446341919.8215,
        5647054498.6351595, 3705497297786.5211,
    ),
    3e20: (
        407321344.88078681, 122753203652.10373, 301.36698013709703, 0.0062868007527838601,
        0.0001250890430673919, 0.00066320936108055607, 7.5395414314918339e-22, 8.3014431780473589e-27,
        -4.2213919525033349, 3.5410017796841126, 3.3711647642493968,
        5978743.7256741355, 14053183022.696827, 3557912817.2775284, 8362960898505.8531,
        14047204278.971153, 8359402985688.5756,
    ),
    6e20: (
        611225755.7782256, 163605671152.8425, 267.66815633372041, 0.0062017998574470003,
        0.00011157522699650133, 0.00059156048518894876, 2.986513530266986e-22, 4.168416165925721e-27,
        -4.4603913480271122, 3.7182231493504199, 3.5519271458249997,
        7064449.0397286909, 25177084788.231426, 3971865720.0035802, 14155385570428.078,
        25170020339.191698, 14151413704708.074,
    ),
    1e21: (
        824332649.50518424, 202183750415.21208, 245.26961359176462, 0.0061450922657710169,
        0.00010255960474104856, 0.00054376057458797672, 1.5092852774976655e-22, 2.5089028332327961e-27,
        -4.6430378516825986, 3.8529442500980598, 3.6897581451521316,
        7937007.3616397643, 38852138502.803408, 4289768159.2131846, 20998678604253.402,
        38844201495.441768, 20994388836094.189,
    ),
}
# fmt: on

# E changes nothing about the optimum but digits lost in the sum, so it is 0.
laws = st.builds(
    LossLaw,
    E=st.just(0.0),
    A=st.floats(1e-3, 1e4),
    B=st.floats(1e-3, 1e5),
    alpha=st.floats(0.1, 1.2),
    beta=st.floats(0.1, 1.2),
    gamma=st.floats(0.2, 2),
)
budgets = st.floats(12, 26).map(lambda exponent: 10**exponent)


@pytest.mark.parametrize(("C", "golden"), GOLDEN.items())
def test_optimum_and_range_are_golden(C: float, golden: tuple[float, ...]) -> None:
    best, near = PUBLISHED.optimal(C), PUBLISHED.range(C, 1e-3)
    ours = (
        best.N, best.D, best.r, best.loss,
        best.curvature_log, best.curvature_log * math.log(10) ** 2, best.curvature_linear_N, best.curvature_linear_D,
        near.t_lo, near.t_hi, near.decades, near.N_lo, near.N_hi, near.D_lo, near.D_hi,
        near.N_hi - near.N_lo, near.D_hi - near.D_lo,
    )  # fmt: skip
    assert ours == pytest.approx(golden, rel=EXACT)


def test_constants_are_golden() -> None:
    powers = PUBLISHED.exponents
    assert pytest.approx(0.0011897159082822084, rel=EXACT) == PUBLISHED.G
    assert (powers.N, powers.D, powers.r, powers.excess) == pytest.approx(
        (0.5855379188712522, 0.4144620811287478, -0.17107583774250441, -0.16493868324514991), rel=EXACT
    )
    assert PUBLISHED(1e8, 1e10) == pytest.approx(0.0070985141734357367, rel=EXACT)
    assert PUBLISHED.compute_at_ratio([400, 20]) == pytest.approx(
        [5.7325837218810346e19, 2.3085547276834911e27], rel=EXACT
    )


def test_the_papers_figures_follow_from_its_coefficients() -> None:
    """Section 4.2 prints r* = 245 at C = 1e21, and C = 5.64e19 for r* = 400, which rounding amplifies 5.8 times."""
    assert PUBLISHED.optimal(1e21).r == pytest.approx(245, rel=0.01)
    assert PUBLISHED.compute_at_ratio(400) == pytest.approx(5.64e19, rel=0.04)
    # Every coefficient half its last digit up or down: the printed figures lie within what that makes of them.
    last = {"A": 5e-5, "B": 5e-5, "alpha": 5e-5, "beta": 5e-5}
    ratios, crossings = [], []
    for signs in itertools.product((-1, 1), repeat=len(last)):
        moved = {
            name: getattr(PUBLISHED, name) + sign * half for (name, half), sign in zip(last.items(), signs, strict=True)
        }
        other = LossLaw(E=PUBLISHED.E, gamma=PUBLISHED.gamma, **moved)
        ratios.append(float(other.optimal(1e21).r))
        crossings.append(float(other.compute_at_ratio(400)))
    assert (min(ratios), max(ratios)) == pytest.approx((243.80, 246.75), abs=0.01)
    assert (min(crossings), max(crossings)) == pytest.approx((5.544e19, 5.928e19), rel=1e-3)


def test_a_relative_range_is_equally_wide_at_every_budget() -> None:
    near = PUBLISHED.range([1e15, 1e18, 1e21, 1e24], 0.1, relative=True)
    assert near.t_lo == pytest.approx(-1.1546677372057649, rel=EXACT)
    assert near.t_hi == pytest.approx(1.0869601040606476, rel=EXACT)
    assert near.decades == pytest.approx(0.97352660194270143, rel=EXACT)


@pytest.mark.parametrize(
    ("change", "decades"),
    [("curvature_log", -0.495), ("curvature_linear_D", -2.98), ("curvature_linear_N", -4.01)],
)
def test_how_much_flatter_depends_on_the_axis(change: str, decades: float) -> None:
    """Curvature falls by orders of magnitude, says figure 1: on linear axes it does, on a log axis by half of one."""
    best = PUBLISHED.optimal(np.array([1e18, 1e21]))
    values = getattr(best, change)
    assert math.log10(values[1] / values[0]) == pytest.approx(decades, abs=0.005)


@given(laws, budgets)
@settings(max_examples=60, deadline=None)
def test_the_optimum_is_that_of_a_numerical_search(any_law: LossLaw, C: float) -> None:
    best = any_law.optimal(C)
    assert pytest.approx(C, rel=1e-9) == 6 * best.N * best.D

    def excess(t: float) -> float:
        return float(any_law(best.N * math.exp(t), best.D * math.exp(-t)) / best.excess)

    found = minimize_scalar(excess, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9})
    assert abs(found.x) < 1e-3
    assert excess(0) == pytest.approx(1, rel=1e-6)
    # A second difference of step h is off by h², and by rounding / h².
    second = (excess(1e-3) + excess(-1e-3) - 2 * excess(0)) / 1e-6
    assert second == pytest.approx(float(best.curvature_log / best.excess), rel=1e-3, abs=1e-6)


@given(laws, budgets, st.floats(1e-8, 10))
@settings(max_examples=60, deadline=None)
def test_the_loss_at_the_ends_of_a_range_is_epsilon_above_the_optimum(any_law: LossLaw, C: float, eps: float) -> None:
    best, near = any_law.optimal(C), any_law.range(C, eps, relative=True)
    for N, D in ((near.N_lo, near.D_hi), (near.N_hi, near.D_lo)):
        assert pytest.approx(C, rel=1e-9) == 6 * N * D
        above = float(any_law(N, D) / best.excess) - 1
        assert above == pytest.approx(eps, rel=1e-5, abs=1e-9)
    assert near.t_lo < 0 < near.t_hi


@given(laws, st.floats(1, 1e4))
@settings(max_examples=60, deadline=None)
def test_the_crossing_has_the_ratio(any_law: LossLaw, ratio: float) -> None:
    if abs(any_law.alpha - any_law.beta) < 0.05:
        return
    C = float(any_law.compute_at_ratio(ratio))
    if 1e-200 < C < 1e200:
        assert any_law.optimal(C).r == pytest.approx(ratio, rel=1e-6)


def test_other_operations_per_token() -> None:
    """C = k N D with k = 2: the optimum of a budget is that of three times the budget at k = 6."""
    two, six = PUBLISHED.optimal(1e20, flops_per_token=2), PUBLISHED.optimal(3e20)
    assert (two.N, two.D, two.loss) == pytest.approx((six.N, six.D, six.loss), rel=EXACT)


# ---- the fused law ----


def test_the_metric_law_is_golden() -> None:
    assert METRIC.c == pytest.approx(-1.8, rel=EXACT)
    assert pytest.approx((987.73691462918366, 460841.19775380127), rel=EXACT) == (METRIC.A, METRIC.B)
    best = METRIC.optimal([1e18, 1e20, 1e21, 1e24])
    assert best.metric == pytest.approx(
        [0.37659523235887886, 0.27538918612183724, 0.25261758191244654, 0.22470291068897473], rel=EXACT
    )
    assert METRIC.limit == pytest.approx(0.21383297920521951, rel=EXACT)
    assert pytest.approx(PUBLISHED.optimal(best.C).N, rel=EXACT) == best.N


def test_the_metric_law_is_the_sigmoid_of_the_loss() -> None:
    sigmoid = Sigmoid(low=0.15, high=0.60, L0=0.0075, k=900)
    N, D = np.geomspace(1e6, 1e10, 7), np.geomspace(1e12, 1e8, 7)
    assert METRIC(N, D) == pytest.approx(sigmoid(PUBLISHED(N, D)), rel=1e-13)
    law_again, sigmoid_again = METRIC.to_sigmoid(PUBLISHED.E, PUBLISHED.A)
    assert (law_again.B, sigmoid_again.k, sigmoid_again.L0) == pytest.approx((PUBLISHED.B, 900, 0.0075), rel=EXACT)


@pytest.mark.parametrize(("shift", "scale"), [(0.001, 0.5), (0.0025, 3.0), (-0.003, 0.2)])
def test_three_invariances_of_the_ten_parameters(shift: float, scale: float) -> None:
    """E and L0 together; k into A and B; low and high exchanged. Each leaves equation 4.3 as it is, to 1e-14."""
    law, k, L0 = PUBLISHED, 900.0, 0.0075
    N, D = np.meshgrid(np.geomspace(1e6, 1e10, 5), np.geomspace(1e9, 1e12, 5))
    reference = MetricLaw.from_sigmoid(law, 0.15, 0.60, L0, k)(N, D)
    same = pytest.approx(reference, rel=1e-14, abs=0)

    shifted = LossLaw(law.E + shift, law.A, law.B, law.alpha, law.beta, law.gamma)
    assert MetricLaw.from_sigmoid(shifted, 0.15, 0.60, L0 + shift, k)(N, D) == same
    assert MetricLaw.from_sigmoid(law, 0.60, 0.15, L0, -k)(N, D) == same
    scaled = LossLaw(law.E, scale * law.A, scale * law.B, law.alpha, law.beta, law.gamma)
    L0 = law.E + (L0 - law.E) * scale**law.gamma
    assert MetricLaw.from_sigmoid(scaled, 0.15, 0.60, L0, k * scale**-law.gamma)(N, D) == same


def test_eight_of_ten_parameters_are_identifiable() -> None:
    """The Jacobian of equation 4.3 in its ten parameters has rank 8 on the paper's grid."""

    def metric(theta: np.ndarray) -> np.ndarray:
        low, high, L0, k, *of_loss = np.exp(theta)
        return np.log(MetricLaw.from_sigmoid(LossLaw(*of_loss), low, high, L0, k)(N, D))

    best = PUBLISHED.optimal(np.array(list(GOLDEN)))
    N = (best.N[:, None] * 10 ** np.linspace(-1.2, 1.2, 15)).ravel()
    D = np.repeat(best.C, 15) / (6 * N)
    at = np.log([0.15, 0.60, 0.0075, 900, *vars(PUBLISHED).values()])
    steps = 1e-5 * np.eye(10)
    jacobian = np.stack([(metric(at + step) - metric(at - step)) / 2e-5 for step in steps], axis=1)
    singular = np.linalg.svd(jacobian / np.linalg.norm(jacobian, axis=0), compute_uv=False)
    assert np.sum(singular > 1e-7 * singular[0]) == 8


def test_where_the_metric_reaches_a_band() -> None:
    C = METRIC.reaches((0.20, 0.25))
    assert C is not None
    assert METRIC.optimal(C).metric == pytest.approx(0.25, rel=1e-10)
    assert METRIC.reaches((0.10, 0.2138)) is None  # the limit is 0.21383
    assert METRIC.reaches((0.55, 0.70)) == 0  # where it starts
    quality = MetricLaw(low=4.5, high=2.0, c=-1.0, A=METRIC.A, B=METRIC.B, alpha=0.4, beta=0.56, gamma=0.7)
    assert quality.limit == pytest.approx(4.5 - 2.5 / (1 + math.e), rel=EXACT)
    C = quality.reaches((3.5, 4.0))
    assert C is not None
    assert quality.optimal(C).metric == pytest.approx(3.5, rel=1e-10)
    assert quality.reaches((4.0, 4.2)) is None


# ---- what has no meaning ----


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"A": 0.0}, "A of a scaling law: expected a number above 0, got 0.0"),
        ({"gamma": -1.0}, "gamma of a scaling law: expected a number above 0"),
        ({"E": -0.1}, "E of a scaling law: expected a number not below 0, got -0.1"),
        ({"beta": math.nan}, "beta of a scaling law: expected a finite number, got nan"),
    ],
)
def test_coefficients_without_meaning_are_refused(change: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        LossLaw(**{**vars(PUBLISHED), **change})


def test_questions_without_an_answer_are_refused() -> None:
    even = LossLaw(E=1, A=1, B=1, alpha=0.5, beta=0.5, gamma=1)
    with pytest.raises(UsageError, match=r"D\*/N\* is 1 at every budget: there is no crossing"):
        even.compute_at_ratio(20)
    with pytest.raises(UsageError, match=r"epsilon: expected a finite number above 0, got 0\.0"):
        PUBLISHED.range(1e20, 0)
    with pytest.raises(UsageError, match=r"a budget C: expected a finite number above 0, got -1\.0"):
        PUBLISHED.optimal([1e20, -1])
    with pytest.raises(UsageError, match="N: expected a finite number above 0, got nan"):
        PUBLISHED(math.nan, 1e9)
    with pytest.raises(UsageError, match=r"this law has no optimum: N\* would be e\^-576 times a power of C"):
        LossLaw(E=1, A=1e-250, B=1, alpha=0.5, beta=0.5, gamma=1).optimal(1e20)
    with pytest.raises(UsageError, match=r"expected a band \(lowest, highest\), got \(0\.3, 0\.2\)"):
        METRIC.reaches((0.3, 0.2))
    with pytest.raises(UsageError, match="k of a sigmoid is 0"):
        MetricLaw.from_sigmoid(PUBLISHED, 0.1, 0.5, 0.007, 0)
