"""The documents show what the studies of benchmarks/statistics measured: their tables are those of the results."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks" / "statistics"))
import compare_study
import mean_study
import plm_study
import rank_pjsd_study
import rank_study
import study

DOCS = ROOT / "docs"


def test_the_page_of_the_study_is_what_its_results_print() -> None:
    results, before = (json.loads(path.read_text()) for path in (study.RESULTS, study.BEFORE))
    assert (DOCS / "pjsd-study.md").read_text(encoding="utf-8") == study.page(study.cases(), results, before)


def measured(study: ModuleType) -> Any:
    return json.loads(study.RESULTS.read_text())


TABLES = {
    "compare.md": lambda: [compare_study.table(measured(compare_study))],
    "leaderboard.md": lambda: [study.table(measured(study)["cases"]) for study in (rank_study, rank_pjsd_study)],
    "means.md": lambda: [mean_study.table(measured(mean_study)["cases"])],
    "metrics/plm.md": lambda: plm_study.table(measured(plm_study)).split("\n\n"),
}


@pytest.mark.parametrize("page", TABLES)
def test_the_tables_of_the_documents_are_those_of_the_results(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    for table in TABLES[page]():
        assert table in text, f"put this into docs/{page}:\n{table}"
