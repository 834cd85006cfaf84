"""The README says what is true: its tree lists every module, its commands are those of the command line."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import fields

import pytest

from model_zoo.cli.main import main as zoo
from slm_eval.cli.main import main
from slm_eval.compare.leaderboard.column import Column, Result
from slm_eval.compare.result import Difference, Together
from slm_eval.metrics.pjsd import DivergenceSummary
from slm_eval.metrics.plm import CrossEntropySummary
from slm_eval.metrics.scores import ScoreSummary
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("package", ["slm_eval", "model_zoo"])
def test_tree_lists_every_module_and_folder(package: str) -> None:
    tree = re.search(rf"^{package}/\n((?:  .*\n)+)", README, flags=re.MULTILINE)
    assert tree is not None
    names = re.findall(r"^  (\S+?)/?\s{2,}\S", tree[1], flags=re.MULTILINE)
    assert max(Counter(names).values()) == 1, f"listed twice: {sorted(n for n, k in Counter(names).items() if k > 1)}"
    listed = set(names)
    there = {path.name for path in (ROOT / package).glob("*.py") if not path.name.startswith("_")}
    there |= {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    assert there <= listed, f"the README's tree lacks {sorted(there - listed)}"
    assert listed <= there, f"the README's tree lists {sorted(listed - there)}, which are not there"


def test_every_command_is_in_the_readme() -> None:
    for name in main.commands:
        assert f"slm-eval {name}" in README
    for name in zoo.commands:
        assert f"slm-zoo {name}" in README


def test_no_path_of_a_machine_in_the_documents() -> None:
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        assert not re.search(r"(?<![\w.])/(home|root|work|Users)/", path.read_text(encoding="utf-8")), path


def test_every_link_to_a_file_of_ours_leads_somewhere() -> None:
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.relative_to(ROOT)} links to {target}"


def test_the_index_lists_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")} - {"README.md"}
    assert pages <= set(re.findall(r"\]\(([^)#]+)", index))


@pytest.mark.parametrize(
    "written", [ScoreSummary, DivergenceSummary, CrossEntropySummary, Difference, Together, Column, Result]
)
def test_every_field_that_programs_read_is_documented(written: type) -> None:
    documented = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "files.md").read_text(encoding="utf-8")))
    assert {field.name for field in fields(written)} - documented <= {"key"}  # names the entry


def test_every_page_of_a_metric_says_when_it_misleads_its_signature_and_how_to_cite_it() -> None:
    for path in (ROOT / "docs" / "metrics").glob("*.md"):
        text = path.read_text(encoding="utf-8")
        assert re.search(r"^## When it misleads$.*^## Signature$.*^```bibtex$", text, re.MULTILINE | re.DOTALL), path
        for cited in re.findall(r"```bibtex\n(.*?)```", text, re.DOTALL):
            assert cited.count("{") == cited.count("}")
