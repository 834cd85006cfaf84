"""Tables show as many decimal places as a summary asks for, in the block of its kind, whatever its class."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slm_eval.metrics.metric import Summary
from slm_eval.metrics.pjsd import pJSD
from slm_eval.metrics.plm import PhoneLM
from slm_eval.report.page.html import page
from slm_eval.report.text.documents import markdown
from slm_eval.report.text.table import render
from slm_eval.run.evaluate import evaluate
from slm_eval.run.evaluation import Evaluation
from slm_eval.run.finished import SIDES, FinishedRun
from tests.fakes import Loudness, SpellingObserver
from tests.small_runs import Write


@dataclass(frozen=True)
class Theirs(Summary):
    """A summary of another package, of whatever kind."""

    sd: float
    n: int
    real: dict[str, Any]


def theirs(key: str, kind: str) -> Theirs:
    real = {"value": 2.125, "ci95": (2.0, 2.25), "n": 7}
    return Theirs(key, 1.125, (1.0, 1.25), "pt", True, "theirs|rev:1", (), kind=kind, digits=2, sd=0.5, n=9, real=real)


@pytest.fixture
def evaluation(tmp_path: Path, write_wav: Write) -> Evaluation:
    """A score, divergences and a cross-entropy."""
    rng = np.random.default_rng(0)
    for side in SIDES:
        for at in range(12):
            write_wav(tmp_path / side / f"{at}.wav", rng.normal(scale=0.05, size=rng.integers(2_000, 9_000)), 8_000)
    recognizer = SpellingObserver()
    metrics = [Loudness(), pJSD(n=(1, 2), recognizer=recognizer), PhoneLM(recognizer=recognizer)]
    return evaluate(*(tmp_path / side for side in SIDES), metrics)


def texts(evaluation: Evaluation) -> dict[str, str]:
    """Return what the terminal, Markdown and the page say, in plain ASCII where numbers are concerned."""
    run = FinishedRun.from_evaluation(evaluation, "run")
    shown = {"terminal": render(evaluation), "markdown": markdown(run), "page": page(run, dict.fromkeys(SIDES, "no"))}
    return {where: text.replace("\N{MINUS SIGN}", "-").replace("\\", "") for where, text in shown.items()}


# The row of a key: in a table of the page it comes after the one of the glance.
ROWS = {"terminal": r"^{key} .*", "markdown": r"^\| {key} .*", "page": r"<tr>(?:(?!</tr>).)*?\b{key}<.*?</tr>"}


def test_every_kind_is_shown_in_as_many_decimal_places_as_it_says(evaluation: Evaluation) -> None:
    asked = {key: replace(summary, digits=6) for key, summary in evaluation.summaries.items()}
    assert {summary.kind for summary in asked.values()} == {"score", "divergence", "cross_entropy"}
    for where, text in texts(replace(evaluation, summaries=asked)).items():
        for key, summary in asked.items():
            row = re.search(ROWS[where].format(key=re.escape(key)), text, re.MULTILINE)
            assert row is not None, (where, key)
            missing = [number for number in numbers_of(summary.to_dict()) if f"{number:.6f}" not in row.group()]
            assert not missing, (where, row.group())


def numbers_of(metric: dict[str, Any]) -> list[float]:
    """Return what all three show of a metric, in its own unit."""
    told = [metric[name] for name in ("value", "floor", "floor_sd", "excess", "corrected") if name in metric]
    told += metric["ci95"] or ()
    told += [metric[name]["value"] for name in ("real", "difference") if name in metric]
    return [number for number in told if number is not None]


def test_a_summary_of_any_class_stands_in_the_block_of_its_kind(evaluation: Evaluation) -> None:
    added = {key: theirs(key, kind) for key, kind in (("theirs.mean", "score"), ("theirs.other", "corpus"))}
    text = texts(replace(evaluation, summaries={**evaluation.summaries, **added}))
    blocks = {block.split()[0]: block for block in text["terminal"].split("\n\n")}
    assert re.search(
        r"^theirs\.mean +1\.12 +\[1\.00, 1\.25\] +0\.50 +9 +2\.12 +\[2\.00, 2\.25\] +7$", blocks["pt"], re.M
    )
    assert "value  95 % interval  real  unit  better" in re.sub(" {2,}", "  ", blocks["over"])
    assert re.search(r"^theirs\.other +1\.12 +\[1\.00, 1\.25\] +2\.12 +pt +higher$", blocks["over"], re.M)
    means, corpora = (
        text["markdown"].index(title) for title in ("Means over clips in pt", "Metrics over whole corpora")
    )
    assert means < text["markdown"].index("| theirs.mean") < corpora < text["markdown"].index("| theirs.other")
