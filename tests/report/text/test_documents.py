"""Markdown and LaTeX hold the numbers of the run in whole tables, and names stay text."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from slm_eval.base.files import dump, write_jsonl
from slm_eval.cli.main import main
from slm_eval.report.text.documents import latex, markdown
from slm_eval.run.finished import FinishedRun
from tests.report.made_run import made_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    run = made_run(tmp_path_factory.mktemp("run"))
    run.summary["corpora"]["real"]["path"] = r"a|b_c & 50% \\input{x} <script> $x$ \u202e"
    return run


def rounded(run: FinishedRun) -> list[str]:
    numbers = []
    for key, metric in run.metrics.items():
        digits = 4 if key.startswith("pjsd.") else 3
        numbers += [
            f"{metric[name]:.{digits}f}" for name in ("value", "floor", "corrected") if metric.get(name) is not None
        ]
        if metric["ci95"] is not None:
            numbers.append(f"[{metric['ci95'][0]:.{digits}f}, {metric['ci95'][1]:.{digits}f}]")
    return numbers


def test_markdown_tables_are_whole_and_hold_the_numbers(run: FinishedRun) -> None:
    text = markdown(run)
    plain = text.replace("\\", "")
    assert all(number in plain for number in rounded(run))
    assert all(metric["signature"] in text for metric in run.metrics.values())
    tables = [block.split("\n") for block in text.split("\n\n") if block.startswith("| ")]
    assert len(tables) == 3
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table}) == 1
    assert "<script>" not in re.sub(r"\\[<>]", "", text)
    assert r"a\|b\_c" in text


def test_latex_tables_are_whole_and_hold_the_numbers(run: FinishedRun) -> None:
    text = latex(run)
    assert all(number in text for number in rounded(run))
    tables = re.findall(r"\\begin\{tabular\}\{(l[r]+)\}\n(.*?)\\end\{tabular\}", text, flags=re.DOTALL)
    assert len(tables) == 3
    for columns, body in tables:
        rows = [line for line in body.split("\n") if line.endswith(r"\\")]
        assert len(rows) > 1
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(columns) - 1}
    body = "\n".join(line for line in text.split("\n") if not line.startswith("%"))
    assert body.isascii()
    assert not re.search(r"(?<!\\)[%#_]", body)
    assert body.count("{") == body.count("}")


def test_report_writes_three_files_of_a_run_read_back(run: FinishedRun, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(dump(run.summary), encoding="utf-8")
    write_jsonl(tmp_path / "clips.jsonl", (clip for side in run.clips.values() for clip in side))
    result = CliRunner().invoke(main, ["report", str(tmp_path), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "report.md", "report.tex"]
    named = replace(run, name=tmp_path.resolve().name)
    assert (tmp_path / "out" / "report.md").read_text(encoding="utf-8") == markdown(named)
    missing = CliRunner().invoke(main, ["report", str(tmp_path / "nowhere")])
    assert missing.exit_code == 2
    assert "must be a finished run" in missing.output
