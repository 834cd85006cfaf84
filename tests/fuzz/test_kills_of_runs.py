"""run, run --shard, merge, compare, report and leaderboard, stopped at random moments: the same command then gives
the same bytes, and nothing is left over.

Commands run in forked processes, which have everything imported, so that signals meet the work and not the start.
``SLM_EVAL_FUZZ=20`` stops 120 of them.
"""

from __future__ import annotations

import collections
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import slm_eval.cli.main
import slm_eval.compare
import slm_eval.compare.leaderboard
import slm_eval.metrics.pjsd
import slm_eval.observing.phones.pocketsphinx
import slm_eval.observing.quality.dnsmos.observer
import slm_eval.report.page.html
import slm_eval.report.page.leaderboard
import slm_eval.report.text.comparison
import slm_eval.report.text.documents
import slm_eval.run.merging
from slm_eval.base.errors import SlmEvalError
from slm_eval.run.finished import read_run
from tests.conftest import EXAMPLES

ROUNDS = int(os.environ.get("SLM_EVAL_FUZZ", "1"))
CLIPS = 4
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")


@dataclass(frozen=True)
class Case:
    """A command, the folder that it writes, if any, and whether another run may be there before."""

    name: str
    arguments: tuple[str, ...]
    output: str | None = None


RUN = ("--generated", "gen.txt", "--real", "real.txt", "--metrics", "pjsd", "--recognizer", "pocketsphinx")
HEARING = ("--ngrams", "1,2", "--workers", "1", "--batch-seconds", "4")
CASES = (
    Case("run", ("run", *RUN, *HEARING, "-o", "out"), "out"),
    Case("shard", ("run", *RUN, *HEARING, "--shard", "1/2", "-o", "out"), "out"),
    Case("merge", ("merge", "given/shard1", "given/shard2", "-o", "out"), "out"),
    Case("report", ("report", "given/a", "-o", "out"), "out"),
    Case("compare", ("compare", "given/a", "given/b", "--permutations", "1999")),
    Case("leaderboard", ("leaderboard", "given/a", "given/b", "-o", "out"), "out"),
)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with lists of examples, two runs of them, and a run in shards; the current folder."""
    folder = tmp_path_factory.mktemp("project")
    for side, name in (("generated", "gen"), ("real", "real")):
        clips = sorted((EXAMPLES / side).rglob("*.ogg"))
        (folder / f"{name}.txt").write_text("".join(f"{each}\n" for each in clips[:CLIPS]))
        (folder / f"{name}2.txt").write_text("".join(f"{each}\n" for each in clips[CLIPS : 2 * CLIPS]))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("SLM_EVAL_CACHE", str(folder / "warm"))
        other = ("run", "--generated", "gen2.txt", *RUN[2:], *HEARING, "-o", "given/b")
        for command in (
            ("run", *RUN, *HEARING, "-o", "given/a"), other,
            *(("run", *RUN, *HEARING, "--shard", f"{at}/2", "-o", f"given/shard{at}") for at in (1, 2)),
        ):  # fmt: skip
            assert ended(begin(command, folder / "said")) == 0, (folder / "said").read_text()
        yield folder


def begin(arguments: tuple[str, ...], said: Path) -> int:
    """Begin a command in a process of its own, and return its number."""
    process = os.fork()
    if process:
        return process
    status = 70
    try:
        descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            slm_eval.cli.main.main(list(arguments))
        except SystemExit as end:
            status = int(end.code or 0)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def ended(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def workers(cache: Path) -> list[int]:
    """Processes that were started with this cache."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and f"SLM_EVAL_CACHE={cache}\0".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue  # it ended while we looked, or belongs to somebody else
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_stopped_at_any_moment(case: Case, given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, said = given / "out", tmp_path / "said"
    cold = case.name in {"run", "shard"}
    older = tmp_path / "older"
    if cold:  # an earlier run of a shorter list, which the same command made
        text = (given / "gen.txt").read_text()
        (given / "gen.txt").write_text(text.split("\n", 1)[1])
        assert ended(begin(case.arguments, said)) == 0, said.read_text()
        (given / "gen.txt").write_text(text)
        out.rename(older)
    begun = time.monotonic()
    cache = tmp_path / "undisturbed"
    cache.mkdir()
    monkeypatch.setenv("SLM_EVAL_CACHE", str(cache))
    assert ended(begin(case.arguments, said)) == 0, said.read_text()
    seconds = time.monotonic() - begun
    expected, expected_words = files(out) if case.output else {}, said.read_text() if not case.output else ""
    seen: collections.Counter[str] = collections.Counter()
    for turn in range(ROUNDS):
        rng = random.Random(f"{case.name} {turn}")
        shutil.rmtree(out, ignore_errors=True)
        before = cold and rng.random() < 0.5
        if before:
            shutil.copytree(older, out)
        cache = tmp_path / f"cache-{turn}"
        cache.mkdir()
        if cold and rng.random() < 0.5:  # where all is known, it is the writing that is met
            shutil.copy(tmp_path / "undisturbed" / "observations.sqlite", cache)
        monkeypatch.setenv("SLM_EVAL_CACHE", str(cache))
        signum = rng.choice(list(STATUS))
        process = begin(case.arguments, said)
        time.sleep(rng.uniform(0, seconds if not (cache / "observations.sqlite").exists() else seconds / 4))
        os.kill(process, signum)
        status = ended(process)
        words = said.read_text()
        where = f"{case.name}, turn {turn}, {signum.name}, status {status}: {words}"
        # 0: it was finished. -2, -15: before a handler was there.
        assert status in {0, STATUS[signum], -signum}, where
        assert status in {0, -signum} or "Traceback" not in words, where
        seen[f"{signum.name}: {'finished' if status == 0 else 'stopped'}"] += 1
        end = time.monotonic() + 30
        while workers(cache):
            assert time.monotonic() < end, f"{where}: processes are left"
            time.sleep(0.02)
        if cold and (out / "summary.json").exists():
            require_one_run(out, (files(older), expected), where)
        if signum != signal.SIGKILL and out.exists():
            assert not [name for name in files(out) if Path(name).name.startswith(".")], where
        again = begin(case.arguments, said)
        assert ended(again) == 0, said.read_text()
        if case.output:
            assert files(out) == expected, where
        else:
            assert said.read_text() == expected_words, where
        assert [path.name for path in cache.iterdir()] in ([], ["observations.sqlite"]), where
        shutil.rmtree(cache)
    shutil.rmtree(out, ignore_errors=True)
    print(case.name, dict(seen))


def require_one_run(out: Path, runs: tuple[dict[str, bytes], ...], where: str) -> None:
    """A folder that can be read is of one run: never the clips of one and the summary of another."""
    try:
        read_run(out)
    except SlmEvalError:
        return
    mine = files(out)
    assert any(all(mine[name] == run[name] for name in ("summary.json", "clips.jsonl")) for run in runs), where
