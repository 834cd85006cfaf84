"""plm on its way through a run: one recognition, shards, the table, the page, and what a signature holds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from slm_eval.base.errors import UsageError
from slm_eval.base.signature import Signature
from slm_eval.cli.main import main
from slm_eval.metrics.choosing import choose_metrics
from slm_eval.metrics.pjsd import pJSD
from slm_eval.metrics.plm import CrossEntropySummary, PhoneLM
from slm_eval.metrics.registry import METRICS
from slm_eval.observing.options import RunOptions
from slm_eval.observing.phones.given import GivenPhones
from slm_eval.report.page.html import page
from slm_eval.report.text.documents import latex, markdown
from slm_eval.run.evaluate import evaluate
from slm_eval.run.finished import FinishedRun, read_run
from tests.conftest import noise
from tests.fakes import SpellingObserver

Clips = list[list[str]]


def observed(clips: Clips, **labels: list[str]) -> list[dict]:
    return [
        {"phones": clip, **{name: of_clips[at] for name, of_clips in labels.items()}} for at, clip in enumerate(clips)
    ]


def summary(generated: list[dict], real: list[dict], **options: object) -> CrossEntropySummary:
    metric = PhoneLM(recognizer=GivenPhones("made|rev:1"), **options)  # type: ignore[arg-type]
    found = metric.summarise(generated, real)[metric.keys[0]]
    assert isinstance(found, CrossEntropySummary)
    return found


def write_phones(path: Path, clips: Clips) -> Path:
    lines = [json.dumps({"id": f"{at:03}", "phones": clip}) for at, clip in enumerate(clips)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_bits_are_nats_over_ln_2_and_the_signature_says_what_the_value_rests_on(librispeech_phones: Clips) -> None:
    generated, real = observed(librispeech_phones[::4]), observed(librispeech_phones[1::4])
    nats, bits = summary(generated, real), summary(generated, real, log_base="2")
    assert bits.value * math.log(2) == pytest.approx(nats.value, rel=1e-14)
    assert bits.difference.value * math.log(2) == pytest.approx(nats.difference.value, rel=1e-12)
    assert bits.difference.p == nats.difference.p
    assert (nats.unit, bits.unit) == ("nats/phone", "bits/phone")
    one = Signature.parse(nats.signature)
    assert (one.name, one.fields["n"], one.fields["smoothing"]) == ("plm", "3", "witten-bell")

    def differing(**changed: object) -> set[str]:
        arguments = {"generated": generated, "real": real} | changed
        return set(one.differences(Signature.parse(summary(**arguments).signature)))  # type: ignore[arg-type]

    assert differing(generated=generated[:20]) == set()
    assert differing(n=2) == {"n"}
    assert differing(real=real[1:]) == {"real", "folds"}
    # Other speakers, other folds: another value of the same speech.
    speakers = [str(at // 2) for at in range(len(real))]
    assert differing(real=observed(librispeech_phones[1::4], speaker=speakers)) == {"folds"}


def test_options_from_the_command_line() -> None:
    choose = {"recognizer": "pocketsphinx", "lang": None, "n": "1-2", "log_base": "2", "seed": 0}
    divergence, entropy = choose_metrics("pjsd,plm:n=4", None, **choose)  # type: ignore[arg-type]
    assert isinstance(entropy, PhoneLM)
    assert (entropy.keys, entropy.log_base) == (("plm.4",), "2")
    assert entropy.observer.fingerprint == divergence.observer.fingerprint  # so that speech is recognised once
    assert "plm" in METRICS
    for name, why in (
        ("plm:n=0", "n of plm must be a number from 1, got '0'"),
        ("plm:lang=en", "lang has a flag of its own, --lang"),
    ):
        with pytest.raises(UsageError, match=why):
            choose_metrics(name, None, **choose)  # type: ignore[arg-type]


def test_one_recogniser_hears_every_clip_once(tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    for side in ("generated", "real"):
        for at in range(3):
            write_wav(tmp_path / side / f"{at}.wav", noise(0.2 + 0.1 * at, seed=at + 10 * (side == "real")))
    observer = SpellingObserver()
    metrics = [pJSD(n=1, recognizer=observer), PhoneLM(recognizer=SpellingObserver())]
    found = evaluate(tmp_path / "generated", tmp_path / "real", metrics, RunOptions(device="cpu", workers=0))
    assert set(found.summaries) == {"pjsd.1", "plm.3"}
    for side in found.clips.values():
        assert all(len(clip.sound.observations) == 1 for clip in side)


def test_a_run_its_shards_and_its_reports(tmp_path: Path, librispeech_phones: Clips) -> None:
    generated = write_phones(tmp_path / "g.jsonl", [clip[::-1] for clip in librispeech_phones[:60]])
    real = write_phones(tmp_path / "r.jsonl", librispeech_phones[60:140])
    base = ["run", "--generated", str(generated), "--real", str(real), "--metrics", "plm"]
    whole = CliRunner().invoke(main, [*base, "--output", str(tmp_path / "whole")], catch_exceptions=False)
    assert whole.exit_code == 0, whole.output
    row = next(line for line in whole.output.splitlines() if line.startswith("plm.3")).split()
    held = json.loads((tmp_path / "whole" / "summary.json").read_text())["metrics"]["plm.3"]
    assert row[1] == f"{held['value']:.4f}"
    assert row[5] == f"{held['difference']['value']:+.4f}"
    assert held["difference"]["value"] == pytest.approx(held["value"] - held["real"]["value"], abs=1e-12)
    for index in (1, 2):
        share = [*base, "--shard", f"{index}/2", "--output", str(tmp_path / str(index))]
        assert CliRunner().invoke(main, share, catch_exceptions=False).exit_code == 0
    folders = [str(tmp_path / "2"), str(tmp_path / "1"), "-o", str(tmp_path / "merged")]
    assert CliRunner().invoke(main, ["merge", *folders], catch_exceptions=False).exit_code == 0
    for name in ("summary.json", "clips.jsonl"):
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    run = read_run(tmp_path / "whole")
    for text in (page(run, {}), markdown(run), latex(run)):
        assert f"{held['real']['value']:.4f}" in text
        assert f"{held['value']:.4f}" in text


def test_a_summary_without_its_difference_is_refused(tmp_path: Path, librispeech_phones: Clips) -> None:
    files = [write_phones(tmp_path / f"{at}.jsonl", librispeech_phones[at::8]) for at in range(2)]
    run = FinishedRun.from_evaluation(evaluate(*files, metrics=["plm"], options=RunOptions(device="cpu")), "a run")
    del run.metrics["plm.3"]["difference"]
    from slm_eval.base.errors import SlmEvalError

    with pytest.raises(SlmEvalError, match=r"lacks difference of plm\.3"):
        page(run, {})
