"""Predictions from fit.json: those of the published law, with how far they extrapolate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slm_eval.scaling.findings.context import SCHEMA
from tests.scaling.commands import invoke


def test_predict(exact: tuple[Path, dict[str, Any]]) -> None:
    result = invoke("predict", exact[0] / "fit", "--compute", "1e21", "--json")
    (prediction,) = json.loads(result.output)["predictions"]
    assert prediction["r"]["value"] == pytest.approx(245.26961359176462, rel=1e-4)
    assert prediction["hours"] == pytest.approx(202183750415.21208 / 80 / 3600, rel=1e-4)
    assert prediction["extrapolates"] == []


def test_a_model_of_optimal_size_is_predicted_its_budget(exact: tuple[Path, dict[str, Any]]) -> None:
    for option, value in (("-n", 824332649.50518424), ("-d", 202183750415.21208)):
        result = invoke("predict", exact[0] / "fit" / "fit.json", option, value, "--json")
        (prediction,) = json.loads(result.output)["predictions"]
        assert prediction["C"] == pytest.approx(1e21, rel=1e-3)
        assert prediction["N"]["value"] * prediction["D"]["value"] * 6 == pytest.approx(prediction["C"], rel=1e-12)


def test_a_run_as_given(exact: tuple[Path, dict[str, Any]]) -> None:
    result = invoke("predict", exact[0] / "fit", "-n", 1e8, "-d", 1e10, "--json")
    (prediction,) = json.loads(result.output)["predictions"]
    assert (prediction["loss"]["value"], prediction["C"]) == (pytest.approx(0.0070985141734357367, rel=1e-6), 6e18)


def test_an_extrapolation_says_how_far(noisy: tuple[Path, dict[str, Any]]) -> None:
    """The largest fitted budget is 1e20."""
    text = invoke("predict", noisy[0] / "fit", "-c", 1e20, "-c", 1e22).output
    assert "C = 1e+22 extrapolates: C is above the largest fitted (1e+20), by a factor of 100" in text
    assert "C = 1e+20 extrapolates" not in text


def test_far_beyond_the_runs_nothing_is_predicted_unless_asked_for(noisy: tuple[Path, dict[str, Any]]) -> None:
    """Fitted from 1e18 to 1e20."""
    near = invoke("predict", noisy[0] / "fit", "-c", 1.5e20).output
    assert "no run tells whether the law holds" not in near
    far = invoke("predict", noisy[0] / "fit", "-c", 1e22)
    assert far.exit_code == 0
    assert "Beyond a factor of 10 no run tells whether the law holds" in far.output
    # A factor of 1,000, but for the frames that 6ND of whole frames lacks of the largest budget.
    assert invoke("predict", noisy[0] / "fit", "-c", 1.0005e23).exit_code == 0
    for arguments in (("-c", 1.002e23), ("-c", 1.4e29), ("-c", 1e12), ("-n", 1e15), ("-n", 1e8, "-d", 1e17)):
        result = invoke("predict", noisy[0] / "fit", *arguments)
        assert result.exit_code == 2, result.output
        assert "outside of the fitted runs" in result.output
        assert "expected 1000 at most" in result.output
        assert invoke("predict", noisy[0] / "fit", *arguments, "--farthest", 1e15).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say either --compute, or --n, --d or both"),
        (("-c", 1e20, "-n", 1e8), "say either --compute, or --n, --d or both"),
        (("-n", 1e8, "-n", 1e9, "-d", 1e9), "2 values of --n and 1 of --d"),
        (("-c", -1), "expected an amount above 0, got -1"),
    ],
)
def test_predictions_of_nothing(noisy: tuple[Path, dict[str, Any]], arguments: tuple[object, ...], said: str) -> None:
    result = invoke("predict", noisy[0] / "fit", *arguments)
    assert result.exit_code == 2
    assert said in result.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "fit.json: No such file"),
        ("{", "fit.json cannot be read as JSON"),
        ("[]", f"fit.json must be a fit.json of schema {SCHEMA}, got None"),
        ('{"schema": 99}', f"fit.json must be a fit.json of schema {SCHEMA}, got 99"),
        (
            f'{{"schema": {SCHEMA}}}',
            "fit.json must be a complete fit.json, got another (fit: expected an entry 'version'",
        ),
    ],
)
def test_predictions_from_no_fit(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "fit.json").write_text(text)
    result = invoke("predict", tmp_path, "-c", 1e20)
    assert result.exit_code == 2
    assert said in result.output
