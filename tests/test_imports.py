"""The rule of the house, as pyproject.toml states it: imports go down, and never in a circle."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# The packages of the current folder, whatever is installed.
LINT = "import sys; sys.path[:0] = ['.']; from importlinter.cli import *; sys.exit(lint_imports(no_cache=True))"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of the packages in a folder."""
    pytest.importorskip("importlinter")
    return subprocess.run([sys.executable, "-c", LINT], cwd=folder, capture_output=True, text=True)


def test_imports_keep_the_rule() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("slm_eval/speech/audio.py", "from slm_eval.metrics import metric", "slm_eval: imports go down BROKEN"),
        ("slm_eval/weights/hub.py", "from slm_eval.speech import corpus", "slm_eval: imports go down BROKEN"),
        ("model_zoo/noise.py", "import model_zoo.training.train", "model_zoo: imports go down BROKEN"),
        (
            "slm_eval/report/findings/traits.py",
            "import slm_eval.report.text.numbers",
            "slm_eval.report: imports go down BROKEN",
        ),
        ("slm_eval/scaling/law.py", "import slm_eval.scaling.output.files", "slm_eval.scaling: imports go down BROKEN"),
        ("slm_eval/run/doctor.py", "import model_zoo.features", "the evaluation knows nothing of the model BROKEN"),
        ("slm_eval/divergence/ngrams.py", "import torch", "the arithmetic of pJSD needs numpy and scipy only BROKEN"),
        (
            "model_zoo/noise.py",
            "import slm_eval.compare.scores",
            "the model is scored by runs, not by reports or comparisons BROKEN",
        ),
        ("slm_eval/base/errors.py", "from slm_eval.base import files", "no circles among modules BROKEN"),
    ],
)
def test_an_import_that_breaks_it_is_found(module: str, line: str, contract: str, tmp_path: Path) -> None:
    """Also within a function, as all of these are."""
    for package in ("slm_eval", "model_zoo"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / module).open("a", encoding="utf-8") as file:
        file.write(f"\n\ndef _late() -> None:\n    {line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1
    assert contract in done.stdout
