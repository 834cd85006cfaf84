"""Figures show what fit.json says: curves are the law, marks the runs, and everything has a name and a unit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.scaling.made_sweep import add_metrics, sweep, write

pytest.importorskip("matplotlib")

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slm_eval.scaling import PUBLISHED
from slm_eval.scaling.findings import ablations
from slm_eval.scaling.findings.analysis import Options, analyse
from slm_eval.scaling.output import ablation_figure, figures, style
from slm_eval.scaling.runs.real import Real
from slm_eval.scaling.runs.table import read_runs

FOUR = (1e18, 1e19, 1e20, 1e21)
BAND = Real(5.9, (5.3, 6.5), "mean ± sd of clips")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Noise-free losses, so that the law is the published one; metrics at two guidance scales."""
    rows = add_metrics(sweep(FOUR, sizes=7), noise=0.003)
    runs = read_runs(write(rows, tmp_path_factory.mktemp("figures") / "runs.csv"))
    return analyse(runs, Options(bootstrap=40, hold_out=1), {"audiobox.CU": BAND})


def panel(figure: Figure, title: str) -> Axes:
    (found,) = [axes for axes in figure.axes if title in axes.get_title(loc="left")]
    return found


def lines(axes: Axes, **look: object) -> list[Any]:
    """Those that look so, errorbars' caps and empty ones left out."""
    return [
        line for line in axes.get_lines()
        if len(line.get_xdata()) and all(getattr(line, f"get_{name}")() == value for name, value in look.items())
    ]  # fmt: skip


