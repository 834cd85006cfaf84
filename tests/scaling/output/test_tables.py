"""Tables hold the numbers of the law and every budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.scaling.commands import FOUR


def test_tables(exact: tuple[Path, dict[str, Any]]) -> None:
    """N*, D*, r*, text tokens per parameter (r*/20) and hours (D*/288000) of 1e21, as above."""
    row = "| 1e+21 | 8.24e+08 | - | 2.02e+11 | - | 245 | - | 12.3 | 7.02e+05 | 0.006145 | - |"
    assert row in (exact[0] / "fit" / "table.md").read_text()
    assert row.strip("| ").replace("|", "&") in (exact[0] / "fit" / "table.tex").read_text()
    assert exact[1]["loss"]["budgets"][-1]["hours"]["value"] == pytest.approx(202183750415.21208 / 288000, rel=1e-4)


def test_tables_hold_every_budget_and_name_every_axis(noisy: tuple[Path, dict[str, Any]]) -> None:
    for name in ("table.md", "table.tex"):
        text = (noisy[0] / "fit" / name).read_text().replace("\\", "")
        assert all(f"{compute:.3g}" in text for compute in FOUR)
        assert all(axis in text for axis in ("linear_N", "linear_D", "log"))
