"""Code that lies in the current folder, beside the speech that is scored, is run by no process of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from slm_eval.base import launching
from tests.conftest import ROOT, noise

# Of the standard library, of what we depend on, and we ourselves: all that a worker imports, and a bit more.
STANDARD = ("pickle", "json", "pathlib", "queue", "runpy", "linecache", "tokenize", "struct", "typing", "importlib")
OTHERS = ("soundfile", "numpy", "torch", "scipy", "soxr", "click", "tqdm", "_soundfile_data", "pocketsphinx")
OURS = ("slm_eval", "model_zoo")


@pytest.fixture
def hostile(tmp_path: Path, write_wav: Callable[..., Path]) -> Path:
    """Make a folder of clips with modules in it that note that they were imported."""
    folder = tmp_path / "clips"
    for number in range(2):
        write_wav(folder / f"{number}.wav", noise(1.0, seed=number))
    plant(folder, STANDARD + OTHERS)
    for package in OURS:
        plant(folder / package, ("__init__", "cli", "workers", "audio", "data", "signature"))
    return folder


def plant(folder: Path, names: tuple[str, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.py").write_text(
            f"open({str(folder)!r} + '.ran', 'a').write({name!r} + ' ')\nraise SystemExit('it ran: {name}')\n"
        )


def imported(hostile: Path) -> list[str]:
    """Return what was imported of it."""
    return [line for path in hostile.parent.rglob("*.ran") for line in path.read_text().split()]


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], Path]:
    """Return a script as pip installs it: a file in a folder of programs, which is what Python puts onto the path."""

    def make(module: str) -> Path:
        script = tmp_path / "bin" / module.partition(".")[0]
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"import sys\nfrom {module} import main\nsys.exit(main())\n")
        return script

    return make


def run(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, command)], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )


def test_the_folder_would_have_its_way(hostile: Path) -> None:
    """Without which the tests below would prove nothing."""
    run(hostile, "-c", "import soundfile")
    assert imported(hostile) == ["soundfile"]


def test_a_run_from_among_hostile_files(hostile: Path, program: Callable[[str], Path], tmp_path: Path) -> None:
    arguments = ("run", "--generated", ".", "--real", ".", "--workers", "1", "--output", str(tmp_path / "out"))
    options = ("--metrics", "pjsd,dnsmos", "--recognizer", "pocketsphinx", "--device", "cpu")
    done = run(hostile, program("slm_eval.cli.main"), *arguments, *options)
    assert imported(hostile) == []
    assert "2 of 2 clips scored" in done.stdout, done.stderr


def test_a_run_by_dash_m_imports_nothing_more_once_ours_is_there(hostile: Path, tmp_path: Path) -> None:
    """Python itself imports from the current folder before any line of ours; what comes after that does not."""
    for package in OURS:
        for path in (hostile / package).iterdir():
            path.unlink()
        (hostile / package).rmdir()
    for name in STANDARD:
        (hostile / f"{name}.py").unlink()
    arguments = ("run", "--generated", ".", "--real", ".", "--workers", "1", "--output", str(tmp_path / "out"))
    done = run(hostile, "-m", "slm_eval", *arguments, "--metrics", "pjsd", "--recognizer", "pocketsphinx")
    assert imported(hostile) == []
    assert "2 of 2 clips scored" in done.stdout, done.stderr


def test_speech_prepared_from_among_hostile_files(
    hostile: Path, program: Callable[[str], Path], tmp_path: Path
) -> None:
    prepare = ("prepare", ".", "-o", tmp_path / "shards", "--workers", "1", "--validation", "0.5")
    done = run(hostile, program("model_zoo.cli.main"), *prepare)
    assert imported(hostile) == []
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "shards" / "index.json").is_file()


def test_commands_that_are_started_from_here(hostile: Path) -> None:
    """As scoring beside a training and sweeps start them."""
    command = launching.python("model_zoo.cli.main", "flops", "--layers", "1")
    done = subprocess.run(
        command, cwd=hostile, env=launching.environment(), capture_output=True, text=True, check=False
    )
    assert imported(hostile) == []
    assert done.returncode == 0, done.stderr
    assert "6ND" in done.stdout


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the current folder, on a path that has it in every way, beside one that is to stay."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", ".", str(tmp_path), "relative", str(ROOT), "/lib/a:b"])
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}.{os.pathsep}relative")
    return str(tmp_path)


def test_the_current_folder_stays_out(here: str) -> None:
    assert launching.import_path() == [os.path.join(here, "relative"), str(ROOT)]


def test_unless_it_was_named_in_full(here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"/elsewhere{os.pathsep}{here}")
    assert here in launching.import_path()


def test_unless_the_program_lies_in_it(here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", os.path.join(here, "score.py"), raising=False)
    assert here in launching.import_path()


def test_unless_the_package_lies_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [str(ROOT)])
    assert launching.import_path() == [str(ROOT)]
