"""Two systems: means against scipy's intervals, pairs, equal sizes, and one line for whatever cannot be compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from click.testing import CliRunner, Result

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.cli.main import main
from slm_eval.compare import compare
from slm_eval.functional import pjsd
from slm_eval.metrics.means import NOTHING_VARIES, TOO_FEW_CLIPS
from slm_eval.metrics.recitation import RECITED
from slm_eval.report.text.comparison import render_comparison
from slm_eval.run.finished import FinishedRun
from tests.compare.chains import markov, rng
from tests.conftest import EXAMPLES

REAL = markov(rng(100), 60)


def make_run(
    name: str,
    scores: dict[str, float | None] | None = None,
    phones: dict[str, Sequence[Any]] | None = None,
    real: Sequence[Sequence[Any]] = REAL,
    labels: dict[str, str] | None = None,
    unit: str = "nats",
    **signature: str,
) -> FinishedRun:
    """A run with one score, one order of pJSD, or both."""
    ids = sorted({**(scores or {}), **(phones or {})})
    clips = [
        {
            "id": each,
            "side": "generated",
            "status": "ok",
            "scores": {} if (scores or {}).get(each) is None else {"mos.x": scores[each]},  # type: ignore[index]
            "phones": None if phones is None or each not in phones else [str(phone) for phone in phones[each]],
            **({} if labels is None else {"speaker": labels[each]}),
        }
        for each in ids
    ]
    against = [
        {"id": f"r{at}", "side": "real", "status": "ok", "scores": {}, "phones": [str(phone) for phone in each]}
        for at, each in enumerate(real)
    ]
    extra = "".join(f"|{key}:{value}" for key, value in signature.items())
    metrics: dict[str, Any] = {}
    if scores is not None:
        metrics["mos.x"] = {
            "value": 0.0, "ci95": None, "sd": 1.0, "n": len(ids), "real": None, "unit": "MOS", "higher_is_better": True,
            "signature": f"mos|rev:1{extra}",
        }  # fmt: skip
    if phones is not None:
        metrics["pjsd.2"] = {
            "value": 0.0, "ci95": None, "unit": unit, "higher_is_better": False, "p": None, "floor": None,
            "floor_sd": None, "excess": None, "corrected": None, "coverage": 1.0,
            "n_ngrams": {"generated": 1, "real": 1}, "signature": f"pjsd|n:2|real:abc{extra}",
        }  # fmt: skip
    corpora = {
        side: {"path": path, "n_total": size, "n_scored": size, "n_failed": 0}
        for side, path, size in (("generated", name, len(ids)), ("real", "real", len(real)))
    }
    summary = {"schema": 1, "version": "made", "corpora": corpora, "metrics": metrics}
    return FinishedRun(name, summary, {"generated": clips, "real": against})


def numbered(values: Sequence[Any]) -> dict[str, Any]:
    return {f"{at:03d}": value for at, value in enumerate(values)}


def write(run: FinishedRun, folder: Path) -> Path:
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps(run.summary))
    lines = [json.dumps(clip) for side in run.clips.values() for clip in side]
    (folder / "clips.jsonl").write_text("\n".join(lines) + "\n")
    return folder


# ---- scores ----


def test_pairs_have_the_interval_of_the_paired_t_test() -> None:
    a, b = rng(1).normal(3, 1, 30), rng(2).normal(2.6, 1, 30)
    found = compare(make_run("a", numbered(a)), make_run("b", numbered(b)))
    row = found.differences["mos.x"]
    expected = scipy.stats.ttest_rel(a, b)
    assert found.paired
    assert row.difference == pytest.approx(expected.statistic * np.std(a - b, ddof=1) / np.sqrt(30))
    assert row.ci95 == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert row.effect == pytest.approx(expected.statistic / np.sqrt(30))
    # A permutation test of the mean is close to the t test where scores are normal: binomial error of 2,000 draws.
    assert row.p == pytest.approx(expected.pvalue, abs=4 * np.sqrt(expected.pvalue / 2000) + 0.01)


def test_samples_have_the_interval_of_welch() -> None:
    a, b = rng(1).normal(3, 1, 25), rng(2).normal(2.2, 2, 40)
    mine = make_run("a", {f"a{at}": value for at, value in enumerate(a)})
    other = make_run("b", {f"b{at}": value for at, value in enumerate(b)})
    found = compare(mine, other)
    row = found.differences["mos.x"]
    expected = scipy.stats.ttest_ind(a, b, equal_var=False)
    assert not found.paired
    assert row.ci95 == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert row.n == (25, 40)
    pooled = np.sqrt((24 * np.var(a, ddof=1) + 39 * np.var(b, ddof=1)) / 63)
    assert row.effect == pytest.approx((a.mean() - b.mean()) / pooled)


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


def test_clips_of_one_speaker_are_swapped_together() -> None:
    """Five speakers of 20 clips, each with a shift of its own: 100 clips seem to prove what five speakers do not."""
    shifts = np.repeat([1.2, 0.9, -0.3, 0.8, 0.1], 20)
    a, b = shifts + rng(1).normal(0, 0.1, 100), rng(2).normal(0, 0.1, 100)
    speakers = {each: f"s{int(each) // 20}" for each in numbered(a)}
    alone = compare(make_run("a", numbered(a)), make_run("b", numbered(b))).differences["mos.x"]
    grouped = compare(make_run("a", numbered(a), labels=speakers), make_run("b", numbered(b), labels=speakers))
    assert alone.p < 0.001
    assert grouped.by == "speaker"
    assert grouped.differences["mos.x"].p == pytest.approx(
        6 / 32
    )  # of all 2^5: the sum is as large or larger if signs of speaker 2, or of 2 and 4, are turned
    means = np.array([1.2, 0.9, -0.3, 0.8, 0.1]) - (b - (a - shifts)).reshape(5, 20).mean(axis=1)
    expected = scipy.stats.ttest_1samp(means, 0).confidence_interval()
    assert grouped.differences["mos.x"].ci95 == pytest.approx(tuple(expected))


def test_clips_that_a_metric_could_not_score_are_left_out_as_pairs() -> None:
    a, b = numbered([1.0, 2.0, None, 4.0]), numbered([1.5, None, 3.0, 4.5])
    row = compare(make_run("a", a), make_run("b", b)).differences["mos.x"]
    assert (row.n, row.difference) == ((2, 2), -0.5)


# ---- pJSD ----


def test_divergences_are_those_of_the_clips_compared() -> None:
    a, b = markov(rng(1), 30), markov(rng(2), 30, sharp=2.0)
    row = compare(make_run("a", phones=numbered(a)), make_run("b", phones=numbered(b))).differences["pjsd.2"]
    assert row.a == pytest.approx(pjsd(a, REAL, 2), abs=1e-12)
    assert row.b == pytest.approx(pjsd(b, REAL, 2), abs=1e-12)
    assert row.ci95[0] <= row.difference <= row.ci95[1] < 0  # type: ignore[index]
    assert (row.better, row.n_ngrams) == ("A", (870, 870, 1740))
    bits = [make_run(name, phones=numbered(spoken), unit="bits") for name, spoken in (("a", a), ("b", b))]
    assert compare(*bits).differences["pjsd.2"].a == pytest.approx(pjsd(a, REAL, 2, base=2), abs=1e-12)


def test_intervals_of_differences_cover() -> None:
    """Against the mean of 400 fresh differences; 200 intervals of nominal 95 % must cover 90 % of the time."""

    def difference(seed: int) -> tuple[FinishedRun, FinishedRun]:
        generator = rng(seed)
        spoken = [numbered(markov(generator, 25, sharp=sharp)) for sharp in (1.3, 1.6)]
        real = markov(generator, 40)
        return make_run("a", phones=spoken[0], real=real), make_run("b", phones=spoken[1], real=real)

    rows = [compare(*difference(seed), permutations=99).differences["pjsd.2"] for seed in range(200)]
    truth = np.mean([row.difference for row in rows])
    covered = np.mean([row.ci95[0] <= truth <= row.ci95[1] for row in rows])  # type: ignore[index]
    assert covered >= 0.90


def test_unequal_sizes_are_made_equal_in_pairs() -> None:
    a, b = markov(rng(1), 30), [each[:20] for each in markov(rng(2), 30)]
    row = compare(make_run("a", phones=numbered(a)), make_run("b", phones=numbered(b))).differences["pjsd.2"]
    assert row.n_ngrams[:2] == (570, 570)  # type: ignore[index]
    assert row.notes[0] == "the systems differed in size and were made equal: the longer clip of each pair was cut"
    assert row.a == pytest.approx(pjsd([each[:20] for each in a], REAL, 2), abs=1e-12)


def test_unequal_sizes_are_made_equal_without_pairs() -> None:
    mine = make_run("a", phones={f"a{at}": each for at, each in enumerate(markov(rng(1), 40))})
    other = make_run("b", phones={f"b{at}": each for at, each in enumerate(markov(rng(2), 20))})
    row = compare(mine, other).differences["pjsd.2"]
    assert row.n_ngrams[:2] == (580, 580)  # type: ignore[index]
    assert row.n == (20, 20)
    assert "clips of the larger system were left out" in row.notes[0]
    # One system at two sizes: the larger looked better before sizes were made equal.
    assert row.better is None
    assert row.needed


def test_the_order_of_clips_changes_nothing() -> None:
    """Of both systems and of real speech; unpaired, and by speaker."""
    generator = rng(5)
    speakers = {f"{at:03d}": f"s{at // 4}" for at in range(60)}
    a, b = (numbered(generator.normal(3, 1, size)) for size in (60, 40))
    spoken = [numbered(markov(generator, size, sharp=sharp)) for size, sharp in ((60, 1.0), (40, 1.3))]
    runs = [make_run("a", a, spoken[0], labels=speakers), make_run("b", b, spoken[1], labels=speakers)]
    before = compare(*runs, paired=False, permutations=99)
    for run in runs:
        for clips in run.clips.values():
            generator.shuffle(clips)
    assert compare(*runs, paired=False, permutations=99) == before


def test_one_source_at_two_sizes_has_any_p_value() -> None:
    """300 clips against 60; labels of all clips on what was left of the larger system gave at least 0.95 every time."""
    p_values = []
    for seed in range(20):
        spoken = markov(rng(200 + seed), 360, phones=15)
        mine = make_run("a", phones={f"a{at}": each for at, each in enumerate(spoken[:300])})
        other = make_run("b", phones={f"b{at}": each for at, each in enumerate(spoken[300:])})
        row = compare(mine, other, permutations=99, seed=seed).differences["pjsd.2"]
        assert row.n_ngrams[:2] == (840, 840)  # type: ignore[index]
        p_values.append(row.p)
    assert scipy.stats.kstest(p_values, "uniform").pvalue > 0.01


def test_both_questions_have_a_p_value_and_the_claim_says_which_was_answered() -> None:
    a, b = numbered(markov(rng(1), 60)), numbered(markov(rng(2), 60, sharp=2.0))
    row = compare(make_run("a", phones=a), make_run("b", phones=b)).differences["pjsd.2"]
    assert row.p_source < 0.05  # type: ignore[operator]
    assert row.claim == "A is closer to real speech"
    # 60 clips leave 59 degrees of freedom, a fifth of 127 draws the others.
    freedom = 1 / (1 / 59 + 5 / 127)
    z = row.difference / (row.ci95[1] - row.difference) * scipy.stats.t.ppf(0.975, freedom)  # type: ignore[index]
    assert row.p_source == pytest.approx(2 * scipy.stats.t.sf(abs(z), freedom))
    assert row.p_source_adjusted == row.p_source  # of a single n
    # Few real clips: the systems differ, but another real sample might see it the other way around.
    few = make_run("a", phones=a, real=REAL[:8]), make_run("b", phones=b, real=REAL[:8])
    weaker = compare(*few).differences["pjsd.2"]
    assert weaker.p_source > row.p_source  # type: ignore[operator]


def test_short_utterances_are_made_equal_by_ngrams() -> None:
    """20 clips of 30 phones hold 600 phones and 580 bigrams; 100 clips of 6 phones as many phones, but 500 bigrams."""
    long, short = markov(rng(1), 20), markov(rng(2), 100, phones=6)
    mine = make_run("a", phones={f"a{at}": each for at, each in enumerate(long)})
    other = make_run("b", phones={f"b{at}": each for at, each in enumerate(short)})
    row = compare(mine, other, permutations=99).differences["pjsd.2"]
    assert row.n_ngrams[:2] == (500, 500)  # type: ignore[index]
    assert row.n == (18, 100)  # 17 clips of 29 bigrams, and 7 of one more
    assert row.b == pytest.approx(pjsd(short, REAL, 2), abs=1e-12)


def test_a_system_of_one_long_clip_is_cut() -> None:
    mine = make_run("a", phones={"a": markov(rng(1), 1, phones=2000)[0]})
    other = make_run("b", phones={f"b{at}": each for at, each in enumerate(markov(rng(2), 10))})
    row = compare(mine, other, permutations=99).differences["pjsd.2"]
    assert (row.n, row.n_ngrams[:2]) == ((1, 10), (290, 290))  # type: ignore[index]
    assert any("there is no interval" in note for note in row.notes)


def test_how_much_speech_would_tell_is_said() -> None:
    a, b = numbered(markov(rng(1), 40)), numbered(markov(rng(2), 40, sharp=1.15))
    row = compare(make_run("a", phones=a), make_run("b", phones=b)).differences["pjsd.2"]
    assert row.better is None
    assert any(word in row.needed for word in ("phones of each system", "within its standard error"))  # type: ignore[operator]


def test_many_clips_have_fewer_labellings_and_the_table_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = make_run("a", numbered([3.0, 3.5] * 10)), make_run("b", numbered([3.1, 3.4] * 11))
    assert compare(*runs, paired=False).labellings == 2000
    for module in ("compare.design", "report.text.comparison"):
        monkeypatch.setattr(f"slm_eval.{module}.MANY_CLIPS", 41)
    found = compare(*runs, paired=False)
    assert (found.labellings, compare(*runs, paired=False, permutations=1999).labellings) == (500, 2000)
    assert "500 labellings (the usual number above 41 clips; --permutations sets it)" in render_comparison(found)


def test_equal_systems_and_single_clips_have_no_number_that_means_nothing() -> None:
    constant = numbered([3.0] * 10)
    row = compare(make_run("a", constant), make_run("b", constant)).differences["mos.x"]
    assert (row.difference, row.p, row.ci95, row.effect, row.better) == (0.0, 1.0, None, None, None)
    assert row.notes == (f"there is no interval: {NOTHING_VARIES}",)
    one = compare(make_run("a", numbered([3.0])), make_run("b", numbered([2.0]))).differences["mos.x"]
    assert (one.p, one.ci95, one.effect, one.better) == (1.0, None, None, None)
    assert one.notes == (f"there is no interval: {TOO_FEW_CLIPS}",)


def test_ids_make_pairs_only_where_most_of_them_match() -> None:
    a, b = numbered(rng(1).normal(3, 1, 20)), numbered(rng(2).normal(3, 1, 20))
    some = {key if int(key) < 15 else f"x{key}": value for key, value in b.items()}
    found = compare(make_run("a", a), make_run("b", some))
    assert (found.paired, found.n_clips, found.left_out) == (True, (15, 15), (5, 5))
    few = {key if int(key) < 5 else f"x{key}": value for key, value in b.items()}
    assert not compare(make_run("a", a), make_run("b", few)).paired
    assert compare(make_run("a", a), make_run("b", few), paired=True).n_clips == (5, 5)
    assert not compare(make_run("a", a), make_run("b", b), paired=False).paired


def test_what_cannot_be_compared_is_one_line() -> None:
    a, b = numbered([1.0, 2.0]), numbered([2.0, 1.0])
    with pytest.raises(SlmEvalError, match=r"mos\.x of a and of b cannot be compared \(windows all against None\)"):
        compare(make_run("a", a, windows="all"), make_run("b", b))
    spoken = numbered(markov(rng(1), 10))
    with pytest.raises(SlmEvalError, match=r"pjsd\.2 .*\(real xyz against abc\); run both against the same real"):
        compare(_against(spoken), make_run("b", phones=spoken))
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


def _against(spoken: dict[str, Any]) -> FinishedRun:
    run = make_run("a", phones=spoken)
    run.metrics["pjsd.2"]["signature"] = "pjsd|n:2|real:xyz"
    return run


def test_all_labellings_of_few_clips_are_tried_and_it_is_said_that_they_are_few() -> None:
    found = compare(make_run("a", numbered([3.0, 4.0, 5.0, 6.0])), make_run("b", numbered([1.0, 1.0, 1.0, 1.0])))
    assert (found.labellings, found.differences["mos.x"].p) == (16, 2 / 16)
    assert "p-values are multiples of 1/16: so few clips cannot show a difference" in render_comparison(found)


def test_speech_that_is_compared_with_itself_is_told() -> None:
    a, b = make_run("a", phones=numbered(REAL)), make_run("b", phones=numbered(markov(rng(2), 60)))
    warning = "60 of 60 generated clips hold the same audio as real ones"
    recited = f"60 of 60 generated clips hold all phones of a real clip: {RECITED}"
    a.metrics["pjsd.2"]["warnings"] = [warning, recited, "coverage is below 0.9"]
    notes = compare(a, b, permutations=99).differences["pjsd.2"].notes
    assert notes == (f"warning: A: {warning}", f"warning: A: {recited}")


def test_of_few_clips_it_is_said_that_how_much_speech_would_tell_is_not_known() -> None:
    a, b = (make_run(name, phones=numbered(markov(rng(seed), 11))) for name, seed in (("a", 1), ("b", 2)))
    needed = compare(a, b, permutations=99).differences["pjsd.2"].needed
    assert (
        needed
        == "how much speech would tell is not known: at least 16 clips (or clusters) of a side are needed; there are 11"
    )


# ---- command ----


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def test_command_on_runs(tmp_path: Path) -> None:
    a = make_run("a", numbered(rng(1).normal(4, 1, 30)), numbered(markov(rng(3), 30)))
    b = make_run("b", numbered(rng(2).normal(2, 1, 30)), numbered(markov(rng(4), 30)))
    paths = write(a, tmp_path / "a"), write(b, tmp_path / "b")
    printed = invoke(*paths)
    assert printed.exit_code == 0, printed.output
    assert "paired by clip id: 30 pairs" in printed.output
    assert (
        "2,000 labellings, corrected by step-down min-p within a family of metrics and by Holm over 2" in printed.output
    )
    line = next(line for line in printed.output.splitlines() if line.startswith("mos.x"))
    assert line.split()[-1] == "A"
    found = json.loads(invoke(*paths, "--json", "--metrics", "mos").output)
    assert list(found["differences"]) == ["mos.x"]
    assert found["differences"]["mos.x"].keys() >= {
        "a", "b", "difference", "ci95", "effect", "p", "p_adjusted", "n", "unit", "better", "signature",
    }  # fmt: skip
    assert invoke(*paths, "--metrics", "pjsd.2,mos.x").exit_code == 0
    for arguments, message in [
        ((paths[0], paths[0]), "A and B are both"),
        ((*paths, "--metrics", "dnsmos"), "'dnsmos' is in no key that both runs have"),
        ((*paths, "--real", tmp_path), "is a finished run against real"),
        ((paths[0], tmp_path / "nothing"), "is no finished run; to score it as speech, say --real"),
    ]:
        refused = invoke(*arguments)
        assert refused.exit_code == 2
        assert message in " ".join(refused.output.split())
    (paths[1] / "clips.jsonl").write_text((paths[1] / "clips.jsonl").read_text().replace("2.", 'NaN, "x": 2.', 1))
    refused = invoke(*paths)
    assert (refused.exit_code, "NaN is not a finite number" in refused.output) == (1, True)


def test_command_on_speech() -> None:
    done = invoke(
        EXAMPLES / "generated", EXAMPLES / "real", "--real", EXAMPLES / "real", "--limit", 6, "--metrics", "pjsd",
        "--ngrams", "1", "--recognizer", "pocketsphinx", "--permutations", 99, "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["a"], found["b"], found["paired"]) == ("generated", "real", True)
    assert found["differences"]["pjsd.1"]["b"] < found["differences"]["pjsd.1"]["a"]
