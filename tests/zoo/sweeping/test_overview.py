"""What a dry run says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner

from model_zoo.cli.main import main


def test_the_dry_run(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(budgets=[{"flops": f, "sizes": ["L1"]} for f in (1e10, 1e13)])
    command = ["sweep", str(path), "-o", str(tmp_path / "out"), "--dry-run", "--flops-per-second", "1e9"]
    whole = CliRunner().invoke(main, command)
    assert whole.exit_code == 0, whole.output
    assert "2 runs, 0 done" in whole.output
    assert "1 runs, 0 done" in CliRunner().invoke(main, [*command, "--hours", "0.1"]).output
    assert not (tmp_path / "out").exists()
