"""Every example in a docstring runs, and gives what it says."""

from __future__ import annotations

import doctest
import re
from importlib import import_module
from pathlib import Path

import pytest

from tests.conftest import ROOT

FILES = [path for package in ("slm_eval", "model_zoo") for path in sorted((ROOT / package).rglob("*.py"))]
RUNS = re.compile(r"^ *>>> (?!.*# doctest: \+SKIP)", flags=re.MULTILINE)
WITH_EXAMPLES = [path.relative_to(ROOT) for path in FILES if RUNS.search(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=str)
def test_examples_in_docstrings_run(path: Path) -> None:
    outcome = doctest.testmod(import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__")))
    assert outcome.attempted > 0
    assert outcome.failed == 0
