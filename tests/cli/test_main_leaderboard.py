"""leaderboard as a command: its files, and one line for whatever cannot be ranked."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from slm_eval.cli.main import main
from tests.compare.leaderboard.made_runs import spoken, write

FILES = ["leaderboard.html", "leaderboard.json", "leaderboard.md", "leaderboard.tex"]


def ranked(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["leaderboard", *map(str, arguments)])


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    return [
        write(tmp_path / "runs" / name, spoken(40, index, mixed), rng.normal(mean, 0.1, 40).tolist())
        for index, (name, mixed, mean) in enumerate([("good", 0.0, 0.9), ("poor", 0.6, 0.2)])
    ]


def test_it_prints_tables_and_writes_four_files(runs: list[Path], tmp_path: Path) -> None:
    result = ranked(*runs, "-o", tmp_path / "board")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "board").iterdir()) == FILES
    row = re.search(r"^good +(\S+) ± (\S+) +1 ", result.output, re.MULTILINE)
    assert row is not None
    results = json.loads((tmp_path / "board" / "leaderboard.json").read_text())["tables"][0]["metrics"]["pjsd.1"][
        "results"
    ]
    assert float(row[1]) == pytest.approx(results["good"]["value"], abs=5e-5)
    assert results["poor"]["rank"] == 2
    assert re.search(r"^real speech ", result.output, re.MULTILINE)


def test_json_is_what_is_written(runs: list[Path], tmp_path: Path) -> None:
    result = ranked(*runs, "-o", tmp_path / "board", "--json")
    assert result.exit_code == 0
    assert result.stdout == (tmp_path / "board" / "leaderboard.json").read_text()


def test_names_may_be_given(runs: list[Path], tmp_path: Path) -> None:
    """A folder may have an equals sign in its name, as of a sweep."""
    swept = runs[1].rename(runs[1].with_name("lr=0.1"))
    assert ranked(f"ours={runs[0]}", f"theirs={swept}", "-o", tmp_path / "board").exit_code == 0
    table = json.loads((tmp_path / "board" / "leaderboard.json").read_text())["tables"][0]
    assert [entry["name"] for entry in table["systems"]] == ["ours", "theirs"]
    assert ranked(runs[0], swept, "-o", tmp_path / "board").exit_code == 0
    table = json.loads((tmp_path / "board" / "leaderboard.json").read_text())["tables"][0]
    assert [entry["name"] for entry in table["systems"]] == ["good", "lr=0.1"]


def test_equal_runs_write_equal_files(runs: list[Path], tmp_path: Path) -> None:
    for name in ("one", "two"):
        ranked(*runs, "-o", tmp_path / name)
    ranked(*reversed(runs), "-o", tmp_path / "other order")
    for file in FILES:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    for file in ("leaderboard.md", "leaderboard.tex", "leaderboard.html"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other order" / file).read_bytes()


def test_what_cannot_be_ranked_is_one_line(runs: list[Path], tmp_path: Path) -> None:
    bits = write(tmp_path / "bits", spoken(40, 3), log_base="2")
    namesake = write(tmp_path / "elsewhere" / "good", spoken(40, 4))
    shard = tmp_path / "shard"
    shard.mkdir()
    (shard / "shard.json").write_text("{}")
    for arguments, status, message in [
        (runs[:1], 2, "at least two runs, got 1"),
        ([*runs, namesake], 2, "NAME=RUN"),
        ([runs[0], runs[0]], 2, "once"),
        ([runs[0], tmp_path / "nothing"], 2, "must be a finished run"),
        ([runs[0], shard], 2, "slm-eval merge"),
        ([*runs, "--sort", "pjsd.9"], 2, "pjsd.9"),
        ([*runs, "--metrics", "dnsmos"], 2, "dnsmos"),
        ([*runs, bits], 1, "base e against 2"),
    ]:
        result = ranked(*arguments, "-o", tmp_path / "board")
        assert result.exit_code == status, result.output
        lines = [line for line in result.output.splitlines() if line.startswith("Error: ")]
        assert len(lines) == 1
        assert message in lines[0]
        assert "Traceback" not in result.output
    assert not (tmp_path / "board").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"schema": 1', '"schema": 2'),
        ('"value": ', '"value": NaN, "was": '),
        ('"value": ', '"value": 1e999, "was": '),
        ('"ci95": [', '"ci95": [[0], '),
        ('"ci95": ', '"interval": '),
        ('"floor": ', '"floor": "low", "was": '),
        ('"n_ngrams": {', '"n_ngrams": {"generated": "many"}, "was": {'),
        ("}", ""),
    ],
)
def test_files_that_were_edited_are_one_line(runs: list[Path], tmp_path: Path, old: str, new: str) -> None:
    path = runs[1] / "summary.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    result = ranked(*runs, "-o", tmp_path / "board")
    assert result.exit_code == 1, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert len(result.output.splitlines()) == 1
    assert not (tmp_path / "board").exists()


def test_a_table_for_each_signature_where_asked_for(runs: list[Path], tmp_path: Path) -> None:
    bits = [write(tmp_path / f"bits {index}", spoken(40, index), log_base="2") for index in (3, 4)]
    result = ranked(*runs, *bits, "-o", tmp_path / "board", "--per-signature")
    assert result.exit_code == 0, result.output
    tables = json.loads((tmp_path / "board" / "leaderboard.json").read_text())["tables"]
    assert [sorted(entry["name"] for entry in table["systems"]) for table in tables] == [
        ["good", "poor"],
        ["bits 3", "bits 4"],
    ]
    assert len({table["metrics"]["pjsd.1"]["signature"] for table in tables}) == 2
