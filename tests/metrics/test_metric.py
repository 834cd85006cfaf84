"""The stateful shell: update, compute, merge, state_dict, and several processes as one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.functional import pjsd
from slm_eval.metrics.pjsd import DivergenceSummary, pJSD
from slm_eval.metrics.quality import DNSMOS
from tests.conftest import ROOT, noise
from tests.fakes import Loudness, SpellingObserver

REAL = [list("abcabd"), list("abd"), list("dcba"), list("aabb")] * 5


def spelled(*lengths: int) -> list[np.ndarray]:
    """Waveforms at 8 kHz whose phones are the digits of their lengths."""
    return [noise(length / 8_000, 8_000)[:length] for length in lengths]


def metric(**options: object) -> pJSD:
    options = {"n": 1, "recognizer": SpellingObserver(), "real": [list("1200"), list("2400"), list("99")] * 4} | options
    return pJSD(**options)  # type: ignore[arg-type]


def test_pjsd_over_updates_is_the_function_of_all_phones() -> None:
    divergence = metric()
    divergence.update(spelled(1200, 2300), sample_rate=8_000)
    divergence.update(spelled(999), sample_rate=8_000)
    result = divergence.compute()
    assert isinstance(result, DivergenceSummary)
    assert result.value == pytest.approx(
        pjsd([list("1200"), list("2300"), list("999")], divergence._real, n=1), abs=1e-15
    )
    assert result.n_clips == {"generated": 3, "real": 12}
    assert result.signature.startswith("pjsd|n:1|base:e|real:")


def test_several_n_give_a_dict_and_real_can_be_updated() -> None:
    several = metric(n=(1, 2), real=None)
    several.update(spelled(1200, 2300), 8_000)
    with pytest.raises(SlmEvalError, match=r"pjsd\.1 cannot be computed: the real side has no 1-grams"):
        several.compute()
    several.update(spelled(1200, 2300), 8_000, real=True)
    result = several.compute()
    assert isinstance(result, dict)
    assert list(result) == ["pjsd.1", "pjsd.2"]
    assert result["pjsd.2"].value == 0.0


def test_merge_reset_and_state() -> None:
    whole, left, right = metric(), metric(), metric()
    whole.update(spelled(1200, 2300, 999, 4711), 8_000)
    left.update(spelled(999, 4711), 8_000)
    right.update(spelled(1200, 2300), 8_000)
    left.merge(right)
    assert left.compute() == whole.compute()  # to the last digit, although the order differs

    restored = metric()
    restored.load_state_dict(json.loads(json.dumps(left.state_dict())))
    assert restored.compute() == whole.compute()
    left.reset()
    with pytest.raises(SlmEvalError, match="the generated side has no 1-grams"):
        left.compute()
    with pytest.raises(SlmEvalError, match=r"made differently .*rate: 8000 against 16000"):
        Loudness(rate=8_000).merge(Loudness(rate=16_000))


def test_waveforms_of_any_kind() -> None:
    samples = noise(0.2, 8_000)
    loudness = Loudness(rate=8_000)
    loudness.update(
        [
            samples,
            samples.tolist(),
            torch.from_numpy(samples),
            torch.from_numpy(samples).requires_grad_(),
            np.stack([samples, samples]),
            torch.from_numpy(samples.astype(np.float64)),
        ],
        sample_rate=8_000,
    )
    scores = [seen["scores"]["loudness.rms"] for seen in loudness.state_dict()["observations"]["generated"]]
    assert scores == [pytest.approx(scores[0], rel=1e-7)] * 6


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros(8_000), "waveform 1 cannot be scored: silent"),
        (np.zeros(0), "waveform 1 cannot be scored: empty"),
        (np.array([0.1, np.nan]), "waveform 1 cannot be scored: not_finite"),
        (noise(0.01), "waveform 1 cannot be scored: too_short"),
    ],
)
def test_a_bad_waveform_is_named_and_nothing_is_added(waveform: np.ndarray, message: str) -> None:
    loudness = Loudness()
    with pytest.raises(SlmEvalError, match=message):
        loudness.update([noise(0.2), waveform], 16_000)
    assert loudness.state_dict()["observations"]["generated"] == []


@pytest.mark.parametrize("options", [{"n": 0}, {"n": ()}, {"log_base": "10"}, {"recognizer": "nobody"}])
def test_options_that_make_no_sense(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        metric(**options)


def test_real_speech_by_path(tmp_path: Path) -> None:
    path = tmp_path / "phones.jsonl"
    path.write_text(
        "".join(json.dumps({"id": str(index), "phones": phones}) + "\n" for index, phones in enumerate(REAL))
    )
    by_path, by_value = metric(real=path), metric(real=REAL)
    for divergence in (by_path, by_value):
        divergence.update(spelled(1200), 8_000)
    assert by_path.compute() == by_value.compute()
    path.unlink()  # it was read once, and resetting keeps it
    by_path.reset()
    by_path.update(spelled(1200), 8_000)
    assert by_path.compute() == by_value.compute()


RANK = """
import sys, torch.distributed as dist
sys.path.insert(0, {root!r})
from tests.metrics.test_metric import metric, spelled
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method="file://{store}", rank=rank, world_size=2)
each = metric(n=(1, 2))
each.update(spelled(*((1200, 2300) if rank else (999, 4711, 80))), 8_000)
print({{key: repr(summary) for key, summary in each.compute().items()}})
dist.destroy_process_group()
"""


def test_two_gloo_processes_equal_one(tmp_path: Path) -> None:
    code = RANK.format(root=str(ROOT), store=tmp_path / "store")
    ranks = [
        subprocess.Popen([sys.executable, "-c", code, str(rank)], stdout=subprocess.PIPE, text=True) for rank in (0, 1)
    ]
    printed = [rank.communicate(timeout=120)[0] for rank in ranks]
    alone = metric(n=(1, 2))
    alone.update(spelled(999, 4711, 80, 1200, 2300), 8_000)
    summaries = alone.compute()
    assert isinstance(summaries, dict)
    expected = str({key: repr(summary) for key, summary in summaries.items()}) + "\n"
    assert printed == [expected, expected]


def test_an_observation_without_a_score_is_one_line() -> None:
    metric = DNSMOS()
    with pytest.raises(SlmEvalError, match=r"must have the score 'dnsmos.p808', got nisqa.mos"):
        metric.summarise([{"scores": {"nisqa.mos": 3.0}}], [])
    with pytest.raises(SlmEvalError, match=r"must have the score 'dnsmos.p808', got no scores"):
        metric.summarise([{"phones": ["a"]}], [])
