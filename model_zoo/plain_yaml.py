"""YAML files that anybody may have written, as plain values within limits; no tag in them makes an object."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slm_eval.base.errors import UsageError
from slm_eval.base.strict_json import MAX_DEPTH, read_text

_MAX_BYTES = 256 << 10  # the largest of ours has 4 kB; the parser reads some 100 kB a second
_MAX_VALUES = 100_000  # aliases of aliases are few lines, and more values than fit into any memory


def read_yaml(path: Path) -> Any:
    """Return what a file holds.

    Raises:
        UsageError: it cannot be read, is not YAML, or holds more than plain values, or too many.
    """
    try:
        return parse_yaml(read_text(path, _MAX_BYTES))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path} is not YAML of plain values: {error}") from error


def parse_yaml(text: str) -> Any:
    """Return the value of a text.

    Raises:
        ValueError: it is not YAML, or holds more than plain values, or too many.
    """
    import yaml

    try:
        value = yaml.safe_load(text)
    except RecursionError:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep") from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:  # numbers and dates that are none
        raise ValueError(" ".join(str(error).split())[:200]) from error
    _require_plain(value)
    return value


def _require_plain(value: Any) -> None:
    waiting, count = [(value, 0)], 0
    while waiting:
        held, depth = waiting.pop()
        count += 1
        if depth > MAX_DEPTH or count > _MAX_VALUES:
            raise ValueError(f"it is nested more than {MAX_DEPTH} deep, or holds more than {_MAX_VALUES} values")
        if isinstance(held, Mapping):
            waiting += [(inner, depth + 1) for pair in held.items() for inner in pair]
        elif isinstance(held, list):
            waiting += [(inner, depth + 1) for inner in held]
        elif isinstance(held, float) and not math.isfinite(held):
            raise ValueError(f"{held} is not a finite number")
        elif isinstance(held, int) and abs(held) >= 2**63:
            raise ValueError("a whole number has more than 64 bits")
        elif not isinstance(held, (str, int, float, type(None))):
            raise ValueError(f"{str(held)[:40]!r} is a {type(held).__name__}; put it into quotes if it is a text")
