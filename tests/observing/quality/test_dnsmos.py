"""DNSMOS against the official implementation, and the properties that make its sharing of windows safe.

The official package runs on the same samples, so that the resampler is not part of the comparison. Measured
differences are about 1e-6; the tolerance is the one we promise.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.metrics.quality import DNSMOS
from slm_eval.observing.observer import Refusal, Signal
from slm_eval.observing.quality.dnsmos import graphs
from slm_eval.observing.quality.dnsmos.observer import (
    KEYS,
    MIN_SAMPLES,
    RATE,
    WINDOW_SAMPLES,
    DNSMOSObserver,
    lengthen,
    window_indices,
)
from slm_eval.weights.locate import locate
from slm_eval.weights.sources import SETS, Wheel
from tests.conftest import SHARED

TOLERANCE = 2e-4
SPEECH = SHARED / "data/librispeech"

# speechmos 0.0.1.1 with onnxruntime 1.31.1 and librosa 0.11.0, `dnsmos.run(samples, sr=16000, model_type=...)`; the
# zeros also in metrics.md 1.1. Order of the values: KEYS.
FROZEN = {
    ("voice", False): (2.34404802, 2.83992429, 2.73157739, 2.07236441),
    ("voice", True): (2.34404802, 3.60375685, 2.66933445, 2.57555686),
    ("zeros", False): (2.1468005, 2.51356489, 3.47242351, 1.83986283),
}


def voice(seconds: float, seed: int = 0) -> np.ndarray:
    """Bursts of harmonics in noise, 16 kHz float32: enough like speech to move all four scores."""
    time_s = np.arange(round(seconds * RATE)) / RATE
    phase = np.cumsum(130 + 30 * np.sin(2 * np.pi * 0.7 * time_s)) / RATE
    harmonics = sum(np.sin(2 * np.pi * harmonic * phase) / harmonic for harmonic in range(1, 20))
    envelope = np.clip(np.sin(2 * np.pi * 1.7 * time_s), 0, None) * (1 + 0.5 * np.sin(0.9 * time_s))
    noise = np.random.default_rng(seed).standard_normal(len(time_s))
    return (0.1 * envelope * harmonics + 0.002 * noise).astype(np.float32)


def observer(windows: str = "reference", personalized: bool = False) -> DNSMOSObserver:
    each = DNSMOSObserver(windows, personalized)
    each.load("cpu")
    return each


@pytest.fixture(scope="module")
def reference() -> DNSMOSObserver:
    return observer()


@pytest.fixture(scope="module")
def official():
    """speechmos, whose own tests of its input are part of what runs."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("librosa")
    return pytest.importorskip("speechmos.dnsmos")


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """40 s of real speech, utterances joined."""
    if not SPEECH.is_dir():
        pytest.skip(f"no real speech: {SPEECH.resolve()} is not there")
    import soundfile

    paths = sorted(SPEECH.glob("*.flac"))[:6]
    return np.concatenate([soundfile.read(path, dtype="float32")[0] for path in paths])[: 40 * RATE]


def scores_of(each: DNSMOSObserver, samples: np.ndarray) -> dict[str, float]:
    (observation,) = each.observe([Signal(samples, RATE)])
    assert isinstance(observation, dict)
    return observation["scores"]


def official_scores(official, samples: np.ndarray, model_type: str = "dnsmos") -> dict[str, float]:
    scores = official.run(samples, sr=RATE, model_type=model_type)
    return {key: float(scores[f"{key.removeprefix('dnsmos.')}_mos"]) for key in KEYS}


# Faithful


# Doubled to 18 s; one window to the sample; three windows; 7 of 8; 7 with a long unheard rest; two runs of windows.
@pytest.mark.parametrize("n_samples", [72_000, WINDOW_SAMPLES, 12 * RATE, 17 * RATE + 5, 24 * RATE + 777, 35 * RATE])
def test_real_speech_matches_speechmos(reference, official, speech, n_samples):
    samples = speech[:n_samples]
    assert scores_of(reference, samples) == pytest.approx(official_scores(official, samples), abs=TOLERANCE, rel=0)


@pytest.mark.parametrize("seconds", [1.2, 11.3])
def test_synthetic_sound_matches_speechmos(reference, official, seconds):
    samples = voice(seconds)
    assert scores_of(reference, samples) == pytest.approx(official_scores(official, samples), abs=TOLERANCE, rel=0)


def test_personalized_matches_speechmos(official):
    samples = voice(10)
    expected = official_scores(official, samples, "dnsmos_personalized")
    assert scores_of(observer(personalized=True), samples) == pytest.approx(expected, abs=TOLERANCE, rel=0)


@pytest.mark.parametrize(("sound", "personalized"), list(FROZEN))
def test_frozen_official_values(sound, personalized):
    samples = voice(10.5) if sound == "voice" else np.zeros(10 * RATE, np.float32)
    scores = scores_of(observer(personalized=personalized), samples)
    assert [scores[key] for key in KEYS] == pytest.approx(FROZEN[sound, personalized], abs=TOLERANCE, rel=0)


