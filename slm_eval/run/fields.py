"""What the fields of summary.json and of clips.jsonl hold, so that whoever reads a run need not ask again.

Fields that are not named here, such as those that a third party's metric adds, are let through as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from slm_eval.metrics.metric import KINDS

Check = Callable[[Any], bool]
SIDES = ("generated", "real")
# The kinds whose keys end in an n, by the name that only they have.
KIND_OF_NAME = {"pjsd": "divergence", "plm": "cross_entropy"}
_KEY = re.compile(r"[\x21-\x7e]{1,100}")
_ORDER = re.compile(r"[1-9][0-9]?")
_MOST_DIGITS = 12


def _is_number(value: Any) -> bool:
    # Far above any score, and low enough that sums of squares stay finite.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= 1e100


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_interval(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_number, value))


def _is_seconds(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _are_texts(value: Any) -> bool:
    # All types at once: a run has millions of phones.
    return isinstance(value, (list, tuple)) and set(map(type, value)) <= {str}


def _either(*checks: Check) -> Check:
    return lambda value: any(check(value) for check in checks)


def _is_null(value: Any) -> bool:
    return value is None


def _table(check: Check) -> Check:
    """Accept any names, each with such a value."""
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _sides(check: Check) -> Check:
    """Accept both sides, each with such a value."""
    return lambda value: isinstance(value, dict) and all(side in value and check(value[side]) for side in SIDES)


def _fields(checks: Mapping[str, Check], *required: str) -> Check:
    """Accept an object that has the required fields, with values that a run writes."""
    return lambda value: isinstance(value, dict) and value.keys() >= {*required} and malformed(value, checks) is None


def _is_environment(value: Any) -> bool:
    """Return whether it is versions and, under "run", what ``identity`` writes."""
    if not isinstance(value, dict):
        return False
    versions = {name: held for name, held in value.items() if name != "run"}
    return _table(_either(_is_text, _is_null))(versions) and _fields(_RUN)(value.get("run", {}))


_RUN: dict[str, Check] = dict.fromkeys(("clips_sha256", "base", "name"), _is_text)
_NUMBER_OR_NULL = _either(_is_number, _is_null)
# Numbers that a run withholds, as null, where the speech is too little for them.
_WITHHELD = ("sd", "floor", "floor_sd", "p", "excess", "corrected")
_NUMBERS: dict[str, Check] = {
    **dict.fromkeys(("value", "n", "coverage"), _is_number),
    **dict.fromkeys(_WITHHELD, _NUMBER_OR_NULL),
    **dict.fromkeys(("ci95", "scale"), _either(_is_interval, _is_null)),
}
METRIC: dict[str, Check] = {
    **_NUMBERS,
    "kind": lambda value: isinstance(value, str) and value in KINDS,
    "digits": lambda value: _is_count(value) and value <= _MOST_DIGITS,
    "axis": _either(_is_null, lambda value: _is_interval(value) and value[0] < value[1]),
    "warning_codes": _table(_is_text),
    "made_by": _either(
        _is_null, _fields({"metric": _is_text, "options": lambda value: isinstance(value, dict)}, "metric", "options")
    ),
    "unit": _is_text,
    "higher_is_better": _either(_is_flag, _is_null),
    "signature": _is_text,
    "warnings": _are_texts,
    **dict.fromkeys(("real", "difference"), _either(_is_null, _fields(_NUMBERS, "value", "ci95"))),
    **dict.fromkeys(("n_ngrams", "n_phones"), _sides(_is_count)),
}
# In words, for who writes a metric.
EXPECTED = {
    "value": "a finite number of Python: float(x) of one of numpy's",
    "ci95": "two finite numbers, or None",
    "unit": "a text",
    "higher_is_better": "True, False, or None where neither is better",
    "signature": "a text",
    "warnings": "texts",
    "kind": f"one of {', '.join(KINDS)}",
    "digits": f"a number of decimal places, at most {_MOST_DIGITS}",
    "axis": "its lower and its upper end, or None",
    "real": "a number of real speech with value and ci95, or None",
}
# What tables and pages show of every metric, and of some kinds beyond that.
_OF_EACH = ("ci95", "unit", "higher_is_better")
_FIELDS_OF = {
    "score": (*_OF_EACH, "sd", "n"),
    "divergence": (*_OF_EACH, "floor", "floor_sd", "excess", "corrected", "coverage", "n_ngrams"),
    "cross_entropy": (*_OF_EACH, "real", "difference", "n_phones"),
    "corpus": _OF_EACH,
}
CORPUS: dict[str, Check] = {
    "path": _is_text,
    **dict.fromkeys(("n_total", "n_scored", "n_failed"), _is_count),
    "seconds": _either(_is_seconds, _is_null),
    **dict.fromkeys(("failures", "ignored"), _table(_is_count)),
}
SUMMARY: dict[str, Check] = {
    "version": _is_text,
    "environment": _is_environment,
    "not_computed": _table(_is_text),
}
CLIP: dict[str, Check] = {
    "id": _is_text,
    "side": lambda value: value in SIDES if isinstance(value, str) else False,
    "status": _is_text,
    "error": _either(_is_text, _is_null),
    "seconds": _either(_is_seconds, _is_null),
    **dict.fromkeys(("speaker", "prompt"), _either(_is_text, _is_null)),
    "scores": _table(_is_number),
    "phones": _either(_are_texts, _is_null),
    "refused": _table(_fields({"code": _is_text, "message": _is_text}, "code", "message")),
    "audio": _table(_either(_is_text, _is_number, _is_flag, _is_null)),
}


def is_key(key: str, kind: str) -> bool:
    """Return whether a number of this kind can be called so."""
    name, _, order = key.partition(".")
    if name in KIND_OF_NAME or kind in KIND_OF_NAME.values():
        return KIND_OF_NAME.get(name) == kind and _ORDER.fullmatch(order) is not None
    return _KEY.fullmatch(key) is not None


def lacking(metric: Mapping[str, Any]) -> list[str]:
    """Return the names of the fields that every metric of its kind has, and this one has not."""
    absent = [name for name in _FIELDS_OF[metric["kind"]] if name not in metric]
    if metric["kind"] == "score" and metric.get("real") is not None and "n" not in metric["real"]:
        absent.append("n of real")
    return absent


def malformed(values: Mapping[str, Any], checks: Mapping[str, Check]) -> str | None:
    """Return the name of the first field that holds something other than what a run writes there, or None."""
    return next((name for name, held in values.items() if name in checks and not checks[name](held)), None)
