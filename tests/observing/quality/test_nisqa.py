"""NISQA: the official package's numbers, whatever the batch; what it refuses, and what it does with long clips.

Frozen values: the package nisqa 2.0.post2 beside torch 2.11.0, librosa 0.11.0 and numpy 2.4.6, on the signals of
``voice`` written as 32-bit float WAV, and on files of LibriSpeech, through

    python benchmarks/peers/nisqa_peer.py --weights nisqa.tar --files files.txt --output scores.json
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.metrics.quality import NISQA, NISQATTS
from slm_eval.metrics.scores import ScoreSummary
from slm_eval.observing.observer import Refusal, Signal
from slm_eval.observing.quality.nisqa.observer import NISQAObserver, NISQATTSObserver, part_bounds
from tests.conftest import SHARED

TOLERANCE = 1e-3  # what the task allows; measured: 5e-6
WEIGHTS = SHARED / "weights" / "nisqa"

# (seconds, rate, gain): mos, noi, dis, col, loud of nisqa.tar; mos of nisqa_tts.tar
FROZEN: dict[tuple[float, int, float], tuple[tuple[float, ...], float]] = {
    (3, 16000, 1): ((1.469151, 1.740374, 1.553720, 1.787559, 2.681476), 3.058889),
    (2, 8000, 1): ((1.705684, 2.041335, 1.863400, 1.958696, 2.908636), 2.396873),
    (3, 24000, 1): ((2.297304, 1.503059, 3.031026, 3.494714, 4.076901), 3.155717),
    (2, 44100, 1): ((1.402010, 1.795784, 1.637735, 2.009967, 2.813487), 3.005629),
    (4, 48000, 1): ((1.324916, 1.850928, 1.674662, 1.979137, 2.750439), 2.966833),
    (0.15, 16000, 1): ((0.707275, 1.925758, 2.543913, 1.267571, 1.641543), 1.595771),
    (0.15, 8000, 1): ((1.337376, 1.951023, 2.714132, 1.631668, 2.115160), 1.448623),
    (2, 16000, 0.0001): ((2.104366, 3.347450, 3.577568, 3.052511, 2.947476), 1.823657),
    (2, 16000, 8): ((1.129665, 2.258713, 2.114136, 1.357570, 1.742512), 2.916955),
    (50, 16000, 1): ((1.488474, 1.772650, 1.574690, 1.797220, 2.734994), 3.147756),
}
# The same of files of LibriSpeech.
FROZEN_SPEECH: dict[str, tuple[tuple[float, ...], float]] = {
    "1447-130550-0000.flac": ((3.310159, 2.280740, 4.198609, 3.503620, 3.660440), 3.618706),
    "7278-104730-0000.flac": ((4.268102, 4.130513, 4.442049, 4.033143, 4.400649), 4.269309),
    "2416-152137-0000.flac": ((4.338006, 3.794843, 4.468767, 4.235228, 4.397388), 4.595170),
    "1841-150351-0000.flac": ((4.543647, 4.159232, 4.625105, 4.388179, 4.590638), 4.572952),
}


def voice(seconds: float, rate: int, gain: float = 1.0) -> np.ndarray:
    """Syllables of a gliding harmonic tone in a little noise, float32, shape (seconds * rate,)."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (130 * time + 9 * np.sin(2 * np.pi * 0.7 * time))
    tone = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 25) if harmonic * 200 < rate / 2)
    envelope = np.clip(np.sin(2 * np.pi * 1.7 * time + 1), 0, None)
    noise = np.random.default_rng(7).random(time.size) - 0.5
    return (gain * (0.1 * envelope * tone + 0.01 * noise)).astype(np.float32)