def test_all_windows_match_the_networks_run_one_by_one(official):
    samples = voice(19.5)
    each = observer("all")
    windows = window_indices(len(samples), "all")
    assert windows == list(range(10))
    p808, raw = each._run(samples, windows)
    official.run(samples[:WINDOW_SAMPLES], sr=RATE)
    networks = official.dnsmos
    # The ends, both phases of the last pooling, and windows that the reference skips.
    for window in (0, 1, 2, 7, 8, 9):
        segment = samples[window * RATE : window * RATE + WINDOW_SAMPLES]
        mel = np.float32(networks.audio_melspec(segment[:-160]))[None]
        expected = networks.onnx_sess.run(None, {"input_1": segment[None]})[0][0]
        assert raw[window] == pytest.approx(expected, abs=2e-5)
        assert p808[window] == pytest.approx(networks.p808_onnx_sess.run(None, {"input_1": mel})[0][0, 0], abs=2e-5)


def test_mel_filters_are_those_of_librosa():
    librosa = pytest.importorskip("librosa")
    from slm_eval.observing.quality.dnsmos.p808 import mel_filters

    expected = librosa.filters.mel(sr=RATE, n_fft=321, n_mels=120)
    np.testing.assert_allclose(mel_filters(), expected, atol=1e-9, rtol=1e-6)


# Invariant


def test_a_clip_scores_the_same_to_the_bit_in_any_company(reference):
    clips = [Signal(voice(seconds, seed), RATE) for seed, seconds in enumerate((9.5, 5.0, 10.5))]
    together = reference.observe(clips)
    assert reference.observe(clips[::-1]) == together[::-1]
    assert [reference.observe([clip])[0] for clip in clips] == together


def test_tiles_do_not_change_the_network(reference):
    import torch

    from slm_eval.base.precision import exact_float32

    # Windows 0 and 3 are one run in which two are skipped; 13 is another, and begins in an odd phase.
    samples, windows = torch.from_numpy(voice(23)), [0, 3, 13]
    assert reference._networks is not None
    p835 = reference._networks[0]
    with exact_float32():
        whole = p835(samples, windows, tile_hops=100)
        tiled = [p835(samples, windows, tile_hops=hops) for hops in (1, 4)]
    assert max((whole - scores).abs().max() for scores in tiled) <= 1e-6


def test_precision_settings_of_the_caller_do_not_matter_and_are_kept(reference):
    import torch

    samples = voice(9.1)
    expected = scores_of(reference, samples)
    torch.set_float32_matmul_precision("medium")
    try:
        assert scores_of(reference, samples) == expected
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


# Windows


@pytest.mark.parametrize(
    ("seconds", "scored", "hops"),
    # Windows that speechmos 0.0.1.1 was seen to score (metrics.md 1.1), and the ends of that range.
    [(9.01, 1, 1), (10.99, 1, 1), (11, 2, 2), (16, 7, 7), (17, 7, 8), (30, 7, 21), (33.99, 7, 24), (34, 8, 25)],
)
def test_number_of_windows(seconds, scored, hops):
    n_samples = round(seconds * RATE)
    assert (len(window_indices(n_samples)), len(window_indices(n_samples, "all"))) == (scored, hops)
    assert [len(window_indices(seconds * RATE)) for seconds in (60, 140)] == [34, 110]


def test_the_reference_skips_these_windows():
    n_samples = 4009 * RATE
    skipped = set(window_indices(n_samples, "all")) - set(window_indices(n_samples))
    assert skipped == {*range(7, 24), *range(119, 123)}


