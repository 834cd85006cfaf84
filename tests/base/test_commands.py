"""How commands end: by signals in order, by bad places at once, by other packages' errors in a line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from slm_eval.base.device import resolve_device
from slm_eval.base.errors import UsageError
from slm_eval.base.files import require_writable
from slm_eval.base.tables import in_code
from slm_eval.base.terminal import visible
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
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    CliRunner().invoke(main, ["--help"])
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


# ---- what cannot be used is found before any work ----


@pytest.fixture
def speech(tmp_path: Path, write_wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clip, and nothing that may hear or digest it."""

    def never(*_: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr("slm_eval.run.shards.plan", never)  # first: importing it takes plan from where it is
    monkeypatch.setattr("slm_eval.run.evaluate.plan", never)
    monkeypatch.setattr("slm_eval.observing.observe.identify", never)
    monkeypatch.setattr("slm_eval.observing.identify.content_digest", never)
    return write_wav(tmp_path / "x" / "a.wav", noise(1.0)).parent


def run(speech: Path, *more: object) -> Result:
    arguments = ["run", "--generated", speech, "--real", speech, "--metrics", "pjsd", *more]
    return CliRunner().invoke(main, [str(each) for each in arguments])


@pytest.mark.parametrize("shard", [(), ("--shard", "1/1")])
def test_an_output_a_device_and_a_cache_that_cannot_be_used(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("")
    output = run(speech, "-o", tmp_path / "file" / "out", *shard)
    assert (output.exit_code, "file is no folder; choose another --output" in output.output) == (2, True), output.output
    for device in ("cuda:99", "cuda:x", "tpu", "cpu:1"):
        missing = run(speech, "-o", tmp_path / "out", "--device", device, *shard)
        assert (missing.exit_code, f"device {device!r} is not here" in missing.output) == (2, True), missing.output
    monkeypatch.setenv("SLM_EVAL_CACHE", str(tmp_path / "file"))
    cache = run(speech, "-o", tmp_path / "out", *shard)
    assert (cache.exit_code, "cannot be made: " in cache.output) == (1, True), cache.output
    assert not (tmp_path / "out").exists()


def test_names_and_folders_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="File name too long; choose another --output"):
        require_writable(tmp_path / ("a" * 300))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(UsageError, match=r"cannot write .*/a: .* cannot be written; choose another --output"):
        require_writable(tmp_path / "a")


def test_devices() -> None:
    assert resolve_device("cpu") == "cpu"
    with pytest.raises(UsageError, match="device 'cuda:-1' is not here"):
        resolve_device("cuda:-1")


# ---- other packages ----


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package whose metric cannot be imported, one that cannot be made, and a recogniser that ends all."""
    info = tmp_path / "site" / "broken-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[slm_eval.metrics]\nwrecked = broken_metric:Metric\nunmade = unmade_metric:Unmade\n"
        "[slm_eval.recognizers]\nender = broken_end:Ender\n"
    )
    (tmp_path / "site" / "broken_metric.py").write_text("import a_package_that_is_not_here\n")
    (tmp_path / "site" / "broken_end.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "site" / "unmade_metric.py").write_text(
        "from tests.fakes import Loudness\nclass Unmade(Loudness):\n    def __init__(self):\n        1 / 0\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")


WRECKED = (
    "the metric 'wrecked' of another package (broken_metric:Metric) cannot be used: "
    "ModuleNotFoundError: No module named 'a_package_that_is_not_here'; update or remove that package"
)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_broken_package_is_a_line_of_the_list(broken: None) -> None:
    listed = invoke("list")
    assert listed.exit_code == 0, listed.output
    assert f"  wrecked       {WRECKED}" in listed.output
    assert "(unmade_metric:Unmade) cannot be used: ZeroDivisionError: division by zero" in listed.output
    assert "the recognizer 'ender' of another package (broken_end:Ender) cannot be used: SystemExit: 0" in listed.output
    assert "  dnsmos        ready" in listed.output


def test_a_broken_package_is_a_line_where_it_is_asked_for_and_left_out_elsewhere(broken: None, tmp_path: Path) -> None:
    path = tmp_path / "phones.jsonl"
    path.write_text("".join(json.dumps({"id": f"{at}", "phones": ["a", "b"] * at}) + "\n" for at in (1, 2, 3)))
    both = ("run", "--generated", path, "--real", path, "-o", tmp_path / "out")
    asked = invoke(*both, "--metrics", "pjsd,wrecked")
    assert (asked.exit_code, asked.output) == (1, f"Error: {WRECKED}\n")
    assert "(unmade_metric:Unmade) cannot be used: ZeroDivisionError" in invoke(*both, "--metrics", "unmade").output
    ender = invoke("phones", tmp_path, "-o", tmp_path / "p.jsonl", "--recognizer", "ender")
    assert "SystemExit: 0" in ender.output or "no audio" in ender.output
    default = invoke(*both)
    assert default.exit_code == 0, default.output
    assert f"left out: {WRECKED}\n" in default.output
    assert "pjsd.1" in default.output


# ---- names that would steer a terminal ----

STEERING = "\x1b[2J\x1b]0;owned\x07\u202egpj"


def test_names_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    path = tmp_path / "phones.jsonl"
    path.write_text("".join(json.dumps({"id": f"{STEERING}{at}", "phones": ["a", "b"] * at}) + "\n" for at in (1, 2)))
    folder = tmp_path / f"evil{STEERING}"
    results = [
        invoke("run", "--generated", path, "--real", path, "--metrics", "pjsd", "-o", folder),
        invoke("run", "--generated", path, "--real", path, "--metrics", "pjsd", "-o", folder, "--json"),
        invoke("report", folder),
        invoke("report", tmp_path / f"absent{STEERING}"),
        invoke("compare", folder, folder),
        invoke("run", "--generated", f"no{STEERING}", "--real", path, "-o", tmp_path / "o"),
        invoke("leaderboard", f"x{STEERING}", "-o", tmp_path / "board"),
    ]
    for result in results:
        assert "\\u001b[2J" in result.output, result.output
        assert not {"\x1b", "\x07", "\u202e"} & set(result.output)


def test_what_is_made_visible_is_the_same_json() -> None:
    value = {STEERING: ["\x9b31m", "\u2066", "é\n\t"]}
    assert json.loads(visible(json.dumps(value, ensure_ascii=False))) == value


@pytest.mark.parametrize(
    ("text", "code"), [("pjsd.1", "`pjsd.1`"), ("a`b", "`` a`b ``"), ("``\n# x", "``` `` # x ```"), ("", "``")]
)
def test_code_in_markdown(text: str, code: str) -> None:
    assert in_code(text) == code