@pytest.fixture(autouse=True)
def _weights(_own_cache: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Put the real weights into a cache of this test's own."""
    if not WEIGHTS.is_dir():
        pytest.skip("the weights are not beside the repository (../shared/weights/nisqa)")
    (tmp_path / "cache" / "weights").mkdir(parents=True)
    (tmp_path / "cache" / "weights" / "nisqa").symlink_to(WEIGHTS)
    monkeypatch.setenv("SLM_EVAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def loaded() -> dict[str, NISQAObserver | NISQATTSObserver]:
    """Both observers, which the first test that needs one loads."""
    return {"nisqa": NISQAObserver(), "nisqa_tts": NISQATTSObserver()}


@pytest.fixture
def observers(loaded: dict[str, NISQAObserver | NISQATTSObserver]) -> dict[str, NISQAObserver | NISQATTSObserver]:
    for observer in loaded.values():
        observer.ready("cpu")
    return loaded


def scores_of(observer: NISQAObserver | NISQATTSObserver, *signals: Signal) -> list[list[float]]:
    seen = observer.observe(signals)
    assert not any(isinstance(result, Refusal) for result in seen), seen
    return [list(result["scores"].values()) for result in seen if not isinstance(result, Refusal)]


@pytest.mark.parametrize("case", FROZEN, ids=str)
def test_scores_equal_the_official_package(observers, case):
    seconds, rate, gain = case
    signal, (five, naturalness) = Signal(voice(seconds, rate, gain), rate), FROZEN[case]
    assert scores_of(observers["nisqa"], signal)[0] == pytest.approx(five, abs=TOLERANCE)
    assert scores_of(observers["nisqa_tts"], signal)[0] == pytest.approx([naturalness], abs=TOLERANCE)


@pytest.mark.parametrize("name", FROZEN_SPEECH)
def test_scores_of_real_speech_equal_the_official_package(observers, librispeech, name):
    from slm_eval.speech.audio import read_audio

    decoded = read_audio(librispeech / name)
    signal, (five, naturalness) = Signal(decoded.samples, decoded.facts.sample_rate), FROZEN_SPEECH[name]
    assert scores_of(observers["nisqa"], signal)[0] == pytest.approx(five, abs=TOLERANCE)
    assert scores_of(observers["nisqa_tts"], signal)[0] == pytest.approx([naturalness], abs=TOLERANCE)


@pytest.mark.parametrize("name", ["nisqa", "nisqa_tts"])
def test_scores_do_not_depend_on_batch_mates_order_or_threads(observers, name):
    import torch

    observer = observers[name]
    signals = [Signal(voice(*case[:2]), case[1]) for case in FROZEN if case[0] < 5]
    alone = [scores_of(observer, signal)[0] for signal in signals]
    assert scores_of(observer, *signals) == alone
    assert scores_of(observer, *signals[::-1]) == alone[::-1]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert scores_of(observer, *signals) == alone
    finally:
        torch.set_num_threads(threads)
    observer.observe(signals)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("fmax", [8_000.0, 20_000.0])
def test_mel_equals_librosa(rate, fmax):
    librosa = pytest.importorskip("librosa")
    import torch

    from slm_eval.observing.quality.nisqa.mel import log_mel

    for seconds in (0.15, 1.237):
        samples = voice(seconds, rate)
        expected = librosa.feature.melspectrogram(
            y=samples, sr=rate, n_fft=4096, hop_length=int(rate * 0.01), win_length=int(rate * 0.02), center=True,
            pad_mode="reflect", power=1.0, n_mels=48, fmin=0.0, fmax=fmax, htk=False, norm="slaney",
        )  # fmt: skip
        expected = librosa.amplitude_to_db(expected, ref=1.0, amin=1e-4, top_db=80.0)
        computed = log_mel(torch.from_numpy(samples), rate, fmax).numpy().T
        assert computed.shape == expected.shape
        np.testing.assert_allclose(computed, expected, atol=1e-3)  # dB; measured on noise: 1.5e-5


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100])
def test_short_clips_are_refused_below_14_hops(observers, rate):
    limit = 14 * int(rate * 0.01)
    short, enough = observers["nisqa"].observe([Signal(voice(1, rate)[:n], rate) for n in (limit - 1, limit)])
    assert isinstance(short, Refusal)
    assert short.code == "too_short"
    assert "13 hops" in short.message
    assert isinstance(enough, dict)


@pytest.mark.parametrize(("observer", "hops"), [(NISQAObserver, 5214), (NISQATTSObserver, 6014)])
def test_long_clips_are_refused_on_request_from_the_reference_limit(observer, hops):
    refusing = observer("refuse")
    limit = hops * 160
    assert refusing._refusal(Signal(np.zeros(limit - 1, np.float32), 16_000)) is None
    refusal = refusing._refusal(Signal(np.zeros(limit, np.float32), 16_000))
    assert refusal is not None
    assert refusal.code == "too_long"
    assert observer()._refusal(Signal(np.zeros(limit, np.float32), 16_000)) is None
    assert len(part_bounds(limit - 1, 16_000, hops)) == 1
    assert len(part_bounds(limit, 16_000, hops)) == 2


