"""JSON and lines of text that anybody may have written: read strictly and within limits, or refused in one line.

Python's own reader takes NaN, keys that occur twice, halves of characters and numbers of any length; each of those was
a traceback, or a wrong number, much later. Here they are refused where they are read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slm_eval.base.errors import SlmEvalError

MAX_DEPTH = 64  # what any of our files nests is below 10
MAX_FILE_BYTES = 64 << 20  # of one object; a text of brackets needs twenty times as much memory
MAX_LINE_BYTES = 16 << 20  # an hour of phones is below 1 MB
_MAX_DIGITS = 300  # more are no float, and reading very many takes time that grows as their square


def parse(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is not JSON, is nested too deeply, or holds a number that is not finite, a key twice, or half a
            character.
    """
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep") from None
    # Counting is a hundred times as fast as walking, and spares nearly all texts the walk.
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _require_shallow(value)
    if "\\ud" in text or "\\uD" in text:
        _require_unicode(value)
    return value


def read_object(path: Path, advice: str, max_bytes: int = MAX_FILE_BYTES) -> dict[str, Any]:
    """Return the JSON object that a file holds.

    Args:
        advice: what to do where it is missing or damaged, for the end of the message.
        max_bytes: a larger file is refused.

    Raises:
        SlmEvalError: it cannot be read, or holds something else.
    """
    try:
        value = parse(read_text(path, max_bytes))
    except OSError as error:
        raise SlmEvalError(f"cannot read {path}: {error.strerror}; {advice}") from error
    except ValueError as error:
        raise SlmEvalError(f"{path} is damaged ({error}); {advice}") from error
    if not isinstance(value, dict):
        raise SlmEvalError(f"{path} must hold a JSON object, got {type(value).__name__}; {advice}")
    return value


def read_text(path: Path, max_bytes: int = MAX_FILE_BYTES) -> str:
    """Return a text file's content.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, too large or not UTF-8.
    """
    _require_regular(path)
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"it is larger than {max_bytes >> 20} MiB")
    return _decoded(content)


def read_lines(path: Path, max_bytes: int = MAX_LINE_BYTES) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, with their numbers. A line ends at a newline and nowhere else.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no regular file, or a line is too long or not UTF-8; the message gives its number.
    """
    _require_regular(path)
    with path.open("rb") as file:
        number = 0
        while content := file.readline(max_bytes + 1):
            number += 1
            if len(content) > max_bytes:
                raise ValueError(f"line {number}: it is longer than {max_bytes >> 20} MiB")
            try:
                line = _decoded(content).strip(" \t\r\n")
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
            if line:
                yield number, line


def _require_regular(path: Path) -> None:
    # A pipe would be waited for, and a device such as /dev/zero never ends.
    if path.exists() and not path.is_file():
        raise ValueError("it is not a regular file")


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{_short(text)} is not a finite number")
    return number


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"{_short(text)} has {len(text)} digits, expected at most {_MAX_DIGITS}")
    return int(text)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a finite number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {_short(key)!r} is there twice")
            seen.add(key)
    return values


_DECODER = json.JSONDecoder(parse_float=_finite, parse_int=_integer, parse_constant=_refuse, object_pairs_hook=_object)


def _require_shallow(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level if isinstance(outer, (dict, list)) for inner in _inside(outer)]
    if any(isinstance(inner, (dict, list)) for inner in level):
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep")


def _require_unicode(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"\\u{ord(error.object[error.start]):04x} is half of a character") from None


def _inside(value: dict[str, Any] | list[Any]) -> Any:
    return value.values() if isinstance(value, dict) else value


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:30]}..."
