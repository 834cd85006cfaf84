"""YAML of anybody: plain values, or one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from model_zoo.cli.main import main
from model_zoo.plain_yaml import parse_yaml, read_yaml
from slm_eval.base.errors import UsageError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("!!python/object/apply:os.mkdir [code-ran]", "could not determine a constructor"),
        ("steps: " + "1" * 10_000, "."),
        ("steps: " + "1" * 100, "more than 64 bits"),
        ("rate: .nan", "nan is not a finite number"),
        ("rate: .inf", "inf is not a finite number"),
        ("date: 2001-99-99", "month must be in"),
        ("date: 2001-01-01", "is a date; put it into quotes"),
        ("data: !!binary aGVsbG8=", "is a bytes"),
        ("[" * 100_000, "nested more than 64 deep"),
        ("&a [*a]", "nested more than 64 deep"),
        ("a: &a [x, x]\n" + "".join(f"{k}: &{k} [{', '.join('*' + chr(ord(k) - 1) for _ in range(9))}]\n"
         for k in "bcdefghi"), "more than 100000 values"),
        ("a: [", "while parsing"),
    ],
)  # fmt: skip
def test_what_is_no_plain_value_is_refused(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=said) as caught:
        parse_yaml(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250
    Path("config.yaml").write_text(text)
    for command in (["train", "config.yaml", "-o", "out"], ["sweep", "config.yaml", "-o", "out"]):
        result = CliRunner().invoke(main, command)
        assert isinstance(result.exception, SystemExit)
        assert result.exit_code == 2
        assert len(result.output.splitlines()) == 1
    assert not Path("code-ran").exists()


def test_plain_values_and_aliases_are_read(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: &x {b: 1, 2: [1.5, yes, null]}\nc: *x\n")
    inner = {"b": 1, 2: [1.5, True, None]}
    assert read_yaml(tmp_path / "x.yaml") == {"a": inner, "c": inner}


def test_a_pipe_and_a_large_file_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(UsageError, match="not a regular file"):
        read_yaml(tmp_path / "pipe.yaml")
    (tmp_path / "large.yaml").write_bytes(b"a: b\n" * 60_000)
    with pytest.raises(UsageError, match="larger than"):
        read_yaml(tmp_path / "large.yaml")
