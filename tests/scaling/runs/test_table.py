"""The table of runs: what is read, what is refused and in which words, and that the order of rows is nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slm_eval.base.errors import UsageError
from slm_eval.scaling.findings.behaviour import remarks_on_budgets
from slm_eval.scaling.runs.table import read_runs
from slm_eval.scaling.runs.units import looks_like
from tests.scaling.made_sweep import add_metrics, sweep, write

Row = dict[str, object]
THREE = (1e18, 1e19, 1e20)


def refusal(rows: list[Row], folder: Path) -> str:
    with pytest.raises(UsageError) as refused:
        read_runs(write(rows, folder / "runs.csv"))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_seeds_are_averaged_and_spread(tmp_path: Path) -> None:
    rows = add_metrics(sweep(THREE, sizes=2, seeds=3, noise=0.02), noise=0.05)
    for row in rows[:2]:
        row["pjsd.5@2"] = ""  # of the first point one seed is left
    means = read_runs(write(rows, tmp_path / "runs.csv")).means()
    losses = np.array([row["loss"] for row in rows], dtype=float).reshape(6, 3)
    assert means.n_seeds.tolist() == [3] * 6
    # Within a budget the rows of `sweep` go from small N to large.
    assert means.loss == pytest.approx(losses.mean(axis=1), rel=1e-14)
    assert means.loss_sd == pytest.approx(losses.std(axis=1, ddof=1), rel=1e-12)
    assert means.metrics["pjsd.5@2"][0] == rows[2]["pjsd.5@2"]
    assert np.isnan(means.metrics_sd["pjsd.5@2"][0])


def test_columns_are_known_by_their_keys(tmp_path: Path) -> None:
    rows = [{**row, "layers": 3, "pjds.5": 1, "mine": 2} for row in add_metrics(sweep(THREE))]
    runs = read_runs(write(rows, tmp_path / "runs.csv"), {"mine": False})
    actual = {name: (column.key, column.guidance, column.higher_is_better) for name, column in runs.columns.items()}
    assert actual == {
        "pjsd.1@2": ("pjsd.1", "2", False),
        "pjsd.5@2": ("pjsd.5", "2", False),
        "pjsd.5@4": ("pjsd.5", "4", False),
        "audiobox.CU@2": ("audiobox.CU", "2", True),
        "dnsmos.p808@2": ("dnsmos.p808", "2", True),
        "mine": ("mine", None, False),
    }
    assert any("'pjds.5'" in line and "pjsd" in line for line in runs.warnings)
    assert any("layers" in line for line in runs.warnings)


def named(name: Callable[[int], str]) -> list[Row]:
    return [{**row, "budget": name(at)} for at, row in enumerate(sweep(THREE, sizes=4))]


def test_budgets_are_named_by_a_column(tmp_path: Path) -> None:
    """The second and third budget are one by name, and the run without a name is alone."""
    rows = named(lambda at: "" if at == 3 else "small" if at < 4 else "large")
    runs = read_runs(write(rows, tmp_path / "runs.csv"))
    assert runs.named
    assert sorted(np.bincount(runs.budget)) == [1, 3, 8]
    assert runs.budgets == pytest.approx([1e18, 1e18, np.median([1e19] * 4 + [1e20] * 4)])
    remarks = remarks_on_budgets(runs)
    assert remarks[0] == "1 of 12 points belong to no budget, which takes 3 sizes"
    assert "C differs by a factor of up to 10 within budgets as named" in remarks[1]
    assert remarks_on_budgets(read_runs(write(sweep(THREE, sizes=4), tmp_path / "plain.csv"))) == []


def test_seeds_of_a_point_are_of_one_budget(tmp_path: Path) -> None:
    rows = [{**row, "budget": "ab"[at % 2]} for at, row in enumerate(sweep(THREE, sizes=2, seeds=2))]
    assert "rows 2 and 3 have the same N and D, expected one budget, got 'a' and 'b'" in refusal(rows, tmp_path)


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_is_nothing(tmp_path_factory: pytest.TempPathFactory, random: object) -> None:
    folder = tmp_path_factory.mktemp("order")
    rows = add_metrics(sweep(THREE, sizes=3, seeds=3, noise=0.02), noise=0.05)
    expected = read_runs(write(rows, folder / "runs.csv"))
    random.shuffle(rows)  # type: ignore[attr-defined]
    actual = read_runs(write(rows, folder / "runs.csv"))
    for name in ("N", "D", "C", "loss", "budgets", "budget"):
        assert np.array_equal(getattr(actual, name), getattr(expected, name))
    assert actual.seed == expected.seed
    assert all(np.array_equal(actual.metrics[name], expected.metrics[name]) for name in expected.metrics)


def test_other_separators_a_mark_and_spaces(tmp_path: Path) -> None:
    expected = read_runs(write(sweep(THREE), tmp_path / "runs.csv"))
    text = (tmp_path / "runs.csv").read_text()
    for separator in (";", "\t", " , "):
        (tmp_path / "other.csv").write_text("\ufeff" + text.replace(",", separator) + "\n\n", encoding="utf-8")
        assert np.array_equal(read_runs(tmp_path / "other.csv").loss, expected.loss)


def test_budgets_without_a_column_for_them(tmp_path: Path) -> None:
    """Steps and batches are whole: 6ND is 2 % off the budget that was planned."""
    rows = sweep(THREE)
    for at, row in enumerate(rows):
        row["D"] *= 1 + 0.02 * (-1) ** at  # type: ignore[operator]
        del row["C"]
    runs = read_runs(write(rows, tmp_path / "runs.csv"))
    assert runs.budgets == pytest.approx(THREE, rel=0.021)
    assert np.bincount(runs.budget).tolist() == [5, 5, 5]
    assert np.array_equal(runs.C, 6 * runs.N * runs.D)


@pytest.mark.parametrize(
    ("column", "factor", "said"),
    [
        ("D", 1 / 80, "D looks like seconds"),
        ("D", 1 / 288000, "D looks like hours"),
        ("D", 1 / 4800, "D looks like minutes"),
        ("D", 1 / 3600, "D looks like hours where C counts seconds"),
        ("N", 1e-6, "N looks like millions"),
        ("C", 1 / 6, "C looks like ND"),
        ("C", 1e-18, "C looks like EFLOPs"),
        ("C", 1.3, r"\+30.0 %"),
        ("C", 2.5, "a factor of 2.5"),
    ],
)
def test_compute_that_is_not_6nd(tmp_path: Path, column: str, factor: float, said: str) -> None:
    rows = sweep(THREE)
    for row in rows:
        row[column] *= factor  # type: ignore[operator]
    with pytest.raises(UsageError, match=f"row 2: C differs from 6ND by .*in 15 of 15 rows.*{said}|{said}.*15 of 15"):
        read_runs(write(rows, tmp_path / "runs.csv"))


def test_units_know_the_rate_of_frames() -> None:
    assert "seconds" in str(looks_like(25.0, frame_rate=25.0, tolerance=0.1))
    assert looks_like(25.0, frame_rate=80.0, tolerance=0.1) is None


@pytest.mark.parametrize(("column", "factor", "said"), [("D", 1 / 288000, "hours"), ("N", 1e-6, "millions")])
def test_odd_units_without_a_compute_to_compare_with(tmp_path: Path, column: str, factor: float, said: str) -> None:
    rows = sweep(THREE)
    for row in rows:
        row[column] *= factor  # type: ignore[operator]
        del row["C"]
    assert said in " ".join(read_runs(write(rows, tmp_path / "runs.csv")).warnings)
    assert not read_runs(write(sweep(THREE), tmp_path / "runs.csv")).warnings


def _set(at: int, column: str, value: object) -> Callable[[list[Row]], None]:
    def change(rows: list[Row]) -> None:
        rows[at][column] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set(2, "loss", "nan"), "row 4: loss is nan; leave out runs that diverged"),
        (_set(2, "loss", "inf"), "row 4: loss is inf; leave out runs that diverged"),
        (_set(2, "loss", -0.5), "row 4: loss is -0.5, expected a number above 0"),
        (_set(2, "loss", 0), "row 4: loss is 0, expected a number above 0"),
        (_set(2, "loss", ""), "row 4: loss is empty"),
        (_set(2, "N", "1,5e6"), "row 4: N is '1,5e6'; expected a number"),
        (_set(2, "pjsd.5@2", "nan"), "row 4: pjsd.5@2 is nan; leave the cell empty where it was not measured"),
        (_set(2, "C", 1e19), "row 4: C differs from 6ND by a factor of 10"),
        (lambda rows: rows.append(dict(rows[3])), "rows 5 and 17 have the same N, D and seed 0; remove one"),
        (lambda rows: [row.pop("N") for row in rows], "has no column 'N'"),
        (lambda rows: [row.__setitem__("val_loss", row.pop("loss")) for row in rows], "'val_loss' holds it, rename it"),
    ],
)
def test_what_is_wrong_is_said_with_its_row(tmp_path: Path, change: Callable[[list[Row]], None], said: str) -> None:
    rows = add_metrics(sweep(THREE))
    change(rows)
    assert said in refusal(rows, tmp_path)


def test_repeated_runs_without_seeds_are_asked_for_them(tmp_path: Path) -> None:
    rows = sweep(THREE, seeds=2, noise=0.01)
    for row in rows:
        del row["seed"]
    assert "number them in a column 'seed'" in refusal(rows, tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no runs"),
        ("N,D,loss\n", "holds no runs"),
        ("N,D,D,loss\n1,2,3,4\n", "two columns 'D'"),
        ("N,D,loss\n1e6,2e9\n", "row 2: 2 cells, but the header has 3"),
    ],
)
def test_files_that_hold_no_table(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "runs.csv").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_runs(tmp_path / "runs.csv")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*none.csv: No such file"):
        read_runs(tmp_path / "none.csv")
    (tmp_path / "runs.xlsx").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(UsageError, match="not text in UTF-8"):
        read_runs(tmp_path / "runs.xlsx")


def test_a_cell_of_a_hundred_kilobytes_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('"' + "x" * 200_000)
    with pytest.raises(UsageError, match="is not CSV"):
        read_runs(tmp_path / "x.csv")
