"""Two systems: means against scipy's intervals, signs and orders, and one line for whatever cannot be compared."""

from __future__ import annotations

import pytest

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.compare import compare
from slm_eval.metrics.recitation import RECITED, SHARED_AUDIO
from slm_eval.report.text.comparison import render_comparison
from tests.compare.chains import markov, rng
from tests.compare.made_runs import REAL, against_other_speech, make_run, numbered


def test_swapping_the_systems_changes_the_sign_alone() -> None:
    a, b = numbered(rng(1).normal(3, 1, 30)), numbered(rng(2).normal(2, 1, 30))
    spoken, other = numbered(markov(rng(3), 30)), numbered(markov(rng(4), 30, sharp=2.0))
    there = compare(make_run("a", a, spoken), make_run("b", b, other))
    back = compare(make_run("b", b, other), make_run("a", a, spoken))
    for key, row in there.differences.items():
        reverse = back.differences[key]
        assert reverse.difference == pytest.approx(-row.difference, abs=1e-12)
        assert reverse.ci95 == pytest.approx((-row.ci95[1], -row.ci95[0]), abs=1e-12)  # type: ignore[index]
        assert reverse.p == row.p
        assert {row.better, reverse.better} == {"A", "B"}


def test_the_order_of_clips_changes_nothing() -> None:
    """Of both systems and of real speech; unpaired, and by speaker."""
    generator = rng(5)
    speakers = {f"{index:03d}": f"s{index // 4}" for index in range(60)}
    a, b = (numbered(generator.normal(3, 1, size)) for size in (60, 40))
    spoken = [numbered(markov(generator, size, sharp=sharp)) for size, sharp in ((60, 1.0), (40, 1.3))]
    runs = [make_run("a", a, spoken[0], labels=speakers), make_run("b", b, spoken[1], labels=speakers)]
    before = compare(*runs, paired=False, permutations=99)
    for run in runs:
        for clips in run.clips.values():
            generator.shuffle(clips)
    assert compare(*runs, paired=False, permutations=99) == before


def test_many_clips_have_fewer_labellings_and_the_table_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = make_run("a", numbered([3.0, 3.5] * 10)), make_run("b", numbered([3.1, 3.4] * 11))
    assert compare(*runs, paired=False).labellings == 2000
    for module in ("compare.design", "report.text.comparison"):
        monkeypatch.setattr(f"slm_eval.{module}.MANY_CLIPS", 41)
    comparison = compare(*runs, paired=False)
    assert (comparison.labellings, compare(*runs, paired=False, permutations=1999).labellings) == (500, 2000)
    assert "500 labellings (the usual number above 41 clips; --permutations sets it)" in render_comparison(comparison)


def test_what_cannot_be_compared_is_one_line() -> None:
    a, b = numbered([1.0, 2.0]), numbered([2.0, 1.0])
    with pytest.raises(SlmEvalError, match=r"mos\.x of a and of b cannot be compared \(windows all against None\)"):
        compare(make_run("a", a, windows="all"), make_run("b", b))
    spoken = numbered(markov(rng(1), 10))
    with pytest.raises(SlmEvalError, match=r"pjsd\.2 .*\(real xyz against abc\); run both against the same real"):
        compare(against_other_speech(spoken), make_run("b", phones=spoken))
    with pytest.raises(UsageError, match="no metric in common"):
        compare(make_run("a", a), make_run("b", phones=spoken))
    with pytest.raises(UsageError, match="no clip id in common"):
        compare(make_run("a", a), make_run("b", {"x": 1.0}), paired=True)
    with pytest.raises(UsageError, match=r"pjsd\.3 is not in both runs"):
        compare(make_run("a", phones=spoken), make_run("b", phones=spoken), keys=["pjsd.3"])
    with pytest.raises(UsageError, match="at least 99"):
        compare(make_run("a", a), make_run("b", b), permutations=10)
    nothing = compare(make_run("a", {"x": None}), make_run("b", {"x": 1.0}))
    assert nothing.not_compared == {"mos.x": "no pair has both scores"}


def test_all_labellings_of_few_clips_are_tried_and_it_is_said_that_they_are_few() -> None:
    comparison = compare(make_run("a", numbered([3.0, 4.0, 5.0, 6.0])), make_run("b", numbered([1.0, 1.0, 1.0, 1.0])))
    assert (comparison.labellings, comparison.differences["mos.x"].p) == (16, 2 / 16)
    assert "p-values are multiples of 1/16: so few clips cannot show a difference" in render_comparison(comparison)


def test_speech_that_is_compared_with_itself_is_told() -> None:
    a, b = make_run("a", phones=numbered(REAL)), make_run("b", phones=numbered(markov(rng(2), 60)))
    warning = "60 of 60 generated clips hold the same audio as real ones"
    recited = "60 of 60 generated clips hold all phones of a real clip"
    a.metrics["pjsd.2"]["warnings"] = [warning, recited, "coverage is below 0.9"]
    a.metrics["pjsd.2"]["warning_codes"] = {SHARED_AUDIO: warning, RECITED: recited}
    notes = compare(a, b, permutations=99).differences["pjsd.2"].notes
    assert notes == (f"warning: A: {warning}", f"warning: A: {recited}")
