"""The command line as a user meets it: real processes, real files, real signals."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from slm_eval.cli.main import main
from tests.conftest import EXAMPLES

Write = Callable[..., Path]
COMMAND = [sys.executable, "-c", "from slm_eval.cli.main import main; main()"]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def run_arguments(generated: Path, real: Path, output: Path, *more: str) -> list[str]:
    return [
        "run",
        "--generated",
        str(generated),
        "--real",
        str(real),
        "--output",
        str(output),
        "--metrics",
        "pjsd",
        *more,
    ]


@pytest.fixture
def clips(tmp_path: Path) -> tuple[Path, Path]:
    """Twelve example clips a side, as lists: as many as a floor needs."""
    lists = []
    for side in ("generated", "real"):
        path = tmp_path / f"{side}.txt"
        path.write_text("".join(f"{each}\n" for each in sorted((EXAMPLES / side).rglob("*.ogg"))[::3][:12]))
        lists.append(path)
    return lists[0], lists[1]


def test_run_writes_what_the_contract_says(clips: tuple[Path, Path], tmp_path: Path) -> None:
    result = invoke(*run_arguments(*clips, tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["clips.jsonl", "report.html", "summary.json"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary.keys() == {"schema", "version", "corpora", "metrics", "environment", "not_computed"}
    assert summary["schema"] == 1
    assert summary["corpora"]["generated"].keys() >= {
        "path", "n_total", "n_scored", "n_failed", "seconds", "failures",
    }  # fmt: skip
    assert list(summary["metrics"]) == [f"pjsd.{n}" for n in range(1, 6)]
    for metric in summary["metrics"].values():
        assert metric.keys() >= {
            "value", "unit", "ci95", "floor", "floor_sd", "excess", "corrected", "coverage", "n_ngrams",
            "higher_is_better", "warnings", "signature",
        }  # fmt: skip
        assert metric["unit"] == "nats"
        assert metric["excess"] == pytest.approx(metric["value"] - metric["floor"])
        # Twelve clips share too few of the longer n-grams for an interval.
        withheld = any(line.startswith("there is no interval: ") for line in metric["warnings"])
        assert withheld == (metric["ci95"] is None)
        assert withheld or metric["ci95"][0] <= metric["value"] <= metric["ci95"][1]
    assert summary["metrics"]["pjsd.2"]["ci95"] is not None
    assert summary["metrics"]["pjsd.5"]["ci95"] is None
    lines = [json.loads(line) for line in (tmp_path / "out" / "clips.jsonl").read_text().splitlines()]
    assert len(lines) == 24
    assert lines[0].keys() >= {"id", "side", "seconds", "status", "error", "scores", "phones"}
    assert "pjsd.3" in result.output
    assert "real vs real" in result.output
    assert f"written to {tmp_path / 'out'}" in result.output


def test_generated_example_is_worse_than_real(tmp_path: Path) -> None:
    result = invoke(*run_arguments(EXAMPLES / "generated", EXAMPLES / "real", tmp_path / "out", "--ngrams", "1,2"))
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())["metrics"]
    for key in ("pjsd.1", "pjsd.2"):
        assert summary[key]["ci95"][0] > summary[key]["floor"] + 3 * summary[key]["floor_sd"]


def test_json_goes_to_stdout_and_bits_are_nats_over_ln2(clips: tuple[Path, Path], tmp_path: Path) -> None:
    nats = json.loads(invoke(*run_arguments(*clips, tmp_path / "a", "--json", "--ngrams", "1")).stdout)["metrics"]
    bits = json.loads(
        invoke(*run_arguments(*clips, tmp_path / "b", "--json", "--ngrams", "1", "--log-base", "2")).stdout
    )
    for field in ("value", "floor", "floor_sd", "excess", "corrected"):
        assert bits["metrics"]["pjsd.1"][field] == pytest.approx(nats["pjsd.1"][field] / np.log(2))
    assert bits["metrics"]["pjsd.1"]["unit"] == "bits"
    assert bits["metrics"]["pjsd.1"]["signature"] != nats["pjsd.1"]["signature"]


def test_phones_stand_for_the_audio_they_come_from(clips: tuple[Path, Path], tmp_path: Path) -> None:
    assert invoke(*run_arguments(*clips, tmp_path / "audio")).exit_code == 0
    written = []
    for side, path in zip(("generated", "real"), clips, strict=True):
        result = invoke("phones", path, "-o", tmp_path / f"{side}.jsonl")
        assert result.exit_code == 0, result.output
        written.append(tmp_path / f"{side}.jsonl")
    for generated, real in (written, (clips[0], written[1])):
        assert invoke(*run_arguments(generated, real, tmp_path / "phones", "--force")).exit_code == 0
        audio, phones = (
            json.loads((tmp_path / name / "summary.json").read_text())["metrics"] for name in ("audio", "phones")
        )
        assert audio == phones


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "pjds"], "unknown metric 'pjds'; did you mean 'pjsd'?"),
        (["--metrics", ","], "expected names of metrics"),
        (["--metrics", "pjsd", "--recognizer", "pocketsfinx"], "did you mean 'pocketsphinx'?"),
        (["--metrics", "pjsd", "--lang", "zzz"], "recognises 'eng' only"),
        (["--metrics", "pjsd", "--ngrams", "0-3"], "expected values of n from 1"),
        (["--metrics", "pjsd", "--ngrams", "5-1"], "expected values of n from 1"),
        (["--metrics", "dnsmos:window=all"], "expected dnsmos:option=value"),
        (["--metrics", "dnsmos", "--device", "cuda:7"], "is not here; there are: auto, cpu"),
        (["--generated", "nowhere"], "nowhere does not exist"),
        (["--workers", "-1"], "--workers"),
        (["--preset", "paper", "--metrics", "pjsd"], "leave --metrics pjsd out"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(clips: tuple[Path, Path], arguments: list[str], message: str) -> None:
    result = invoke("run", "--generated", clips[0], "--real", clips[1], "--recognizer", "pocketsphinx", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert "Traceback" not in result.output


def test_what_was_asked_for_and_cannot_be_is_status_1(
    tmp_path: Path, clips: tuple[Path, Path], write_wav: Write
) -> None:
    write_wav(tmp_path / "silent" / "a.wav", np.zeros(16_000))
    result = invoke(*run_arguments(tmp_path / "silent", clips[1], tmp_path / "out"))
    assert result.exit_code == 1
    assert "not computed: pjsd.1" in result.output
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["corpora"]["generated"]["n_failed"] == 1


def test_a_folder_of_bad_files_loses_nothing(tmp_path: Path, write_wav: Write) -> None:
    speech, rate = soundfile.read(sorted((EXAMPLES / "real").rglob("*.ogg"))[0], dtype="float32")
    bad = tmp_path / "bad"
    broken = speech.copy()
    broken[100] = np.nan
    write_wav(bad / "nan.wav", broken, rate, subtype="FLOAT")
    broken[100] = np.inf
    write_wav(bad / "inf.wav", broken, rate, subtype="FLOAT")
    write_wav(bad / "loud.wav", speech * 5, rate, subtype="FLOAT")
    write_wav(bad / "24.wav", speech, rate, subtype="PCM_24")
    write_wav(bad / "8 channels é.wav", np.stack([speech] * 8, axis=1), rate)
    write_wav(bad / "-dash.wav", np.repeat(speech, 12), 192_000)
    write_wav(bad / "8k.wav", speech[::2], 8_000)
    write_wav(bad / "10ms.wav", speech[8_000:8_160], rate)
    write_wav(bad / "no_samples.wav", speech[:0], rate)
    write_wav(bad / "zeros.wav", np.zeros(16_000), rate)
    write_wav(bad / "constant.wav", np.full(16_000, 0.3), rate)
    write_wav(bad / "cut.wav", speech, rate)
    (bad / "cut.wav").write_bytes((bad / "cut.wav").read_bytes()[:50_000])
    (bad / "text.wav").write_text("no audio at all")
    (bad / "empty.wav").write_bytes(b"")
    (bad / "gone.wav").symlink_to("nowhere.wav")
    (bad / "notes.txt").write_text("not audio")
    (bad / "loop").symlink_to(bad, target_is_directory=True)
    result = invoke(*run_arguments(bad, EXAMPLES / "real" / "f2", tmp_path / "out", "--ngrams", "1"))
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (tmp_path / "out" / "clips.jsonl").read_text().splitlines()]
    assert {line["id"]: line["status"] for line in lines if line["side"] == "generated"} == {
        "-dash.wav": "ok", "10ms.wav": "too_short", "24.wav": "ok", "8 channels é.wav": "ok", "8k.wav": "ok",
        "constant.wav": "silent", "cut.wav": "decode_error", "empty.wav": "empty", "gone.wav": "decode_error",
        "inf.wav": "not_finite", "loud.wav": "ok", "nan.wav": "not_finite", "no_samples.wav": "empty",
        "text.wav": "decode_error", "zeros.wav": "silent",
    }  # fmt: skip
    assert all((line["error"] is None) == (line["status"] == "ok") for line in lines)
    corpus = json.loads((tmp_path / "out" / "summary.json").read_text())["corpora"]["generated"]
    assert (corpus["n_total"], corpus["n_scored"], corpus["n_failed"]) == (15, 5, 10)
    assert corpus["ignored"] == {".txt": 1, "link_loop": 1}
    assert next(line for line in lines if line["id"] == "loud.wav")["audio"]["peak"] > 1


def test_list_and_doctor() -> None:
    listed = invoke("list")
    assert listed.exit_code == 0
    assert "pocketsphinx  ready" in listed.output
    assert "dnsmos        ready" in listed.output
    examined = invoke("doctor", "--device", "cpu")
    assert examined.exit_code == 0, examined.output
    assert "real time" in examined.output


# ---- processes: import time, Ctrl-C, kill -9, a full disk, two runs at once ----


def test_import_and_help_load_nothing_heavy() -> None:
    code = (
        "import sys, slm_eval, slm_eval.cli.main; print(sorted({'torch', 'numpy', 'scipy', 'onnx'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_run_without_models_loads_no_torch(clips: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = run_arguments(*clips, tmp_path / "out")
    code = f"import sys; from slm_eval.cli.main import main; main({arguments}, standalone_mode=False)"
    code += "; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.endswith("False\n"), done.stderr


@pytest.fixture
def many(tmp_path: Path, write_wav: Write) -> Path:
    """Clips that take pocketsphinx some seconds."""
    for index in range(24):
        speech, rate = soundfile.read(sorted((EXAMPLES / "real").rglob("*.ogg"))[index], dtype="float32")
        write_wav(tmp_path / "many" / f"{index}.wav", speech, rate)
    write_wav(tmp_path / "many" / "silent.wav", np.zeros(100))
    return tmp_path / "many"


def start(many: Path, output: Path, cache: Path, **options: Any) -> subprocess.Popen[str]:
    arguments = run_arguments(many, many, output, "--workers", "2", "--batch-seconds", "10")
    environment = os.environ | {"SLM_EVAL_CACHE": str(cache)}
    return subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options
    )


def processes_with(cache: Path) -> list[int]:
    """Processes that were given this cache: the run and its workers."""
    processes = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and f"SLM_EVAL_CACHE={cache}".encode() in (entry / "environ").read_bytes():
                processes.append(int(entry.name))
        except OSError:
            continue  # it ended while we looked, or belongs to somebody else
    return [each for each in processes if each != os.getpid()]


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def has_observations(cache: Path) -> bool:
    import sqlite3

    path = cache / "observations.sqlite"
    if not path.exists():
        return False
    connection = sqlite3.connect(path, timeout=10)
    try:
        return connection.execute("SELECT count(*) FROM observations").fetchone()[0] > 0
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_and_started_again_ends_with_the_same_summary(many: Path, tmp_path: Path, stop: signal.Signals) -> None:
    undisturbed = start(many, tmp_path / "undisturbed", tmp_path / "cache1")
    assert undisturbed.wait(120) == 0, undisturbed.stderr

    stopped = start(many, tmp_path / "stopped", tmp_path / "cache2")
    wait_for(lambda: has_observations(tmp_path / "cache2"))
    stopped.send_signal(stop)
    _, errors = stopped.communicate(timeout=30)
    assert stopped.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[stop]
    if stop != signal.SIGKILL:
        assert "the same command continues" in errors
        assert "Traceback" not in errors
    assert not (tmp_path / "stopped").exists()
    wait_for(lambda: processes_with(tmp_path / "cache2") == [])  # the workers leave too

    again = start(many, tmp_path / "stopped", tmp_path / "cache2")
    assert again.wait(120) == 0
    for name in ("summary.json", "clips.jsonl"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()


def test_two_runs_at_once_share_a_cache(many: Path, tmp_path: Path) -> None:
    runs = [start(many, tmp_path / name, tmp_path / "cache") for name in ("a", "b")]
    assert [each.wait(120) for each in runs] == [0, 0]
    assert (tmp_path / "a" / "summary.json").read_bytes() == (tmp_path / "b" / "summary.json").read_bytes()


def test_a_full_disk_leaves_the_earlier_results(many: Path, tmp_path: Path) -> None:
    assert start(many, tmp_path / "out", tmp_path / "cache").wait(120) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    # A limit on the size of files is how a full disk can be had without one.
    full = start(
        many, tmp_path / "out", tmp_path / "cache",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000)),
    )  # fmt: skip
    _, errors = full.communicate(timeout=60)
    assert full.returncode == 1
    assert "cannot write" in errors
    assert "Traceback" not in errors
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_progress_goes_to_stderr(many: Path, tmp_path: Path) -> None:
    output, errors = start(many, tmp_path / "out", tmp_path / "cache").communicate(timeout=120)
    assert "observing" in errors
    assert "real time" in errors
    assert "observing" not in output


def test_nothing_is_written_beside_the_data(many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(many.rglob("*"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert start(many, tmp_path / "out", tmp_path / "cache").wait(120) == 0
    assert sorted(many.rglob("*")) == before
    assert list((tmp_path / "here").iterdir()) == []


def test_default_output_is_named_after_the_generated_folder(
    clips: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("run", "--generated", clips[0], "--real", clips[1], "--metrics", "pjsd", "--limit", "3")
    assert result.exit_code == 0, result.output
    assert "written to runs/generated" in result.output
    assert json.loads(Path("runs/generated/summary.json").read_text())["corpora"]["real"]["n_total"] == 3
