"""compare as a command, on runs and on speech."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from slm_eval.cli.main import main
from tests.compare.chains import markov, rng
from tests.compare.made_runs import make_run, numbered, write
from tests.conftest import EXAMPLES


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def test_command_on_runs(tmp_path: Path) -> None:
    a = make_run("a", numbered(rng(1).normal(4, 1, 30)), numbered(markov(rng(3), 30)))
    b = make_run("b", numbered(rng(2).normal(2, 1, 30)), numbered(markov(rng(4), 30)))
    paths = write(a, tmp_path / "a"), write(b, tmp_path / "b")
    printed = invoke(*paths)
    assert printed.exit_code == 0, printed.output
    assert "paired by clip id: 30 pairs" in printed.output
    assert (
        "2,000 labellings, corrected by step-down min-p within a family of metrics and by Holm over 2" in printed.output
    )
    line = next(line for line in printed.output.splitlines() if line.startswith("mos.x"))
    assert line.split()[-1] == "A"
    printed_json = json.loads(invoke(*paths, "--json", "--metrics", "mos").output)
    assert list(printed_json["differences"]) == ["mos.x"]
    assert printed_json["differences"]["mos.x"].keys() >= {
        "a", "b", "difference", "ci95", "effect", "p", "p_adjusted", "n", "unit", "better", "signature",
    }  # fmt: skip
    assert invoke(*paths, "--metrics", "pjsd.2,mos.x").exit_code == 0
    for arguments, message in [
        ((paths[0], paths[0]), "A and B are both"),
        ((*paths, "--metrics", "dnsmos"), "'dnsmos' is in no key that both runs have"),
        ((*paths, "--real", tmp_path), "is a finished run against real"),
        (
            (paths[0], tmp_path / "nothing"),
            "must be a finished run, got a path without summary.json; to score it as speech, add --real",
        ),
    ]:
        refused = invoke(*arguments)
        assert refused.exit_code == 2
        assert message in " ".join(refused.output.split())
    (paths[1] / "clips.jsonl").write_text((paths[1] / "clips.jsonl").read_text().replace("2.", 'NaN, "x": 2.', 1))
    refused = invoke(*paths)
    assert (refused.exit_code, "NaN is not a finite number" in refused.output) == (1, True)


def test_command_on_speech() -> None:
    done = invoke(
        EXAMPLES / "generated", EXAMPLES / "real", "--real", EXAMPLES / "real", "--limit", 6, "--metrics", "pjsd",
        "--ngrams", "1", "--recognizer", "pocketsphinx", "--permutations", 99, "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    comparison = json.loads(done.stdout)
    assert (comparison["a"], comparison["b"], comparison["paired"]) == ("generated", "real", True)
    assert comparison["differences"]["pjsd.1"]["b"] < comparison["differences"]["pjsd.1"]["a"]
