"""What a clip or a folder is called is shown, and never obeyed by a terminal."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from slm_eval.base.terminal import visible
from slm_eval.cli.main import main


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


STEERING = "\x1b[2J\x1b]0;owned\x07\u202egpj"


def test_names_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    path = tmp_path / "phones.jsonl"
    path.write_text(
        "".join(json.dumps({"id": f"{STEERING}{number}", "phones": ["a", "b"] * number}) + "\n" for number in (1, 2))
    )
    folder = tmp_path / f"evil{STEERING}"
    results = [
        invoke("run", "--generated", path, "--real", path, "--metrics", "pjsd", "-o", folder),
        invoke("run", "--generated", path, "--real", path, "--metrics", "pjsd", "-o", folder, "--json"),
        invoke("report", folder),
        invoke("report", tmp_path / f"absent{STEERING}"),
        invoke("compare", folder, folder),
        invoke("run", "--generated", f"no{STEERING}", "--real", path, "-o", tmp_path / "o"),
        invoke("leaderboard", f"x{STEERING}", "-o", tmp_path / "board"),
    ]
    for result in results:
        assert "\\u001b[2J" in result.output, result.output
        assert not {"\x1b", "\x07", "\u202e"} & set(result.output)


def test_what_is_made_visible_is_the_same_json() -> None:
    value = {STEERING: ["\x9b31m", "\u2066", "é\n\t"]}
    assert json.loads(visible(json.dumps(value, ensure_ascii=False))) == value
