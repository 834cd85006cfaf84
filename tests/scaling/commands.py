"""The commands of scaling laws, called as a user calls them, on sweeps whose law is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from slm_eval.cli.main import main
from tests.scaling.made_sweep import add_metrics, sweep, write

FOUR = (1e18, 1e19, 1e20, 1e21)
QUICK = ("--bootstrap", "40", "--no-figures")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["scaling", *(str(argument) for argument in arguments)])


def fit(rows: list[dict[str, object]], folder: Path, *options: object) -> dict[str, Any]:
    """Return the object of fit.json, of a command that succeeded."""
    result = invoke("fit", write(rows, folder / "runs.csv"), "-o", folder / "fit", "--force", *options)
    assert result.exit_code == 0, result.output
    return json.loads((folder / "fit" / "fit.json").read_text())  # type: ignore[no-any-return]


def noisy_fit(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return the folder and the fit of a sweep with seeds, noise and metrics, its largest budget held out."""
    (folder / "real.json").write_text('{"pjsd.5": {"value": 0.1, "band": [0.05, 0.24]}, "audiobox.CU": 5.9}')
    rows = add_metrics(sweep(FOUR, sizes=7, seeds=3, noise=0.003), noise=0.005)
    return folder, fit(rows, folder, "--hold-out", 1, "--real", folder / "real.json", *QUICK)
