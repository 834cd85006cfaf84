"""The README says what is true: its tree lists every module, its commands are those of the command line."""

from __future__ import annotations

import re

from conftest import ROOT

from slm_eval.cli import main

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_tree_lists_every_module_and_folder() -> None:
    listed = set(re.findall(r"^  (\S+?)/?\s{2,}\S", README, flags=re.MULTILINE))
    there = {path.name for path in (ROOT / "slm_eval").glob("*.py") if not path.name.startswith("_")}
    there |= {path.parent.name for path in (ROOT / "slm_eval").glob("*/__init__.py")}
    assert there <= listed, f"the README's tree lacks {sorted(there - listed)}"
    assert listed <= there, f"the README's tree lists {sorted(listed - there)}, which are not there"


def test_every_command_is_in_the_readme() -> None:
    for name in main.commands:
        assert f"slm-eval {name}" in README


def test_no_path_of_a_machine_in_the_documents() -> None:
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        assert not re.search(r"(?<![\w.])/(home|root|work|Users)/", path.read_text(encoding="utf-8")), path
