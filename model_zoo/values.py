"""Dataclasses from plain values, such as YAML and JSON give: unknown keys and values of other types are refused.

    budget = build(Budget, {"flops": "1e18", "sizes": ["L2"]}, "sweep.yaml: ")

The types of the fields say what is expected: ``int``, ``float``, ``bool``, ``str``, ``Path``, ``Literal``, a dataclass,
``dict``, ``tuple[X, ...]``, which also takes a single X, and unions of these. A message names the place, what was
expected there, and what came.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from slm_eval.base.errors import UsageError, unknown_name

T = TypeVar("T")

_EXPECTED = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    Path: "a path",
    dict: "keys and values",
    tuple: "a list",
}


def build(kind: type[T], values: Any, place: str = "") -> T:
    """Build a dataclass; fields that are not given are as by default.

    Args:
        place: what stands before the names of fields in messages, such as "sweep.yaml: " or "model.".

    Raises:
        UsageError: an unknown key, a field without a value, or a value of another kind or out of range.
    """
    where = place.rstrip(".: ")
    if not isinstance(values, Mapping):
        raise UsageError(f"{where or 'the configuration'} must be keys and values, got {values!r}")
    types = get_type_hints(kind)
    declared = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in declared:
            file, _, prefix = place.rpartition(": ")
            raise unknown_name(
                f"key of {file}" if file else "key", f"{prefix}{key}", [prefix + name for name in declared]
            )
    lacking = [name for name, field in declared.items() if _is_required(field) and name not in values]
    if lacking:
        raise UsageError(f"{where} lacks {', '.join(lacking)}")
    given = {key: convert(types[key], value, f"{place}{key}") for key, value in values.items()}
    try:
        return kind(**given)
    except UsageError as error:  # a value out of range, of which the dataclass does not know the place
        raise UsageError(f"{where}: {error}" if where else str(error)) from error


def convert(kind: Any, value: Any, name: str) -> Any:
    """Return ``value`` as a field of type ``kind`` holds it. YAML reads 1e-3 as a text, which is a number.

    Raises:
        UsageError: it is of another kind; ``name`` is what it is called.
    """
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if value is None and NoneType in options:
        return None
    options = tuple(option for option in options if option is not NoneType)
    option = next((option for option in options if _fits(option, value)), None)
    if option is None:
        expected = " or ".join(_EXPECTED[_outer(option)] for option in options)
        raise UsageError(f"{name} must be {expected}, got {value!r}")
    return _converted(option, value, name)


def _converted(kind: Any, value: Any, name: str) -> Any:
    if is_dataclass(kind):
        return build(kind, value, f"{name}.")  # type: ignore[arg-type]
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise unknown_name(name, str(value), [str(choice) for choice in get_args(kind)])
        return value
    if get_origin(kind) is tuple:
        if not isinstance(value, (list, tuple)):
            return (convert(get_args(kind)[0], value, name),)
        return tuple(convert(get_args(kind)[0], item, f"{name}[{index}]") for index, item in enumerate(value))
    return value if _outer(kind) is dict else kind(_number(value) if kind in (int, float) else value)


def _fits(kind: Any, value: Any) -> bool:
    """Tell whether a value may be meant as one of this kind, whatever is inside of it."""
    outer = _outer(kind)
    if outer is dict:
        return isinstance(value, Mapping)
    if outer is tuple:
        return isinstance(value, (list, tuple)) or _fits(get_args(kind)[0], value)
    if outer in (int, float):
        number = _number(value)
        return number is not None and (outer is float or number.is_integer())
    if outer in (str, Path):  # "ngrams: 5" is a number to YAML
        return isinstance(value, (str, int, float)) and not isinstance(value, bool)
    return outer is Literal or isinstance(value, outer)


def _outer(kind: Any) -> Any:
    return dict if is_dataclass(kind) else get_origin(kind) or kind


def _number(value: Any) -> float | None:
    """Return a finite number, or None where the value is none."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING
