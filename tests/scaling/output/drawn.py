"""Look up what a figure shows."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("matplotlib")

from matplotlib.axes import Axes
from matplotlib.figure import Figure


def panel(figure: Figure, title: str) -> Axes:
    (match,) = [axes for axes in figure.axes if title in axes.get_title(loc="left")]
    return match


def lines(axes: Axes, **look: object) -> list[Any]:
    """Those that look so, errorbars' caps and empty ones left out."""
    return [
        line for line in axes.get_lines()
        if len(line.get_xdata()) and all(getattr(line, f"get_{name}")() == value for name, value in look.items())
    ]  # fmt: skip
