"""JSON and lines of text: what Python's reader takes and a number or a name must not be is refused in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from slm_eval.base.errors import SlmEvalError
from slm_eval.base.strict_json import MAX_DEPTH, parse, read_lines, read_object


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("NaN", "NaN is not a finite number"),
        ("[-Infinity]", "-Infinity is not a finite number"),
        ("[1e999]", "1e999 is not a finite number"),
        ("1" * 10_000, "has 10000 digits"),
        ("-" + "1" * 400, "has 401 digits"),
        ("[" * 200_000, "nested more than 64 deep"),
        ('{"a":' * 100 + "1" + "}" * 100, "nested more than 64 deep"),
        ('{"id": 1, "x": 2, "id": 3}', "the key 'id' is there twice"),
        (r'{"x": "\ud800"}', r"\\ud800 is half of a character"),
        (r'{"\uDFFF": 1}', r"\\udfff is half of a character"),
        ("", "Expecting value"),
        ("{} {}", "Extra data"),
        ("\ufeff{}", "Expecting value"),
    ],
)
def test_what_is_no_plain_value_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, -2.5e-300, 1e308, None, True, "ə\u2028\x85\x1c\x00", 2**64], "": {}},
        "\U0001f600",
        10**299,
        [[[]] * 1000] * 3,
    ],
)
def test_plain_values_are_those_of_json(value: object) -> None:
    for ascii_only in (False, True):
        assert parse(json.dumps(value, ensure_ascii=ascii_only)) == value


def test_the_depth_that_is_allowed() -> None:
    parse("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    with pytest.raises(ValueError, match="deep"):
        parse("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))


def test_a_line_ends_at_a_newline_alone(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes("a\u2028b\x85c\x1cd\x0ce\r\n\n  \n\tf\n".encode() + b"last")
    assert list(read_lines(path)) == [(1, "a\u2028b\x85c\x1cd\x0ce"), (4, "f"), (5, "last")]


def test_lines_have_a_longest(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"short\n" + b"x" * 101)
    with pytest.raises(ValueError, match="line 2: it is longer"):
        list(read_lines(path, max_bytes=100))
    path.write_bytes(b"short\n\xff\n")
    with pytest.raises(ValueError, match="line 2: byte 0 is not UTF-8"):
        list(read_lines(path))


def test_a_file_that_cannot_be_an_object_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(SlmEvalError, match=r"cannot read .*x\.json: No such file.*; make it"):
        read_object(path, "make it")
    path.write_text("[1]")
    with pytest.raises(SlmEvalError, match="must hold a JSON object, got list; make it"):
        read_object(path, "make it")
    path.write_text('{"a": "' + "x" * (2 << 20) + '"}')
    with pytest.raises(SlmEvalError, match="larger than 1 MiB"):
        read_object(path, "make it", max_bytes=1 << 20)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SlmEvalError, match="byte 0 is not UTF-8"):
        read_object(path, "make it")


@pytest.mark.parametrize("kind", ["pipe", "endless"])
def test_nothing_is_waited_for(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(SlmEvalError, match="is not a regular file"):
        read_object(path, "make it")
    with pytest.raises(ValueError, match="is not a regular file"):
        list(read_lines(path))
