"""The documents show what the study of floors measured."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks" / "statistics"))
import floor_page
import floor_study

DOCS = ROOT / "docs"


def test_the_page_of_floors_is_what_its_results_print() -> None:
    results, before = (json.loads(path.read_text()) for path in (floor_study.RESULTS, floor_study.BEFORE))
    assert (DOCS / "floor-study.md").read_text(encoding="utf-8") == floor_page.page(
        floor_study.cases(), results, before
    )
    assert floor_page.summary(floor_study.cases(), results, before) in (DOCS / "metrics" / "pjsd.md").read_text(
        encoding="utf-8"
    )


def test_standard_errors_are_those_of_repeated_studies() -> None:
    # Corpora are numbers: the floor of x is x, the score of x and y is (x + y) / 2 + 1 for equal sizes.
    rng = np.random.default_rng(0)
    errors, stated = [], []
    for _ in range(300):
        corpora = rng.normal(size=20)
        scores = (corpora[:, None] + corpora) / 2 + 1
        np.fill_diagonal(scores, np.nan)
        floors = corpora + rng.normal(size=20)
        entry = floor_study._entry(scores, np.stack([floors, np.ones(20)], axis=1))
        errors.append(entry["error"])
        stated.append(entry["error_se"])
    # Corpora cancel; what is left is the mean of 20 independent errors.
    assert np.mean(errors) == pytest.approx(-1, abs=0.05)
    assert np.mean(stated) == pytest.approx(np.std(errors), rel=0.15)
    assert np.mean(stated) == pytest.approx(1 / np.sqrt(20), rel=0.1)
