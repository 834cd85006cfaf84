"""Scores of real speech, as a value and a band: from a run's summary.json, from other JSON, or from CSV.

    {"audiobox.CU": {"value": 5.9, "sd": 0.6}, "pjsd.5": {"value": 0.05, "band": [0.04, 0.06]}}

The paper's band is the mean over real clips and one sd of them to either side. pJSD of real speech is its floor, what
real speech scores against real speech at the sizes of that run, and its band one sd of that floor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slm_eval.base.errors import UsageError
from slm_eval.base.strict_json import parse, read_text
from slm_eval.scaling.runs.cells import number, read_cells

_OF_CLIPS, _OF_FLOOR, _GIVEN = "mean ± sd of clips", "floor ± sd", "as given"


@dataclass(frozen=True)
class Real:
    """The score of real speech in one metric.

    Attributes:
        band: lowest and highest value that counts as real speech's; None where no spread is known.
        meaning: what the band is, for a legend.
    """

    value: float
    band: tuple[float, float] | None
    meaning: str

    def to_dict(self) -> dict[str, Any]:
        return {"value": self.value, "band": None if self.band is None else list(self.band), "meaning": self.meaning}


def read_real(path: Path) -> dict[str, Real]:
    """Return key, or name of a column -> what real speech scores; a summary may have no real side of a metric.

    Raises:
        UsageError: the file is of none of these forms, or holds nothing.
    """
    real = _from_csv(path) if path.suffix.lower() in {".csv", ".tsv"} else _from_json(path)
    if not real:
        raise UsageError(f"{path} holds no values of real speech; give a run's summary.json, or CSV of metric,value,sd")
    return real


def of_column(real: dict[str, Real], name: str) -> Real | None:
    """Return what real speech scores by the name of a column, ``pjsd.5@2``, else by its key."""
    return real.get(name, real.get(name.partition("@")[0]))


def _from_json(path: Path) -> dict[str, Real]:
    try:
        read = parse(read_text(path))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path} cannot be read as JSON ({error})") from error
    if not isinstance(read, dict):
        raise UsageError(f"{path}: expected a JSON object of metrics, got {type(read).__name__}")
    if isinstance(read.get("metrics"), dict):
        return _from_summary(read["metrics"], path)
    return {key: _given(entry, f"{path}: {key}") for key, entry in read.items()}


def _from_summary(metrics: dict[str, Any], path: Path) -> dict[str, Real]:
    real = {}
    for key, entry in metrics.items():
        what = f"{path}: {key}"
        if not isinstance(entry, dict):
            raise UsageError(f"{what}: expected a JSON object, got {type(entry).__name__}")
        if entry.get("floor") is not None:
            real[key] = _around(entry["floor"], entry.get("floor_sd"), _OF_FLOOR, what)
        elif isinstance(entry.get("real"), dict):
            real[key] = _around(entry["real"].get("value"), entry["real"].get("sd"), _OF_CLIPS, what)
    return real


def _given(entry: Any, what: str) -> Real:
    if isinstance(entry, dict) and entry.get("band") is not None:
        band = entry["band"]
        if not (isinstance(band, list) and len(band) == 2):
            raise UsageError(f"{what}: expected a band [lowest, highest], got {band!r}")
        low, high = sorted(_finite(end, what) for end in band)
        return Real(_finite(entry.get("value", (low + high) / 2), what), (low, high), _GIVEN)
    if isinstance(entry, dict):
        return _around(entry.get("value"), entry.get("sd"), "± sd", what)
    return _around(entry, None, _GIVEN, what)


def _around(value: Any, sd: Any, meaning: str, what: str) -> Real:
    value = _finite(value, what)
    if sd is None:
        return Real(value, None, meaning)
    sd = _finite(sd, what)
    return Real(value, (value - sd, value + sd), meaning)


def _finite(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"{what}: expected a finite number, got {value!r}")
    return float(value)


def _from_csv(path: Path) -> dict[str, Real]:
    """Read columns metric, value and sd, or metric, value, low and high."""
    header, lines = read_cells(path)
    if not {"metric", "value"} <= set(header):
        raise UsageError(f"{path} needs columns metric and value, and sd or low and high; it has {', '.join(header)}")
    real = {}
    for row, cells in lines:
        named = dict(zip(header, cells, strict=True))
        values = {
            name: number(named[name], f"{path}, row {row}: {name}", needed=name == "value")
            for name in ("value", "sd", "low", "high")
            if name in named
        }
        given = {name: value for name, value in values.items() if not math.isnan(value)}
        if {"low", "high"} <= given.keys():
            given = {"value": given["value"], "band": [given["low"], given["high"]]}  # type: ignore[dict-item]
        real[named["metric"]] = _given(given, f"{path}, row {row}")
    return real
