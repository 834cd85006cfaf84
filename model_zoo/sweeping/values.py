"""Values of a YAML file, checked: what came, where, and what was expected there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from slm_eval.base.errors import UsageError, unknown_name


def known_keys(told: Mapping[str, Any], known: Sequence[str], what: str) -> None:
    """Refuse a key that means nothing: a misspelt one would silently change what is trained."""
    for key in told:
        if key not in known:
            raise unknown_name(what, str(key), known)


def mapping(value: Any, where: str) -> Mapping[Any, Any]:
    """Keys and values."""
    if not isinstance(value, dict):
        raise UsageError(f"{where}: expected keys and values, got {value!r}")
    return value


def listed(value: Any, where: str) -> list[Any]:
    """A list of at least one."""
    if not isinstance(value, list) or not value:
        raise UsageError(f"{where}: expected a list, got {value!r}")
    return value


def number(value: Any, where: str) -> float:
    """Any finite number. YAML reads 1e18 as a text, which is one."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise UsageError(f"{where}: expected a number, got {value!r}")
    return found


def positive(value: Any, where: str) -> float:
    """A number above 0."""
    found = number(value, where)
    if found <= 0:
        raise UsageError(f"{where}: expected a number above 0, got {value!r}")
    return found


def count(value: Any, where: str) -> int:
    """A whole number from 1."""
    found = positive(value, where)
    if found != int(found):
        raise UsageError(f"{where}: expected a whole number, got {value!r}")
    return int(found)