def test_a_long_clip_gets_the_mean_of_its_parts(observers):
    samples = np.concatenate([voice(30, 16_000), voice(30.00005, 16_000, 0.05)])
    (whole,) = observers["nisqa"].observe([Signal(samples, 16_000)])
    assert whole["details"] == {"parts": 2}
    middle = len(samples) // 2
    first, second = scores_of(observers["nisqa"], Signal(samples[:middle], 16_000), Signal(samples[middle:], 16_000))
    weights = [middle, len(samples) - middle]
    assert list(whole["scores"].values()) == pytest.approx(np.average([first, second], axis=0, weights=weights))


def test_a_refused_clip_does_not_move_the_others(observers):
    short, good = Signal(voice(0.1, 16_000), 16_000), Signal(voice(3, 16_000), 16_000)
    seen = observers["nisqa"].observe([short, good, short, Signal(voice(1, 16_000), 400_000)])
    assert [type(result) for result in seen] == [Refusal, dict, Refusal, Refusal]
    assert "400000 Hz" in seen[3].message
    assert list(seen[1]["scores"].values()) == scores_of(observers["nisqa"], good)[0]


def test_an_absurdly_loud_clip_is_refused(observers):
    (seen,) = observers["nisqa"].observe([Signal(voice(1, 16_000) * np.float32(1e38), 16_000)])
    assert isinstance(seen, Refusal)
    assert seen.code == "not_finite"


def test_fingerprint_says_what_was_computed():
    assert str(NISQAObserver().fingerprint) == "nisqa|rev:1|min:14hops|long:chunks|weights:7ec4cf93|rate:native"
    assert str(NISQATTSObserver("refuse").fingerprint) == (
        "nisqa_tts|rev:1|min:14hops|long:refuse|weights:c556a954|rate:native"
    )


def test_an_unknown_rule_is_refused():
    with pytest.raises(UsageError, match="unknown rule for long clips 'chunk'; did you mean 'chunks'"):
        NISQA(long="chunk")


@pytest.mark.parametrize("content", ["nisqa_tts.tar", "cut", "empty dictionary"])
def test_a_wrong_checkpoint_is_one_clear_line(tmp_path, monkeypatch, content):
    import torch

    path = tmp_path / "nisqa.tar"
    if content == "empty dictionary":
        torch.save({}, path)
    else:
        original = (WEIGHTS / "nisqa_tts.tar").read_bytes()
        path.write_bytes(original[: len(original) // 2] if content == "cut" else original)
    # What it refuses by digest is its own test's affair.
    monkeypatch.setattr("slm_eval.observing.quality.nisqa.observer.locate", lambda name: path)
    with pytest.raises(SlmEvalError) as error:
        NISQAObserver().load("cpu")
    assert f"{path} must be a checkpoint" in str(error.value)
    assert "delete it" in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_weights_say_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setenv("SLM_EVAL_CACHE", str(tmp_path / "nothing"))
    for observer in (NISQAObserver(), NISQATTSObserver()):
        problem = observer.missing()
        assert problem is not None
        assert observer.name in problem


@pytest.mark.parametrize("metric", [NISQA, NISQATTS])
def test_metric_summarises_waveforms_of_several_rates(metric):
    scorer = metric(device="cpu")
    scorer.update([voice(1, 16_000), voice(1.5, 16_000)], 16_000)
    scorer.update([voice(1, 24_000)], 24_000)
    scorer.update([voice(1, 16_000)], 16_000, real=True)
    result = scorer.compute()
    summaries = result if isinstance(result, dict) else {scorer.keys[0]: result}
    assert tuple(summaries) == scorer.keys
    for summary in summaries.values():
        assert isinstance(summary, ScoreSummary)
        assert summary.n == 3
        assert summary.signature == str(scorer.observer.fingerprint)


def test_importing_the_metric_loads_no_torch():
    code = "import slm_eval.metrics.quality as m, sys; m.NISQA(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
