"""What is claimed of whom: by which of both questions was answered, and by whether the sign can be relied on."""

from __future__ import annotations

import numpy as np
import pytest

from slm_eval.compare import compare, result
from slm_eval.compare.judgement import judge
from slm_eval.report.text.comparison import render_comparison
from tests.compare.chains import markov, rng
from tests.compare.made_runs import make_run, numbered

# Of 100 labellings the observed one is by far the largest, or in the middle.
LARGE, USUAL = (np.r_[size, np.linspace(-1, 1, 99)] for size in (-5.0, -0.5))


def outcome(statistics: np.ndarray, difference: float, p_source: float | None, key: str = "pjsd.2") -> result.Tested:
    return result.Tested(
        result.Difference(
            key=key, a=0.0, b=-difference, difference=difference, ci95=None, effect=None, p=0.01, p_adjusted=0.01,
            p_source=p_source, p_source_adjusted=p_source, n=(9, 9), n_ngrams=(9, 9, 9) if "pjsd" in key else None,
            unit="nats", higher_is_better="pjsd" not in key, better=None, claim=None, needed="more", notes=(),
            signature="pjsd|n:2", kind="divergence" if "pjsd" in key else "score", digits=4,
        ),
        statistics,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("statistics", "difference", "p_source", "claim"),
    [
        (LARGE, -0.1, 0.01, "A is closer to real speech"),
        (-LARGE, 0.1, 0.01, "B is closer to real speech"),
        (LARGE, -0.1, 0.20, "A is closer to this real sample"),
        (LARGE, -0.1, None, "A is closer to this real sample"),
        (USUAL, -0.1, 0.01, None),
        # At equal sizes B is closer, in the test of all clips A: which one depends on the sizes.
        (LARGE, 0.1, 0.01, None),
    ],
)
def test_claims_go_as_far_as_was_shown(
    statistics: np.ndarray, difference: float, p_source: float | None, claim: str | None
) -> None:
    judged, _ = judge({"pjsd.2": outcome(statistics, difference, p_source)})
    assert judged["pjsd.2"].claim == claim
    assert judged["pjsd.2"].better == (None if claim is None else claim[0])


def test_scores_are_claimed_to_be_higher() -> None:
    judged, together = judge({"mos.x": outcome(-LARGE, 0.1, None, "mos.x")})
    assert judged["mos.x"].claim == "A has the higher mean"
    assert together == {}


def test_the_second_question_is_corrected_over_all_n() -> None:
    """0.03 is below 5 %, twice as much is not; the first question is answered by each."""
    each = {f"pjsd.{n}": outcome(LARGE, -0.1, 0.03, f"pjsd.{n}") for n in (1, 2)}
    judged, together = judge(each)
    assert [row.p_source_adjusted for row in judged.values()] == [0.06, 0.06]
    assert {row.claim for row in judged.values()} == {"A is closer to this real sample"}
    assert (together["phones"].keys, together["phones"].p) == (("pjsd.1", "pjsd.2"), 0.01)


def test_a_winner_on_this_sample_alone_stands_in_brackets() -> None:
    found = compare(
        make_run("a", phones=numbered(markov(rng(1), 60))),
        make_run("b", phones=numbered(markov(rng(2), 60, sharp=2.0))),
    )
    row = next(line for line in render_comparison(found).splitlines() if line.startswith("pjsd.2"))
    assert row.split()[-1] == "A"
    weaker, _ = judge({"pjsd.2": outcome(LARGE, -0.1, 0.2)})
    found.differences.update(weaker)
    row = next(line for line in render_comparison(found).splitlines() if line.startswith("pjsd.2"))
    assert row.split()[-1] == "(A)"
