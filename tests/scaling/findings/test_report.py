"""The report of a fit is what fit.json holds, and fit.json is read as the report again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slm_eval.base.errors import UsageError
from slm_eval.base.files import dump
from slm_eval.scaling.findings.predict import read_fit
from slm_eval.scaling.findings.report import FitReport
from slm_eval.scaling.output import tables


def test_a_file_that_is_read_and_written_again_is_the_same_to_the_last_byte(
    noisy: tuple[Path, dict[str, Any]],
) -> None:
    text = (noisy[0] / "fit" / "fit.json").read_text(encoding="utf-8")
    assert dump(FitReport.from_dict(json.loads(text)).to_dict(), indent=1) + "\n" == text


def test_tables_are_made_again_from_the_file(noisy: tuple[Path, dict[str, Any]]) -> None:
    folder = noisy[0] / "fit"
    assert tables.markdown(read_fit(folder)) == (folder / "table.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("loss", "law", "E"), "low", "fit.loss.law.E: expected float, got str"),
        (("loss", "law", "E"), True, "fit.loss.law.E: expected float, got bool"),
        (("loss", "budgets"), {}, "fit.loss.budgets: expected list"),
        (("loss", "ratio"), [], "fit.loss.ratio: expected an object, got list"),
        (("points", 0, "N"), None, r"fit.points\[0\].N: expected float, got NoneType"),
        (("source", "seeds"), [1], "fit.source.seeds: expected tuple"),
        (("metrics", "pjsd.5@2", "key"), 5, "fit.metrics.pjsd.5@2.key: expected str, got int"),
    ],
)
def test_an_entry_of_another_type_is_named(
    noisy: tuple[Path, dict[str, Any]], tmp_path: Path, place: tuple[Any, ...], value: object, said: str
) -> None:
    content = json.loads((noisy[0] / "fit" / "fit.json").read_text(encoding="utf-8"))
    *parents, last = place
    parent = content
    for name in parents:
        parent = parent[name]
    parent[last] = value
    (tmp_path / "fit.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        read_fit(tmp_path)


def test_an_entry_that_is_missing_is_named(noisy: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """A file with the names at its top alone used to end in a KeyError."""
    content = json.loads((noisy[0] / "fit" / "fit.json").read_text(encoding="utf-8"))
    del content["loss"]["ratio"]["text"]
    (tmp_path / "fit.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UsageError, match=r"fit\.loss\.ratio: expected an entry 'text', got ratio, C, problem"):
        read_fit(tmp_path)
