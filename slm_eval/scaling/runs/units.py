"""Wrong units in a table of runs, recognised by the factor that they leave between C and 6ND."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slm_eval.base.arrays import Floats
from slm_eval.base.errors import UsageError

# Below this ratio D is more likely in hours, since the paper's optima see 200 to 800 frames
# per parameter, and one hour has 288,000 frames.
_FEWEST_FRAMES_PER_PARAMETER = 0.05
_FEWEST_PARAMETERS = 5000


def explain_compute(
    given: dict[str, Floats], rows: Sequence[int], path: Path, frame_rate: float, tolerance: float
) -> None:
    """Refuse a table whose C is not 6ND.

    Args:
        given: columns N, D and C.
        rows: where each run stands in the file.
        frame_rate: frames per second of D.
        tolerance: relative; also how near a factor has to be to that of a unit to be named.

    Raises:
        UsageError: by how much the first of them is off, in which row, and which unit that looks like.
    """
    ratio = given["C"] / (6.0 * given["N"] * given["D"])
    off = np.abs(np.log(ratio)) > np.log1p(tolerance)
    if not off.any():
        return
    first = int(np.argmax(off))
    factor = float(ratio[first])
    by = f"{100 * (factor - 1):+.1f} %" if 0.5 < factor < 2 else f"a factor of {factor:.4g}"
    many = f" (in {int(off.sum())} of {off.size} rows)" if off.sum() > 1 else ""
    small = "N" if given["N"][first] < _FEWEST_PARAMETERS else "N or D"
    hint = looks_like(factor, frame_rate, tolerance, small)
    hint = hint or f"the tolerance is {100 * tolerance:g} %; fix it, or leave out column C"
    raise UsageError(f"{path}, row {rows[first]}: C differs from 6ND by {by}{many}: {hint}")


def looks_like(factor: float, frame_rate: float, tolerance: float, small: str = "N or D") -> str | None:
    """Return the unit that leaves this factor between C and 6ND, as a clause; None where no unit does.

    Args:
        small: which column a round factor is of.
    """
    units = {
        frame_rate: "D looks like seconds; count frames",
        60 * frame_rate: "D looks like minutes; count frames",
        3600 * frame_rate: "D looks like hours; count frames",
        3600.0: "D looks like hours where C counts seconds; count frames in both",
        1e3: f"{small} looks like thousands",
        1e6: f"{small} looks like millions",
        1e9: f"{small} looks like billions",
        3600e6 * frame_rate: "N looks like millions and D like hours; count parameters and frames",
        1 / 6: "C looks like ND; it is 6ND",
        1 / 3: "C looks like 2ND, of one forward pass; it is 6ND",
        6.0: "C looks like 36ND; it is 6ND",
        1e-3: "C looks like thousands of FLOPs",
        1e-12: "C looks like TFLOPs",
        1e-15: "C looks like PFLOPs",
        1e-18: "C looks like EFLOPs",
        1 / 86400e15: "C looks like PFLOP/s-days",
    }
    for expected, meaning in units.items():
        if abs(np.log(factor / expected)) <= np.log1p(tolerance):
            return meaning + (f" ({frame_rate:g} per second)" if "frames" in meaning else "")
    return None


def implausible_units(n: Floats, d: Floats, frame_rate: float) -> list[str]:
    """Return what is odd of N and D themselves, without a C to compare with: a line each."""
    lines = []
    if np.median(n) < _FEWEST_PARAMETERS:
        lines.append(f"N is {np.median(n):g} at the median: if these are millions, multiply; C and r* rest on it")
    elif np.median(d / n) < _FEWEST_FRAMES_PER_PARAMETER:
        lines.append(
            f"D/N is {np.median(d / n):.3g} at the median: if D is in hours, multiply by {3600 * frame_rate:g} "
            f"({frame_rate:g} frames per second); or N and D are exchanged"
        )
    return lines
