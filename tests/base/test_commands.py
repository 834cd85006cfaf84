"""How commands end: by signals in order, by bad places at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from slm_eval.cli.main import main
from tests.conftest import noise

# A group as our programs have, whose command says that it is there, and then what it is told.
PROGRAM = """
import sys, threading, time, click
from slm_eval.base.commands import Commands

@click.group(cls=Commands, stopped="stopped in order")
def main(): pass

@main.command()
@click.option("--tidy", type=float, default=0.0)
def work(tidy):
    try:
        print("ready", flush=True)
        time.sleep(30)
    finally:
        time.sleep(tidy)
        print("tidy", flush=True)

main()
"""


def start(*arguments: str, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, "work", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("times", [1, 3])
def test_signals_end_a_command_in_order(signum: int, status: int, times: int) -> None:
    process = start("--tidy", "0.5")
    for _ in range(times):
        process.send_signal(signum)
        time.sleep(0.1)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (status, "tidy\n", "Error: stopped in order\n")


def test_a_signal_after_a_while_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    process = start("--tidy", "60")
    process.send_signal(signal.SIGINT)
    time.sleep(5.5)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (143, "", "Error: stopped in order\n")


def test_what_was_ignored_stays_ignored() -> None:
    process = start(preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.terminate()
    assert process.wait(30) == 143


def test_handlers_are_put_back_in_python() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    CliRunner().invoke(main, ["--help"])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


# ---- what cannot be used is found before any work ----


@pytest.fixture
def speech(tmp_path: Path, write_wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a clip, and let nothing hear or digest it."""

    def never(*_: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr("slm_eval.run.shards.plan", never)  # first: importing it takes plan from where it is
    monkeypatch.setattr("slm_eval.run.evaluate.plan", never)
    monkeypatch.setattr("slm_eval.observing.observe.identify", never)
    monkeypatch.setattr("slm_eval.observing.identify.content_digest", never)
    return write_wav(tmp_path / "x" / "a.wav", noise(1.0)).parent


def run(speech: Path, *more: object) -> Result:
    arguments = ["run", "--generated", speech, "--real", speech, "--metrics", "pjsd", *more]
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("shard", [(), ("--shard", "1/1")])
def test_an_output_a_device_and_a_cache_that_cannot_be_used(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("")
    output = run(speech, "-o", tmp_path / "file" / "out", *shard)
    assert output.exit_code == 2, output.output
    assert "file is not a folder; choose another --output" in output.output
    for device in ("cuda:99", "cuda:x", "tpu", "cpu:1"):
        missing = run(speech, "-o", tmp_path / "out", "--device", device, *shard)
        assert (missing.exit_code, f"device {device!r} is not here" in missing.output) == (2, True), missing.output
    monkeypatch.setenv("SLM_EVAL_CACHE", str(tmp_path / "file"))
    cache = run(speech, "-o", tmp_path / "out", *shard)
    assert (cache.exit_code, "cannot be made: " in cache.output) == (1, True), cache.output
    assert not (tmp_path / "out").exists()