@given(st.integers(WINDOW_SAMPLES, 3 * 3600 * RATE))
def test_every_window_lies_in_the_clip_and_follows_the_official_loop(n_samples):
    every, scored = window_indices(n_samples, "all"), window_indices(n_samples)
    assert every == list(range(max(1, n_samples // RATE - 9)))
    assert every[-1] * RATE + WINDOW_SAMPLES <= n_samples
    length = range(n_samples)  # slices of a range are those of the array that the official loop cuts
    assert scored == [w for w in every if len(length[w * RATE : int((w + 9.01) * RATE)]) == WINDOW_SAMPLES]


@given(st.integers(1, 400_000))
def test_short_clips_are_doubled_until_a_window_fits(n_samples):
    samples = np.arange(n_samples, dtype=np.float32)
    longer = lengthen(samples)
    repeats = len(longer) // n_samples
    assert len(longer) >= WINDOW_SAMPLES
    assert repeats == 1 or (repeats & (repeats - 1) == 0 and len(longer) < 2 * WINDOW_SAMPLES)
    assert np.array_equal(longer[-n_samples:], samples)


@given(st.lists(st.integers(0, 200), min_size=1, unique=True).map(sorted))
def test_runs_are_the_windows_in_order_and_do_not_overlap(windows):
    from slm_eval.observing.quality.dnsmos.layers import split_runs

    runs = split_runs(windows)
    assert [window for run in runs for window in run] == windows
    assert all(after[0] - before[-1] >= 9 for before, after in pairwise(runs))


@given(st.integers(1, 500), st.integers(1, 40))
def test_tiles_cover_a_run_evenly(hops, most):
    from slm_eval.observing.quality.dnsmos.p835 import even_tiles

    tiles = even_tiles(hops, most)
    sizes = [stop - start for start, stop in tiles]
    assert [hop for start, stop in tiles for hop in range(start, stop)] == list(range(hops))
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1


# Edge cases and the interface


def test_a_clip_of_what_one_value_of_the_network_hears_is_scored_and_a_shorter_one_is_not(reference):
    lengths = (80, MIN_SAMPLES - 1, MIN_SAMPLES)  # 5 ms, ...
    *short, observation = reference.observe([Signal(voice(1)[:length], RATE) for length in lengths])
    assert [result.code for result in short] == ["too_short", "too_short"]
    assert short[0].message == "0.005 s; DNSMOS needs 0.45 s"
    assert set(observation["scores"]) == set(KEYS)
    assert all(type(score) is float for score in observation["scores"].values())
    assert observation["details"]["windows"] == 5  # doubled to 230,400 samples: 14.4 s
    assert set(observation["details"]["raw"]) == set(KEYS)


def test_the_shortest_clip_is_what_a_value_of_the_last_convolution_depends_on():
    # By the layers that the official file has, and the gradient of a stack with their sizes.
    import onnx

    graph = onnx.load(locate("dnsmos") / graphs.p835_file(False)).graph
    layers = []
    for node in graph.node:
        sizes = {attribute.name: list(attribute.ints) for attribute in node.attribute}
        if node.op_type in {"Conv", "MaxPool"} and len(sizes["kernel_shape"]) == 2:
            layers.append((node.op_type, sizes["kernel_shape"][0], sizes["strides"][0]))
    frames = torch.zeros(1, 1, 900, dtype=torch.float64, requires_grad=True)
    values = frames
    for kind, size, stride in layers:
        if kind == "Conv":
            values = torch.conv1d(values, torch.ones(1, 1, size, dtype=torch.float64), padding=size // 2)
        else:
            values = torch.avg_pool1d(values, size, stride)
    values[0, 0, 56].backward()
    reached = np.flatnonzero(frames.grad[0, 0])
    assert (reached[-1] - reached[0]) * 160 + 320 == MIN_SAMPLES


def test_a_clip_that_overflows_is_refused(reference):
    (refusal,) = reference.observe([Signal(voice(1) * np.float32(1e30), RATE)])
    assert isinstance(refusal, Refusal)
    assert refusal.code == "not_finite"


def test_fingerprint_names_options_and_weights_and_loads_nothing():
    code = (
        "import sys; from slm_eval.observing.quality.dnsmos.observer import DNSMOSObserver as D; "
        "print(D().fingerprint);"
        "print({'torch', 'onnx', 'speechmos', 'librosa'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert out[0] == (
        "dnsmos|rev:1|min:7200|windows:reference|personalized:no|p835:269fbebd|p808:9246480c|rate:16000|"
        "resampler:soxr-hq"
    )
    assert out[1] == "set()"
    prints = {str(DNSMOSObserver(*options).fingerprint) for options in [("all",), ("all", True), ("reference", True)]}
    assert len(prints | {out[0]}) == 4


def test_other_weights_are_refused(monkeypatch):
    source = SETS["dnsmos"].source
    assert isinstance(source, Wheel)
    monkeypatch.setitem(source.digests, graphs.P808_FILE, "0" * 64)
    with pytest.raises(SlmEvalError, match=r"not the published file: its SHA-256 is 9246480c.*expected 00000000"):
        DNSMOSObserver().load("cpu")


def test_missing_weights_are_said_with_what_to_do(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install" in str(DNSMOSObserver().missing())
    with pytest.raises(SlmEvalError, match="pip install"):
        DNSMOSObserver().load("cpu")


def test_unknown_windows_are_refused():
    with pytest.raises(UsageError, match="did you mean 'reference'"):
        DNSMOS(windows="refrence")


def test_observe_before_load_says_so():
    with pytest.raises(SlmEvalError, match="load"):
        DNSMOSObserver().observe([Signal(voice(1), RATE)])


def test_an_observer_is_picklable_before_it_is_loaded():
    copy = pickle.loads(pickle.dumps(DNSMOSObserver("all")))
    assert str(copy.fingerprint) == str(DNSMOSObserver("all").fingerprint)


def test_metric_scores_waveforms(reference):
    metric = DNSMOS(device="cpu")
    metric.update([voice(2), voice(2, seed=1)], RATE)
    summaries = metric.compute()
    assert list(summaries) == list(KEYS)
    assert summaries["dnsmos.ovrl"].n == 2
    assert summaries["dnsmos.ovrl"].signature == str(reference.fingerprint)
