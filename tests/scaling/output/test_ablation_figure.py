"""Figure 6 shows every setting of every ablation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scaling.output.drawn import lines, panel

pytest.importorskip("matplotlib")


from slm_eval.scaling.findings import ablations
from slm_eval.scaling.output import ablation_figure, style


def test_figure6_has_a_dot_for_each_setting_and_names_the_extremes(tmp_path: Path) -> None:
    (tmp_path / "patch_size.csv").write_text(
        "patch,seed,loss,pjsd.5@2,pjsd.5@4\n1,0,2.0,0.3,0.31\n2,0,2.1,0.4,0.41\n3,0,2.5,0.5,0.52\n3,1,2.7,0.6,0.62\n"
    )
    (tmp_path / "steps.csv").write_text("T,pjsd.5@2\n100,0.35\n1000,0.33\n")
    studies = [ablations.read_ablation(tmp_path / name) for name in ("patch_size.csv", "steps.csv")]
    with style.styled():
        figure = ablation_figure.figure6(studies, {})
    axes = panel(figure, "pjsd.5")
    dots = {marker: [list(line.get_ydata()) for line in lines(axes, marker=marker)] for marker in ("o", "s")}
    assert dots["o"][0] == pytest.approx([0.3, 0.4, 0.55])
    assert sorted(dots["o"][1]) == pytest.approx([0.33, 0.35])
    assert dots["s"][0] == pytest.approx([0.31, 0.41, 0.57])
    assert sorted(text.get_text() for text in axes.texts) == ["1", "1", "100", "1000", "3", "3"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["patch\nsize", "steps"]
    assert ablation_figure.draw(studies, tmp_path, {}, ("svg",)) == [tmp_path / "figure6.svg"]
