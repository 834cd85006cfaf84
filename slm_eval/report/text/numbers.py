"""Numbers as text, as tables and pages show them."""

from __future__ import annotations

from collections.abc import Sequence

MINUS = "\N{MINUS SIGN}"


NONE = "\N{EN DASH}"


def fixed(value: float | None, digits: int) -> str:
    # Adding 0 turns the -0.0 that rounding may leave into 0.0.
    return NONE if value is None else f"{round(value, digits) + 0.0:.{digits}f}".replace("-", MINUS)


def signed(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", MINUS)


def interval_text(ends: Sequence[float] | None, digits: int) -> str:
    return NONE if ends is None else f"[{fixed(ends[0], digits)}, {fixed(ends[1], digits)}]"


def direction(higher_is_better: bool | None) -> str:
    """Return which values are better, in words."""
    return "neither is better" if higher_is_better is None else f"{'higher' if higher_is_better else 'lower'} is better"
