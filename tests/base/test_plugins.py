"""A package whose metric or recogniser cannot be used is a line that names it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from slm_eval.cli.main import main


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package whose metric cannot be imported, one that cannot be made, and a recogniser that ends all."""
    info = tmp_path / "site" / "broken-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[slm_eval.metrics]\nwrecked = broken_metric:Metric\nunmade = unmade_metric:Unmade\n"
        "[slm_eval.recognizers]\nender = broken_end:Ender\n"
    )
    (tmp_path / "site" / "broken_metric.py").write_text("import a_package_that_is_not_here\n")
    (tmp_path / "site" / "broken_end.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "site" / "unmade_metric.py").write_text(
        "from tests.fakes import Loudness\nclass Unmade(Loudness):\n    name = 'unmade'\n"
        "    def __init__(self):\n        1 / 0\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")


WRECKED = (
    "the metric 'wrecked' of another package (broken_metric:Metric) cannot be used: "
    "ModuleNotFoundError: No module named 'a_package_that_is_not_here'; update or remove that package"
)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_broken_package_is_a_line_of_the_list(broken: None) -> None:
    listed = invoke("list")
    assert listed.exit_code == 0, listed.output
    assert f"  wrecked       {WRECKED}" in listed.output
    assert "(unmade_metric:Unmade) cannot be used: ZeroDivisionError: division by zero" in listed.output
    assert "the recognizer 'ender' of another package (broken_end:Ender) cannot be used: SystemExit: 0" in listed.output
    assert "  dnsmos        ready" in listed.output


def test_a_broken_package_is_a_line_where_it_is_asked_for_and_left_out_elsewhere(broken: None, tmp_path: Path) -> None:
    path = tmp_path / "phones.jsonl"
    path.write_text(
        "".join(json.dumps({"id": f"{number}", "phones": ["a", "b"] * number}) + "\n" for number in (1, 2, 3))
    )
    both = ("run", "--generated", path, "--real", path, "-o", tmp_path / "out")
    asked = invoke(*both, "--metrics", "pjsd,wrecked")
    assert (asked.exit_code, asked.output) == (1, f"Error: {WRECKED}\n")
    assert "(unmade_metric:Unmade) cannot be used: ZeroDivisionError" in invoke(*both, "--metrics", "unmade").output
    ender = invoke("phones", tmp_path, "-o", tmp_path / "p.jsonl", "--recognizer", "ender")
    assert "SystemExit: 0" in ender.output or "no audio" in ender.output
    default = invoke(*both)
    assert default.exit_code == 0, default.output
    assert f"left out: {WRECKED}\n" in default.output
    assert "pjsd.1" in default.output
