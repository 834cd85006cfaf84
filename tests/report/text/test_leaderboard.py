"""A leaderboard as text: every sentence is true, whoever lacks what, and a name stays a name."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slm_eval.compare.leaderboard import Leaderboard, System, leaderboards
from slm_eval.report.page.leaderboard import page
from slm_eval.report.text.leaderboard import READING, as_json, latex, leaders, markdown, order, remarks, render
from tests.compare.leaderboard.hostile_names import HOSTILE, hostile_boards
from tests.compare.leaderboard.made_runs import REAL, scores, spoken, system


@pytest.fixture(scope="module")
def boards() -> list[Leaderboard]:
    return hostile_boards()


def test_markdown_rows_have_as_many_cells_as_the_header(boards: list[Leaderboard]) -> None:
    rows = [line for line in markdown(boards).splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?:\\.|[^|\\])+", row)) for row in rows}) == 1
    assert len(rows) == 2 + len(HOSTILE) + 2  # header and rule; real speech and sizes
    assert not [row for row in rows if re.search(r"(?<!\\)[<`*]", row.replace("**", ""))]


def test_latex_holds_no_command_of_a_name(boards: list[Leaderboard]) -> None:
    text = latex(boards)
    assert r"\textbackslash{}input\{/etc/passwd\} \& 5 \% \$x\$ \#1 \textasciitilde{}\textasciicircum{}" in text
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert not [line for line in body if r"\input" in line]
    known = {"begin", "end", "centering", "caption", "toprule", "midrule", "bottomrule", "textbf", "pm"}
    known |= {"textbackslash", "textasciitilde", "textasciicircum"}
    assert set(re.findall(r"\\([a-zA-Z]+)", "\n".join(body))) <= known


def test_a_terminal_gets_one_line_a_system(boards: list[Leaderboard]) -> None:
    text = render(boards)
    assert "\u202e" not in text
    assert len(re.findall(r"^two lines ", text, re.MULTILINE)) == 1


KEYS = ("pjsd.1", "pjsd.2", "pjsd.3", "loudness.rms")


@pytest.fixture(scope="module")
def pool() -> dict[str, System]:
    """Systems that differ, each with every number."""
    rng = np.random.default_rng(0)
    return {
        name: system(name, spoken(24, seed, mixed), rng.normal(mean, 0.1, 24).tolist(), n=(1, 2, 3))
        for seed, (name, mixed, mean) in enumerate([("a", 0.0, 0.9), ("b", 0.1, 0.8), ("c", 0.9, 0.3), ("d", 0.9, 0.3)])
    }


def lacking(one: System, absent: set[str], withheld: set[str], uncovered: set[str]) -> System:
    """Return the system without some numbers, without some intervals, or with too little coverage for some."""
    metrics = {}
    for key, metric in one.run.metrics.items():
        if key not in absent:
            metrics[key] = metric | ({"ci95": None} if key in withheld else {})
            if "coverage" in metric:
                metrics[key]["coverage"] = 0.5 if key in uncovered else 0.95
    summary = one.run.summary | {"metrics": metrics, "not_computed": dict.fromkeys(absent, "left out here")}
    return replace(one, run=replace(one.run, summary=summary))


SOME = st.sets(st.sampled_from(KEYS))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(SOME, SOME, SOME), min_size=2, max_size=4))
def test_sentences_are_true(pool: dict[str, System], holes: list[tuple[set[str], set[str], set[str]]]) -> None:
    systems = [lacking(one, *hole) for one, hole in zip(pool.values(), holes, strict=False)]
    if not any(one.run.metrics for one in systems):
        return
    board = leaderboards(systems)[0]
    check_order(board)
    for column in board.columns.values():
        check_leaders(column)
    check_remarks(board)
    for text in (render([board]), markdown([board]), page([board])):
        assert "every system has" not in text or "every system has" in board.why


def check_order(board: Leaderboard) -> None:
    """The line above the tables says who has a rank and coverage at the n that it names."""
    said = order(board)
    assert said.startswith(f"{len(board.systems)} systems, ordered by {board.sort} (")
    usable = {
        n: sum(
            result.rank is not None and result.coverage is not None and result.coverage >= 0.9
            for result in board.columns[f"pjsd.{n}"].results.values()
        )
        for n in (1, 2, 3)
        if f"pjsd.{n}" in board.columns
    }
    sentence = re.search(r"the largest n at which (every system has|(\d+) of (\d+) systems have) a rank", said)
    if sentence is not None:
        n = int(board.sort.partition(".")[2])
        count = len(board.systems) if sentence[2] is None else int(sentence[2])
        assert usable[n] == count == max(usable.values())
        assert not any(of == count for larger, of in usable.items() if larger > n)
        assert (sentence[2] is None) == (count == len(board.systems))
    else:
        assert not any(usable.values())
        if "the smallest n" in said:
            assert board.sort == min(key for key in board.columns if key.startswith("pjsd."))
        else:
            assert said.endswith("(the first metric: there is no pJSD)")
            assert not usable


def check_leaders(column) -> None:  # type: ignore[no-untyped-def]
    said = leaders(column)
    ranked = {name: result for name, result in column.results.items() if result.rank is not None}
    worse = {pair.a if pair.better == pair.b else pair.b for pair in column.pairs if pair.better}
    unbeaten = sorted(set(ranked) - worse)
    assert len(ranked) != 1
    if not ranked:
        assert said == ""
    elif "is shown to be better than every other" in said:
        (name,) = unbeaten
        assert said.startswith(f"{name} ")
        assert sum(pair.better == name for pair in column.pairs) == len(ranked) - 1
    elif said.startswith("None of"):
        assert not worse
        assert f"{len(ranked)} ranked systems" in said
    elif "and all others are" in said:
        assert [said[0]] == unbeaten
    else:
        assert sorted(re.findall(r"\b[abcd]\b", said)) == unbeaten


def check_remarks(board: Leaderboard) -> None:
    """Each number that is not there, and each rank, is accounted for once."""
    said = remarks(board)
    for key, column in board.columns.items():
        about = [line for line in said if key in line.split(": ")[0].split(", ")]
        names = {system.name for system in board.systems}
        absent = {name for line in about for name in re.findall(r": no value of ([abcd]):", line)}
        unranked = {
            name
            for line in about
            for listed in re.findall(r": no rank of ([abcd, ]+):", line)
            for name in listed.split(", ")
        }
        assert absent == names - set(column.results)
        assert unranked == {name for name, result in column.results.items() if result.rank is None}


def test_one_system_of_its_signature_has_no_rank_and_the_page_says_so(pool: dict[str, System]) -> None:
    alone = system("in bits", spoken(24, 9), log_base="2")
    board = leaderboards([pool["a"], pool["b"], alone], per_signature=True)[1]
    assert remarks(board)[0] == "one system: there is nothing to rank"
    assert {result.why_unranked for result in board.columns["pjsd.1"].results.values()} == {
        "no other system may be ranked"
    }
    assert leaders(board.columns["pjsd.1"]) == ""
    assert "every system" not in order(board)


def test_a_key_that_only_another_signature_has_is_not_as_asked_for(pool: dict[str, System]) -> None:
    alone = system("in bits", spoken(24, 9), log_base="2", n=(1,))
    boards = leaderboards([pool["a"], pool["b"], alone], sort="pjsd.3", per_signature=True)
    assert (boards[0].sort, boards[0].why) == ("pjsd.3", "as asked for")
    assert boards[1].sort == "pjsd.1"
    assert boards[1].why.endswith("no system here has pjsd.3")


def test_the_error_rate_is_said_wherever_ranks_are(pool: dict[str, System]) -> None:
    boards = leaderboards(list(pool.values()))
    said = "an error rate of 5 % for all pairs of a metric together"
    assert said in " ".join(READING)
    for text in (render(boards), markdown(boards), page(boards)):
        assert said in text


def test_the_json_is_frozen() -> None:
    """Other software reads these names: changing one is a new schema."""
    document = json.loads(as_json(leaderboards([system("a", REAL, scores(0.5)), system("b", spoken(90, 2))])))
    assert {key: type(value) for key, value in document.items()} == {"schema": int, "version": str, "tables": list}
    assert document["schema"] == 1
    [table] = document["tables"]
    assert set(table) == {"sort", "why", "systems", "metrics"}
    assert set(table["systems"][0]) == {"name", "link", "notes", "corpus"}
    assert set(table["metrics"]) == {"pjsd.1", "pjsd.2", "loudness.rms"}
    for column in table["metrics"].values():
        assert {"unit", "higher_is_better", "signature", "results", "absent", "real", "notes"} <= set(column)
        assert set(column) - {"unit", "higher_is_better", "signature", "results", "absent", "real", "notes"} == {
            "pairs",
            "error_rate",
        }
        assert column["error_rate"] == 0.05
        assert set(column["real"]) == {"value", "ci95", "n"}
        for result in column["results"].values():
            assert set(result) == {"value", "ci95", "n", "rank", "worst_rank", "why_unranked", "coverage"}
        for pair in column["pairs"]:
            assert set(pair) == {"a", "b", "difference", "p_adjusted", "better"}
    assert set(table["metrics"]["loudness.rms"]["results"]) == {"a"}
    assert set(table["metrics"]["loudness.rms"]["absent"]) == {"b"}
