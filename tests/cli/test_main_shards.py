"""run --shard and merge as commands: processes, SLURM, and a metric of another package."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from slm_eval.cli.main import main
from tests.conftest import EXAMPLES, ROOT
from tests.run.made_shards import Drift, register, slurm, write_corpora, written

COMMAND = [sys.executable, "-c", "from slm_eval.cli.main import main; main()"]


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_corpora(tmp_path_factory.mktemp("corpora"))


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_default_output_json_and_exit_status(
    corpora: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["run", "--generated", corpora[0], "--real", corpora[1], "--workers", "0", "--metrics", "loud"]
    for index in (1, 2):
        result = invoke(*asked, "--shard", f"{index}/2")
        assert (result.exit_code, f"written to runs/gen.shard-{index}-of-2" in result.output) == (0, True), (
            result.output
        )
    assert invoke(*asked, "--shard", "1/2", "--json").exit_code == 2
    folders = sorted(Path("runs").iterdir())
    merged = invoke("merge", *folders, "-o", "runs/gen", "--json")
    assert merged.exit_code == 0
    assert merged.stdout.encode() == Path("runs/gen/summary.json").read_bytes()
    assert invoke("merge", *folders, "-o", folders[0]).exit_code == 2
    # What was asked for by name and could not be computed: both a shard and the whole say so, as a run does.
    monkeypatch.setattr(Drift, "missing", lambda self: "no weights")
    for index in (1, 2):
        failed = invoke(*asked, "--metrics", "loud,drift", "--output", f"f{index}", "--shard", f"{index}/2")
        assert (failed.exit_code, "not computed: drift.l2: no weights" in failed.output) == (1, True)
    assert invoke("merge", "f1", "f2", "-o", "f").exit_code == 1


THIRD_PARTY = """
import sys
sys.path.insert(0, {root!r})
from tests.run.made_shards import Drift
"""


def start(arguments: Sequence[object], site: Path, cache: Path, **more: str) -> subprocess.Popen[str]:
    environment = os.environ | {"SLM_EVAL_CACHE": str(cache), "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"} | more
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return output


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """What pip would leave behind for a package that adds the metric ``drift``."""
    info = tmp_path / "site" / "third_party-1.dist-info"
    info.mkdir(parents=True)
    (info.parent / "third_party.py").write_text(THIRD_PARTY.format(root=str(ROOT)))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[slm_eval.metrics]\ndrift = third_party:Drift\n")
    return info.parent


def test_processes_with_a_recognizer_and_a_metric_of_another_package(site: Path, tmp_path: Path) -> None:
    """More shards than clips, the limit first, caches of their own, and weights that are gone when merging."""
    asked = [
        "run",
        "--generated",
        EXAMPLES / "generated",
        "--real",
        EXAMPLES / "real",
        "--limit",
        "2",
        "--workers",
        "0",
    ]
    asked += ["--metrics", "pjsd,drift:factor=0.3", "--recognizer", "pocketsphinx", "--ngrams", "1,2"]
    outputs = [("whole", []), *((f"s{index}", ["--shard", f"{index}/3"]) for index in (1, 2, 3))]
    running = [
        start([*asked, *more, "--output", tmp_path / name], site, tmp_path / f"cache {name}") for name, more in outputs
    ]
    for process in running:
        finish(process)
    folders = [tmp_path / f"s{index}" for index in (3, 1, 2)]
    printed = finish(start(["merge", *folders, "-o", tmp_path / "m"], site, tmp_path / "none", NO_WEIGHTS="1"))
    assert written(tmp_path / "m") == written(tmp_path / "whole")
    assert "pjsd.2" in printed
    assert "drift.l2" in printed
    assert "drift.l2" in (tmp_path / "m" / "report.html").read_text()
    assert not (tmp_path / "none").exists()
    assert json.loads(written(tmp_path / "m")[0])["corpora"]["real"]["n_total"] == 2


def test_a_shard_that_was_stopped_continues(site: Path, tmp_path: Path) -> None:
    asked = [
        "run",
        "--generated",
        EXAMPLES / "generated",
        "--real",
        EXAMPLES / "real",
        "--limit",
        "12",
        "--workers",
        "1",
    ]
    asked += ["--metrics", "pjsd", "--recognizer", "pocketsphinx", "--shard", "1/2", "--batch-seconds", "10"]
    finish(start([*asked, "--output", tmp_path / "undisturbed"], site, tmp_path / "cache1"))
    stopped = start([*asked, "--output", tmp_path / "stopped"], site, tmp_path / "cache2")
    assert stopped.stderr is not None
    while "observing" not in stopped.stderr.readline():
        assert stopped.poll() is None, "it ended before it could be stopped"
    stopped.send_signal(signal.SIGINT)
    _, errors = stopped.communicate(timeout=30)
    assert (stopped.returncode, "the same command continues" in errors) == (130, True)
    assert not (tmp_path / "stopped").exists()
    finish(start([*asked, "--output", tmp_path / "stopped"], site, tmp_path / "cache2"))
    for name in ("shard.json", "clips.jsonl"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()


def test_the_slurm_scripts_of_the_examples(corpora: tuple[Path, Path], site: Path, tmp_path: Path) -> None:
    """Without SLURM: its variables by hand, and the commands that SLURM would start."""
    scripts = EXAMPLES.parent / "slurm"
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "slm-eval").write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "from slm_eval.cli.main import main; main()" "$@"\n'
    )
    (bin_ / "slm-eval").chmod(0o755)
    common = os.environ | {
        "PATH": f"{bin_}:{os.environ['PATH']}", "PYTHONPATH": str(site), "REAL": str(corpora[1]), "METRICS": "drift",
        "GENERATED": str(corpora[0]), "SLURM_CPUS_PER_TASK": "1",
    }  # fmt: skip

    def call(script: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
        command = ["bash", str(scripts / script)]
        return subprocess.run(
            command, env=common | variables, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    assert call("run_array.sh", slurm(0, 0, 4, 3, 2)).returncode == 0
    assert call("run_array.sh", slurm(4, 0, 4, 3, 2)).returncode == 0
    early = call("merge.sh", {})
    assert (early.returncode, "missing of the 3 shards: 2" in early.stderr) == (1, True)
    assert call("run_array.sh", slurm(5, 5, 5, 1, 1) | {"SHARD": "2/3"}).returncode == 0
    assert call("merge.sh", {}).returncode == 0, call("merge.sh", {}).stderr
    assert json.loads(written(tmp_path / "runs" / "gen")[0])["corpora"]["generated"]["n_total"] == 10
    assert "a folder of real speech" in call("run_array.sh", {"REAL": ""}).stderr
