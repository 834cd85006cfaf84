"""The public interface, frozen: names, commands, options and keys that other software relies on."""

from __future__ import annotations

import subprocess
import sys

import pytest

import slm_eval
from model_zoo.cli.main import main as zoo
from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.cli.main import main
from slm_eval.metrics.registry import make_metric, metric_class


def test_python_names() -> None:
    from slm_eval import DNSMOS, NISQA, AudioboxAesthetics, evaluate, pJSD
    from slm_eval.functional import pjsd

    assert all(callable(each) for each in (DNSMOS, NISQA, AudioboxAesthetics, evaluate, pJSD, pjsd))
    assert set(slm_eval.__all__) == {
        "DNSMOS", "NISQA", "NISQATTS", "AudioboxAesthetics", "Evaluation", "Metric", "NotComputed", "Observer",
        "PhoneLM", "Refusal", "RunOptions", "ScoreMetric", "Signal", "Signature", "SlmEvalError", "Summary",
        "__version__", "evaluate", "load_corpus", "pJSD",
    }  # fmt: skip
    for name in slm_eval.__all__:
        getattr(slm_eval, name)
    with pytest.raises(AttributeError, match="no attribute 'pJDS'"):
        _ = slm_eval.pJDS


def test_commands_and_options_of_run() -> None:
    assert set(main.commands) == {
        "run", "compare", "leaderboard", "phones", "report", "merge", "scaling", "list", "download", "doctor",
    }  # fmt: skip
    assert set(zoo.commands) == {
        "filter", "prepare", "train", "export", "sample", "vocode", "convert-vocoder", "cut", "make-speech", "plan",
        "sweep", "flops",
    }  # fmt: skip
    options = {name for parameter in main.commands["run"].params for name in parameter.opts}
    assert options >= {
        "--generated", "--real", "--output", "--metrics", "--preset", "--recognizer", "--lang", "--ngrams", "--device",
        "--batch-seconds", "--workers", "--limit", "--seed", "--log-base", "--on-error", "--max-failures", "--fresh",
        "--json",
    }  # fmt: skip


def test_keys() -> None:
    assert make_metric("pjsd").keys == tuple(f"pjsd.{n}" for n in range(1, 6))
    assert make_metric("dnsmos").keys == ("dnsmos.p808", "dnsmos.sig", "dnsmos.bak", "dnsmos.ovrl")
    assert make_metric("nisqa").keys == ("nisqa.mos", "nisqa.noi", "nisqa.dis", "nisqa.col", "nisqa.loud")
    assert make_metric("nisqa_tts").keys == ("nisqa_tts.mos",)
    assert make_metric("audiobox").keys == ("audiobox.CE", "audiobox.CU", "audiobox.PC", "audiobox.PQ")


def test_a_metric_of_another_package_is_found_by_its_entry_point(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What pip would leave in site-packages, without pip.
    site = tmp_path_factory.mktemp("site")
    (site / "their_metric.py").write_text(
        "from tests.fakes import Loudness\nclass Theirs(Loudness):\n    name = 'theirs'\n"
    )
    info = site / "their_metric-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-metric\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[slm_eval.metrics]\ntheirs = their_metric:Theirs\nwrong = json:dumps\n")
    monkeypatch.syspath_prepend(str(site))
    assert make_metric("theirs").keys == ("loudness.rms",)
    with pytest.raises(SlmEvalError, match="must be a subclass of Metric"):
        metric_class("wrong")
    with pytest.raises(UsageError, match="did you mean 'theirs'"):
        metric_class("their")


def test_import_is_silent() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", "import slm_eval"], capture_output=True, check=True)
    assert done.stdout == done.stderr == b""
