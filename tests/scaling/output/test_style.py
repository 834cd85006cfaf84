"""Colours, numbers and letters of the figures."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")


from slm_eval.scaling.output import style


def test_colours_of_budgets_go_from_dark_to_light() -> None:
    """So that they are told apart in grey: relative luminance, as of the WCAG."""
    for n in (2, 5, 10):
        rgb = np.array(style.budget_colours(n))[:, :3]
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        luminance = linear @ [0.2126, 0.7152, 0.0722]
        assert (np.diff(luminance) > 0).all()
        assert luminance.max() < 0.7  # on white


@pytest.mark.parametrize(
    ("value", "text"), [(1e18, "$10^{18}$"), (3e18, r"$3\cdot10^{18}$"), (2.5e-4, r"$2.5\cdot10^{-4}$")]
)
def test_powers_of_ten_are_written_as_mathematics(value: float, text: str) -> None:
    assert style.scientific(value) == text


@pytest.mark.parametrize(("panel", "name"), [(0, "(a)"), (25, "(z)"), (26, "(aa)"), (51, "(az)"), (52, "(ba)")])
def test_letters_of_panels(panel: int, name: str) -> None:
    assert style.letter(panel) == name
