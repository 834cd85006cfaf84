"""Every example in a docstring runs, and gives what it says; docstrings of functions begin with a verb."""

from __future__ import annotations

import ast
import doctest
import re
from importlib import import_module
from pathlib import Path

import pytest

from tests.conftest import ROOT

FILES = [path for package in ("slm_eval", "model_zoo") for path in sorted((ROOT / package).rglob("*.py"))]
RUNS = re.compile(r"^ *>>> (?!.*# doctest: \+SKIP)", flags=re.MULTILINE)
WITH_EXAMPLES = [path.relative_to(ROOT) for path in FILES if RUNS.search(path.read_text(encoding="utf-8"))]

# First words that are no verbs, as docstrings begin that name a value and do not say what the function does.
NO_VERBS = {
    "of", "what", "where", "which", "whether", "how", "why", "the", "a", "an", "all", "every", "each", "that", "those",
    "one", "none", "as", "with", "from", "by", "names", "json", "signature", "units", "samples", "duration",
}  # fmt: skip


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=str)
def test_examples_in_docstrings_run(path: Path) -> None:
    outcome = doctest.testmod(import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__")))
    assert outcome.attempted > 0
    assert outcome.failed == 0


def nouns_first(source: str) -> list[str]:
    """Return the first lines of docstrings of functions, methods and properties that do not begin with a verb."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (text := ast.get_docstring(node)):
            word = re.match(r"[A-Za-z]*", text)[0].lower()
            if not word or word in NO_VERBS:
                found.append(f"{node.name}: {text.splitlines()[0]}")
    return found


@pytest.mark.parametrize(
    ("line", "verb"),
    [
        ("Return the keys.", True),
        ("Return.", True),
        ("Of information.", False),
        ("All: what can change.", False),
        ("JSON values.", False),
        ('"plm.3".', False),
        ("3 keys.", False),
        ("``keys``", False),
    ],
)
def test_what_is_no_verb_is_found(line: str, verb: bool) -> None:
    source = f"class A:\n    @property\n    def keys(self) -> None:\n        '''{line}'''\n"
    assert nouns_first(source) == ([] if verb else [f"keys: {line}"])


def test_docstrings_of_functions_begin_with_a_verb() -> None:
    found = {str(path.relative_to(ROOT)): nouns_first(path.read_text(encoding="utf-8")) for path in FILES}
    assert {path: lines for path, lines in found.items() if lines} == {}
