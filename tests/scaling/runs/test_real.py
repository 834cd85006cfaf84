"""Scores of real speech, in each of their forms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slm_eval.base.errors import UsageError
from slm_eval.scaling.runs.real import read_real


class TestRealSpeech:
    SUMMARY = {  # noqa: RUF012
        "schema": 1,
        "metrics": {
            "audiobox.CU": {"value": 4.0, "real": {"value": 5.9, "sd": 0.6, "n": 40}},
            "pjsd.1": {"value": 0.06, "floor": 0.005, "floor_sd": 0.001},
            "pjsd.5": {"value": 0.6, "floor": None},
        },
    }

    @pytest.mark.parametrize(
        ("name", "text", "expected"),
        [
            ("summary.json", json.dumps(SUMMARY), {"audiobox.CU": (5.9, 5.3, 6.5), "pjsd.1": (0.005, 0.004, 0.006)}),
            ("real.json", '{"pjsd.1": {"value": 0.2, "sd": 0.1}}', {"pjsd.1": (0.2, 0.1, 0.3)}),
            ("real.json", '{"pjsd.1": {"band": [0.1, 0.3]}}', {"pjsd.1": (0.2, 0.1, 0.3)}),
            ("real.csv", "metric,value,sd\npjsd.1,0.2,0.1\n", {"pjsd.1": (0.2, 0.1, 0.3)}),
            ("real.csv", "metric,value,low,high\npjsd.1@2,0.2,0.1,0.3\n", {"pjsd.1@2": (0.2, 0.1, 0.3)}),
        ],
    )
    def test_its_forms(self, tmp_path: Path, name: str, text: str, expected: dict[str, tuple[float, ...]]) -> None:
        (tmp_path / name).write_text(text)
        actual = {key: (entry.value, *(entry.band or ())) for key, entry in read_real(tmp_path / name).items()}
        assert actual == {key: pytest.approx(value) for key, value in expected.items()}

    @pytest.mark.parametrize(
        ("name", "text", "said"),
        [
            ("real.json", "{}", "holds no values of real speech"),
            ("real.json", '{"pjsd.1": "low"}', "expected a finite number, got 'low'"),
            ("real.json", '{"pjsd.1": {"band": 3}}', r"expected a band \[lowest, highest\]"),
            ("real.csv", "key,value\npjsd.1,3\n", "needs columns metric and value"),
        ],
    )
    def test_what_is_none(self, tmp_path: Path, name: str, text: str, said: str) -> None:
        (tmp_path / name).write_text(text)
        with pytest.raises(UsageError, match=said):
            read_real(tmp_path / name)