def test_files_are_there_are_the_same_again_and_leave_settings_alone(report: dict[str, Any], tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    names = [
        "figure1",
        "figure3-guidance-2",
        "figure3-guidance-4",
        "figure4",
        "figure5-guidance-2",
        "figure5-guidance-4",
    ]
    written = figures.draw(report, tmp_path / "a", ("png",))
    assert [path.name for path in written] == [f"{name}.png" for name in names]
    assert dict(matplotlib.rcParams) == before
    with style.styled():
        for folder in ("b", "c"):
            style.save(figures.figure4(report), tmp_path / folder, "figure4", style.FORMATS)
    for form, start in (("pdf", b"%PDF"), ("svg", b"<?xml"), ("png", b"\x89PNG")):
        first, second = ((tmp_path / folder / f"figure4.{form}").read_bytes() for folder in ("b", "c"))
        assert first == second
        assert first.startswith(start)
    assert (tmp_path / "a" / "figure4.png").read_bytes() == (tmp_path / "b" / "figure4.png").read_bytes()


def test_every_axis_is_named(report: dict[str, Any]) -> None:
    with style.styled():
        drawn = [
            figures.figure1(report),
            figures.figure3(report, "2"),
            figures.figure4(report),
            figures.figure5(report, "2"),
        ]
    for figure in drawn:
        assert figure.axes
        for axes in figure.axes:
            assert axes.get_ylabel()
            # The upper of two panels shares the name of the lower one's axis.
            assert axes.get_xlabel() or "Curvature" in axes.get_title(loc="left")
            assert "nan" not in (axes.get_xlabel() + axes.get_ylabel() + axes.get_title(loc="left")).lower()


class TestFigure1:
    @pytest.fixture
    @staticmethod
    def figure(report: dict[str, Any]) -> Figure:
        with style.styled():
            return figures.figure1(report)

    def test_curves_are_the_law_along_budgets(self, figure: Figure) -> None:
        curves = [each for each in lines(panel(figure, "(a)"), marker="None") if len(each.get_xdata()) == 80]
        assert len(curves) == 4
        for curve, compute in zip(curves, FOUR, strict=True):
            d, loss = curve.get_data()
            # Runs are at sizes within a decade of the optimum; the curve goes 1.5 times farther.
            assert (d[0], d[-1]) == pytest.approx(tuple(float(PUBLISHED.optimal(compute).D) * x for x in (1 / 15, 15)))
            assert loss == pytest.approx(PUBLISHED(compute / (6 * d), d), rel=1e-5)

    def test_points_are_the_runs_and_crosses_were_held_out(self, figure: Figure, report: dict[str, Any]) -> None:
        for marker, held_out in (("o", False), ("x", True)):
            marks = [np.column_stack(each.get_data()) for each in lines(panel(figure, "(a)"), marker=marker)]
            expected = {(each["D"], each["loss"]) for each in report["points"] if each["held_out"] == held_out}
            assert set(map(tuple, np.concatenate(marks).tolist())) == expected

    def test_stars_are_optima(self, figure: Figure) -> None:
        stars = [each.get_data() for each in lines(panel(figure, "(a)"), marker="*")]
        for (d, loss), compute in zip(stars, FOUR, strict=True):
            best = PUBLISHED.optimal(compute)
            assert (d[0], loss[0]) == (
                pytest.approx(float(best.D), rel=1e-3),
                pytest.approx(float(best.loss), rel=1e-5),
            )

    def test_curvatures_fall_as_their_axes_say(self, figure: Figure) -> None:
        """From 1e18 to 1e21, goldens of the published coefficients: -4.01, -2.98 and -0.495 decades."""
        expected = {"linear $N$": -4.008, "linear $D$": -2.9816, "log": -0.4948}
        drawn = {line.get_label(): np.log10(line.get_ydata()[-1]) for line in panel(figure, "(b)").get_lines()}
        for axis, decades in expected.items():
            (fall,) = [each for label, each in drawn.items() if axis in str(label)]
            assert fall == pytest.approx(decades, abs=0.01)

    def test_ranges_grow(self, figure: Figure) -> None:
        """By 265.0 and 131.5 times, and the ratio of ends by 1.536 decades."""
        drawn = {str(line.get_label()): line.get_ydata()[-1] for line in panel(figure, "(c)").get_lines()}
        widths = [drawn[label] for label in drawn if not label.startswith("_")]
        assert widths == pytest.approx([265.0, 131.5, 10**1.536], rel=0.02)


def test_figure3_shows_what_was_measured_and_real_speech(report: dict[str, Any]) -> None:
    with style.styled():
        axes = panel(figures.figure3(report, "2"), "audiobox.CU")
    budgets = [each.get_data() for each in lines(axes, marker="o")]
    expected = [(each["D"], each["metrics"]["audiobox.CU@2"]["value"]) for each in report["points"]]
    assert sum(len(d) for d, _ in budgets) == len(expected) == 28
    assert {(d, m) for x, y in budgets for d, m in zip(x, y, strict=True)} == set(expected)
    (real,) = [each for each in axes.patches if "real speech" in str(each.get_label())]
    assert (real.get_y(), real.get_y() + real.get_height()) == pytest.approx(BAND.band)


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
        bars = [each for each in panel(drawn, title).collections if hasattr(each, "get_segments")]
        ends = np.concatenate([segment[:, 1] for each in bars for segment in each.get_segments()])
        assert ends.size
        assert lowest - 1e-12 <= ends.min() < ends.max() <= highest + 1e-12
    (band,) = [patch for patch in panel(drawn, "dnsmos.ovrl").patches if "real speech" in patch.get_label()]
    assert band.get_y() + band.get_height() == pytest.approx(5.0)


def test_points_of_no_budget_are_grey_and_without_a_curve(tmp_path: Path) -> None:
    rows = [{**row, "budget": f"{row['C']:g}"} for row in sweep(FOUR, sizes=5)]
    rows[0]["budget"] = rows[-1]["budget"] = ""
    made = analyse(read_runs(write(rows, tmp_path / "runs.csv")), Options(bootstrap=0))
    (axes,) = [each for each in figures.figure1(made).axes if each.get_xlabel() == figures.FRAMES]
    grey = [line for line in axes.get_lines() if line.get_color() == style.GREY]
    assert sorted(float(line.get_ydata()[0]) for line in grey) == pytest.approx(
        sorted(float(rows[at]["loss"]) for at in (0, -1))  # type: ignore[arg-type]
    )
    assert "in no budget" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_figure4_crosses_where_the_paper_says(report: dict[str, Any]) -> None:
    """r* = 400 at 5.7326e19 by the published coefficients; 245.27 at 1e21."""
    with style.styled():
        axes = figures.figure4(report).axes[0]
    (crossing,) = lines(axes, marker="D")
    assert crossing.get_xdata()[0] == pytest.approx(5.7325837218810346e19, rel=1e-3)
    (law,) = [each for each in axes.get_lines() if "law" in str(each.get_label())]
    assert law.get_ydata()[-1] == pytest.approx(245.26961359176462, rel=1e-3)
    (beyond,) = [each for each in lines(axes, color=style.BLUE) if each.is_dashed()]
    assert [beyond.get_xdata()[0], beyond.get_xdata()[-1]] == pytest.approx([1e21, 1e22])


def test_figure5_runs_to_the_limit(report: dict[str, Any]) -> None:
    with style.styled():
        figure = figures.figure5(report, "2")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert sum("MRE" in title and "held out" in title for title in titles) == 3
    (axes,) = [each for each in figure.axes if each.get_ylabel().startswith("audiobox.CU, ")]
    (limit,) = [each for each in axes.get_lines() if "limit" in str(each.get_label())]
    assert limit.get_ydata()[0] == report["metrics"]["audiobox.CU@2"]["limit"]["value"]


def test_loss_alone_has_figures_without_metrics(tmp_path: Path) -> None:
    runs = read_runs(write(sweep((1e18, 1e19, 1e20), sizes=4), tmp_path / "runs.csv"))
    written = figures.draw(analyse(runs, Options(bootstrap=0)), tmp_path / "out", ("png",))
    assert [path.stem for path in written] == ["figure1", "figure3", "figure4"]


def test_a_guidance_is_no_path(report: dict[str, Any], tmp_path: Path) -> None:
    odd = {**report, "metrics": {}, "columns": {"pjsd.5@2": {**report["columns"]["pjsd.5@2"], "guidance": "a/../b"}}}
    names = {path.relative_to(tmp_path).as_posix() for path in figures.draw(odd, tmp_path, ("png",))}
    assert names == {"figure1.png", "figure3-guidance-a-..-b.png", "figure4.png"}


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


def test_figure6_has_a_dot_for_each_setting_and_names_the_extremes(tmp_path: Path) -> None:
    (tmp_path / "patch_size.csv").write_text(
        "patch,seed,loss,pjsd.5@2,pjsd.5@4\n1,0,2.0,0.3,0.31\n2,0,2.1,0.4,0.41\n3,0,2.5,0.5,0.52\n3,1,2.7,0.6,0.62\n"
    )
    (tmp_path / "steps.csv").write_text("T,pjsd.5@2\n100,0.35\n1000,0.33\n")
    studies = [ablations.read_ablation(tmp_path / name) for name in ("patch_size.csv", "steps.csv")]
    with style.styled():
        figure = ablation_figure.figure6(studies, {})
    axes = panel(figure, "pjsd.5")
    dots = {marker: [list(each.get_ydata()) for each in lines(axes, marker=marker)] for marker in ("o", "s")}
    assert dots["o"][0] == pytest.approx([0.3, 0.4, 0.55])
    assert sorted(dots["o"][1]) == pytest.approx([0.33, 0.35])
    assert dots["s"][0] == pytest.approx([0.31, 0.41, 0.57])
    assert sorted(each.get_text() for each in axes.texts) == ["1", "1", "100", "1000", "3", "3"]
    assert [each.get_text() for each in axes.get_xticklabels()] == ["patch\nsize", "steps"]
    assert ablation_figure.draw(studies, tmp_path, {}, ("svg",)) == [tmp_path / "figure6.svg"]
