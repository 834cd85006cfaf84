"""plm of two systems: the statistic against clips that are really relabelled, its level, and the two-sided reading."""

from __future__ import annotations

import json

import numpy as np
import pytest

from slm_eval.compare import compare
from slm_eval.compare.cross_entropies import _scores, _statistics
from slm_eval.compare.design import Design
from slm_eval.metrics.means import Sample, difference
from slm_eval.metrics.plm import PhoneLM
from slm_eval.observing.phones.given import GivenPhones
from slm_eval.report.text.comparison import render_comparison
from slm_eval.run.finished import FinishedRun
from tests.compare.chains import markov, rng

Clips = list[list[str]]


def phones(clips: int, seed: int, shift: float = 0.0) -> Clips:
    """Clips of 12 to 30 phones; a shift makes another language of them."""
    lengths = rng(seed).integers(12, 31, clips)
    spoken = markov(rng(seed), clips, 30, 1 - shift)
    return [[str(phone) for phone in clip[:length]] for clip, length in zip(spoken, lengths, strict=True)]


REAL = phones(60, 100)


def run(name: str, clips: Clips, ids: str = "", **labels: list[str]) -> FinishedRun:
    sides = {"generated": clips, "real": REAL}
    lines = {
        side: [
            {"id": f"{ids}{index:03}", "side": side, "status": "ok", "scores": {}, "phones": clip}
            | ({each: names[index] for each, names in labels.items()} if side == "generated" else {})
            for index, clip in enumerate(spoken)
        ]
        for side, spoken in sides.items()
    }
    summary = PhoneLM(recognizer=GivenPhones("made|rev:1")).summarise(lines["generated"], lines["real"])["plm.3"]
    metrics = {"plm.3": json.loads(json.dumps(summary.to_dict()))}  # type: ignore[union-attr]
    return FinishedRun(name, {"metrics": metrics, "corpora": {}}, lines)


@pytest.mark.parametrize("paired", [True, False])
def test_statistics_are_those_of_clips_that_are_relabelled(paired: bool) -> None:
    a, b = run("A", phones(14, 1)), run("B", phones(14 if paired else 23, 2, 0.1), "" if paired else "b")
    design = Design.from_runs(a, b, paired, 199, 0)
    scores = _scores(3, design)
    assert not isinstance(scores, str)
    statistics = _statistics(scores, design)
    pooled = [np.concatenate([getattr(side, part) for side in scores.sides]) for part in ("total", "windows")]
    for number in range(0, 200, 17):
        label = design.labellings.block(slice(number, number + 1))[:, 0].astype(bool)
        groups = [np.flatnonzero(np.concatenate((label, ~label) if paired else (label,)) == side) for side in (1, 0)]
        total, windows = ([part[group] for group in groups] for part in pooled)
        ratios = [x.sum() / y.sum() for x, y in zip(total, windows, strict=True)]
        residuals = [(x - r * y) / y.sum() for x, y, r in zip(total, windows, ratios, strict=True)]
        if paired:  # group members are in the order of the pairs, but swapped ones come from the other half
            pair = [group % 14 for group in groups]
            residuals = [each[np.argsort(index)] for each, index in zip(residuals, pair, strict=True)]
            variance = np.sum((residuals[0] - residuals[1]) ** 2)
        else:
            variance = sum(np.sum(each**2) for each in residuals)
        assert statistics[number] == pytest.approx((ratios[0] - ratios[1]) / np.sqrt(variance), rel=1e-9)


def test_the_values_are_those_of_the_runs_and_the_interval_that_of_means() -> None:
    a, b = run("A", phones(40, 1)), run("B", phones(30, 2, 0.5), "b")
    found = compare(a, b).differences["plm.3"]
    assert found.a == pytest.approx(a.metrics["plm.3"]["value"], rel=1e-12)
    assert found.b == pytest.approx(b.metrics["plm.3"]["value"], rel=1e-12)
    scores = _scores(3, Design.from_runs(a, b, None, 99, 0))
    assert not isinstance(scores, str)
    sides = zip(scores.sides, scores.units, strict=True)
    expected = difference(*(Sample.from_scores(side.mean, units, side.windows) for side, units in sides)).interval()
    assert found.ci95 == pytest.approx(expected)
    assert (found.better, found.claim) == ("A", "A is more predictable from real speech")


def test_one_source_gives_five_percent_and_pairs_and_sizes_do_not_matter() -> None:
    """120 pairs of systems of one source, 12 against 36 clips: a share of .05 has a standard error of .02."""
    p = []
    for index in range(120):
        a, b = run("A", phones(12, 1000 + index)), run("B", phones(36, 2000 + index), "b")
        p.append(compare(a, b, permutations=199).differences["plm.3"].p)
    assert 0.0 <= np.mean(np.array(p) < 0.05) <= 0.11
    assert 0.4 < np.mean(p) < 0.6


def test_speakers_are_relabelled_together() -> None:
    labels = [str(index // 4) for index in range(24)]
    a, b = run("A", phones(24, 1), speaker=labels), run("B", phones(24, 2), "b", speaker=labels)
    found = compare(a, b, permutations=99)
    assert found.by == "speaker"
    assert found.differences["plm.3"].n == (24, 24)


def test_neither_is_better_where_one_is_more_predictable_than_real_speech() -> None:
    recited, other = run("A", [clip[1:] for clip in REAL[:40]]), run("B", phones(40, 2), "b")
    assert recited.metrics["plm.3"]["difference"]["value"] < 0
    comparison = compare(recited, other)
    found = comparison.differences["plm.3"]
    assert found.p_adjusted < 0.05
    assert (found.better, found.claim) == (None, None)
    note = "neither is called better: A is more predictable than real speech"
    assert note in found.notes
    assert f"plm.3: {note}" in render_comparison(comparison)


def test_what_does_not_tell_them_apart_says_how_much_would() -> None:
    a, b = run("A", phones(40, 1)), run("B", phones(40, 4), "b")
    found = compare(a, b)
    needed = found.differences["plm.3"].needed
    assert found.differences["plm.3"].p_adjusted > 0.05
    assert needed is not None
    assert "clips" in needed
    assert f"plm.3: not told apart; {needed}" in render_comparison(found)
