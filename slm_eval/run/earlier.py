"""Runs from before a summary said what it is: these fields follow from the key and from the words of its warnings.

Every run that is read passes here, so that nothing else asks for names or words. What a summary says itself stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slm_eval.divergence.estimators import LN2
from slm_eval.metrics.crossentropy import TOO_PREDICTABLE
from slm_eval.metrics.recitation import RECITED, SHARED_AUDIO
from slm_eval.run.fields import KIND_OF_NAME

_DIGITS = {"score": 3}
# What the warnings with a code said before they had one.
_WORDS = {
    TOO_PREDICTABLE: "generated phones are more predictable than real ones",
    RECITED: "recited speech scores as real",
    SHARED_AUDIO: "hold the same audio as real ones",
}


def completed(key: str, metric: dict[str, Any]) -> dict[str, Any]:
    """Return what summary.json says of a key, with the fields that every summary has had since.

    >>> completed("dnsmos.ovrl", {"sd": 0.3, "n": 40})["kind"], completed("pjsd.2", {"unit": "bits"})["axis"]
    ('score', (0.0, 1.0))
    """
    if {"kind", "digits", "axis", "warning_codes", "made_by"} <= metric.keys():
        return metric
    kind = metric.get("kind", _kind(key, metric))
    return {
        "kind": kind,
        "digits": _DIGITS.get(kind, 4),
        "axis": (0.0, 1.0 if metric.get("unit") == "bits" else LN2) if kind == "divergence" else None,
        "warning_codes": _codes(metric),
        "made_by": None,
        **metric,
    }


def _kind(key: str, metric: Mapping[str, Any]) -> str:
    """Return the kind, which was told by the name and, for means of scores, by their fields."""
    return KIND_OF_NAME.get(key.partition(".")[0]) or ("score" if {"sd", "n"} <= metric.keys() else "corpus")


def _codes(metric: Mapping[str, Any]) -> dict[str, str]:
    lines = metric.get("warnings", ())
    found = ((code, next((line for line in lines if words in line), None)) for code, words in _WORDS.items())
    return {code: line for code, line in found if line is not None}
