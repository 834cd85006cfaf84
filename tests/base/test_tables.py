"""One table in three formats: whatever a cell holds, it stays one cell and stays text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slm_eval.base.tables import Strong, Table, in_code, in_latex

CELL = st.text(min_size=1, max_size=12) | st.sampled_from(
    ["|", "\\", "a\\|b", "&", "[x]", "*", "\n", "\u202e", "%", "$"]
)


def test_golden() -> None:
    table = Table("Scores, in MOS", ["system", "mos"], [["a_b|c", Strong("3.10 ± 0.02")], ["d", "[2.1, 2.2]"]], ["N."])
    assert table.to_text() == "Scores, in MOS.\nsystem          mos\na_b|c   3.10 ± 0.02\nd        [2.1, 2.2]\nN."
    assert table.to_markdown() == (
        "Scores, in MOS.\n\n| system | mos |\n| --- | ---: |\n"
        "| a\\_b\\|c | **3.10 ± 0.02** |\n| d | \\[2.1, 2.2\\] |\n\nN."
    )
    assert table.to_latex().split("\n")[2:] == [
        r"  \caption{Scores, in MOS. N.}",
        r"  \begin{tabular}{lr}",
        r"    \toprule",
        r"    system & mos \\",
        r"    \midrule",
        r"    a\_b|c & \textbf{3.10 $\pm$ 0.02} \\",
        r"    d & {[2.1, 2.2]} \\",
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=3))
def test_no_cell_ends_a_cell_or_a_line(rows: list[tuple[str, str]]) -> None:
    table = Table("t", ["a", "b"], rows)
    lines = table.to_markdown().split("\n\n")[1].split("\n")
    # As GitHub splits cells: a backslash escapes what follows it.
    assert [len(re.findall(r"(?:\\.|[^|\\])+", line)) for line in lines] == [2] * (len(rows) + 2)
    assert len(f"{table.to_text()}.".splitlines()) == 2 + len(rows)


@given(CELL)
def test_latex_holds_no_command_of_a_cell(cell: str) -> None:
    ours = r"\\textbackslash\{\}|\\textasciitilde\{\}|\\textasciicircum\{\}|\$\\pm\$|\$-\$|\\[#$%&_{}]"
    rest = re.sub(ours, "", in_latex(cell))
    assert not re.search(r"[\\#$%&_~^]", rest)
    assert rest.count("{") == rest.count("}")


@pytest.mark.parametrize(
    ("text", "code"), [("pjsd.1", "`pjsd.1`"), ("a`b", "`` a`b ``"), ("``\n# x", "``` `` # x ```"), ("", "``")]
)
def test_code_in_markdown(text: str, code: str) -> None:
    assert in_code(text) == code
