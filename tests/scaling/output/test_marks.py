"""Points, bars and bands are where the runs and the metric are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.scaling.made_sweep import sweep, write
from tests.scaling.output.drawn import panel

pytest.importorskip("matplotlib")


from slm_eval.scaling.findings.analysis import analyse
from slm_eval.scaling.findings.context import Options
from slm_eval.scaling.output import figures, style
from slm_eval.scaling.runs.real import Real
from slm_eval.scaling.runs.table import read_runs

FOUR = (1e18, 1e19, 1e20, 1e21)


def test_bars_end_where_the_metric_does(tmp_path: Path) -> None:
    """Seeds of a pJSD near ln 2, and of a loss near 0: one sd would reach beyond."""
    rows = sweep(FOUR, sizes=4, seeds=2)
    for at, row in enumerate(rows):
        row["pjsd.5"] = float(np.log(2)) - 0.3 * (at % 2) - 1e-3 * (at // 2)
        row["dnsmos.ovrl"] = 1.0 + 0.4 * (at % 2) + 0.1 * (at // 2)
    real = {"dnsmos.ovrl": Real(4.8, (4.0, 5.6), "mean ± sd of clips")}
    made = analyse(read_runs(write(rows, tmp_path / "runs.csv")), Options(bootstrap=0), real)
    with style.styled():
        drawn = figures.figure3(made, None)
    for title, (lowest, highest) in (("pjsd.5", (0.0, np.log(2))), ("dnsmos.ovrl", (1.0, 5.0))):
        bars = [bar for bar in panel(drawn, title).collections if hasattr(bar, "get_segments")]
        ends = np.concatenate([segment[:, 1] for bar in bars for segment in bar.get_segments()])
        assert ends.size
        assert lowest - 1e-12 <= ends.min() < ends.max() <= highest + 1e-12
    (band,) = [patch for patch in panel(drawn, "dnsmos.ovrl").patches if "real speech" in patch.get_label()]
    assert band.get_y() + band.get_height() == pytest.approx(5.0)


def test_points_of_no_budget_are_grey_and_without_a_curve(tmp_path: Path) -> None:
    rows = [{**row, "budget": f"{row['C']:g}"} for row in sweep(FOUR, sizes=5)]
    rows[0]["budget"] = rows[-1]["budget"] = ""
    made = analyse(read_runs(write(rows, tmp_path / "runs.csv")), Options(bootstrap=0))
    (axes,) = [axes_ for axes_ in figures.figure1(made).axes if axes_.get_xlabel() == figures.FRAMES]
    grey = [line for line in axes.get_lines() if line.get_color() == style.GREY]
    assert sorted(float(line.get_ydata()[0]) for line in grey) == pytest.approx(
        sorted(float(rows[at]["loss"]) for at in (0, -1))  # type: ignore[arg-type]
    )
    assert "in no budget" in [text.get_text() for text in axes.get_legend().get_texts()]
