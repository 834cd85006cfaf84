"""Audiobox Aesthetics against the official package, and the properties that make its shortcuts safe.

Both read the same checkpoint of random weights (``audiobox_standin.py``) and the same 16 kHz samples, so that the
resampler is not part of the comparison. Measured differences are about 1e-6; the tolerance is the one we promise.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.metrics.quality import AudioboxAesthetics
from slm_eval.metrics.scores import ScoreSummary
from slm_eval.observing.observer import Refusal, Signal
from slm_eval.observing.quality.audiobox import observer as audiobox
from slm_eval.observing.quality.audiobox.checkpoint import read
from slm_eval.observing.quality.audiobox.network import frames_of
from slm_eval.observing.quality.audiobox.observer import KEYS, MIN_SAMPLES, RATE, WINDOW_SAMPLES, AudioboxObserver
from slm_eval.weights import locate as weights
from tests.observing.quality.audiobox_standin import SCALE, TINY, TINY_CONFIG, make_checkpoint

TOLERANCE = 1e-4


def voice(samples: int, seed: int = 0) -> np.ndarray:
    """Bursts of harmonics in noise, float32."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(samples) / RATE
    phase = np.cumsum(120 + 10 * (seed % 7) + 30 * np.sin(2 * np.pi * 0.7 * time_s)) / RATE
    harmonics = sum(np.sin(2 * np.pi * overtone * phase) / overtone for overtone in range(1, 12))
    envelope = np.clip(np.sin(2 * np.pi * 1.7 * time_s + seed), 0, None)
    return (0.1 * envelope * harmonics + 0.01 * rng.standard_normal(samples)).astype(np.float32)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the real structure at a thousandth of its size."""
    path = tmp_path_factory.mktemp("tiny") / "checkpoint.pt"
    make_checkpoint(path, TINY, TINY_CONFIG)
    return path


def loaded(checkpoint: Path, precision: str = "float32") -> AudioboxObserver:
    observer = AudioboxObserver(checkpoint, precision)
    observer.load("cpu")
    return observer


@pytest.fixture(scope="module")
def observer(tiny: Path) -> AudioboxObserver:
    return loaded(tiny)


def scores(observer: AudioboxObserver, *clips: np.ndarray) -> list[dict[str, float]]:
    results = observer.observe([Signal(clip, RATE) for clip in clips])
    assert not any(isinstance(result, Refusal) for result in results)
    return [result["scores"] for result in results if isinstance(result, dict)]


def official_scores(checkpoint: Path, *clips: np.ndarray) -> list[dict[str, float]]:
    """Return the package's predictor, all clips in one batch, as its command does it."""
    infer = pytest.importorskip("audiobox_aesthetics.infer", reason="the official package is not installed")
    predictor = infer.AesPredictor(checkpoint_pth=str(checkpoint))
    predictor.model.to("cpu")
    predictor.device = torch.device("cpu")
    rows = predictor.forward([{"path": torch.from_numpy(clip)[None], "sample_rate": RATE} for clip in clips])
    return [{f"audiobox.{axis}": value for axis, value in row.items()} for row in rows]


@pytest.fixture
def official(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, float]]]:
    """Return the package with the sizes of the tiny checkpoint; it has no option for them."""
    aes = pytest.importorskip("audiobox_aesthetics.model.aes", reason="the official package is not installed")
    sizes = {
        "encoder_layers": TINY_CONFIG["nth_layer"] - 1,
        "encoder_embed_dim": TINY.width,
        "encoder_ffn_embed_dim": TINY.hidden,
        "encoder_attention_heads": TINY.heads,
        "conv_feature_layers": "[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2",
        "conv_pos_groups": TINY.width // TINY.position_inputs,
    }
    monkeypatch.setattr(aes, "DEFAULT_AUDIO_CFG", type(aes.DEFAULT_AUDIO_CFG)({**vars(aes.DEFAULT_AUDIO_CFG), **sizes}))
    return lambda *clips: official_scores(tiny, *clips)


def assert_equal(ours: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    assert len(ours) == len(expected)
    for own, other in zip(ours, expected, strict=True):
        assert own == pytest.approx(other, abs=TOLERANCE)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning:torch")
class TestAgainstThePackage:
    def test_clips_of_any_length(self, observer, official):
        # The last windows of the longer ones have 1, 320, 321 and 1600 samples.
        lengths = (MIN_SAMPLES, 3_521, 159_681, 160_000, 160_001, 160_320, 160_321, 161_600, 35 * RATE)
        clips = [voice(length, seed) for seed, length in enumerate(lengths)]
        ours = scores(observer, *clips)
        assert_equal(ours, official(*clips))
        assert np.std([clip["audiobox.PQ"] for clip in ours]) > 0.05  # else equality would say little

    def test_levels_and_offsets(self, observer, official):
        """The group norm's statistics are computed another way; they must hold far from zero mean and unit level."""
        clip = voice(30_000)
        clips = [clip * 1e-4, clip * 30, clip + 0.5, np.r_[clip, np.zeros(100_000, np.float32)]]
        assert_equal(scores(observer, *clips), official(*clips))

    def test_real_speech(self, observer, official, librispeech):
        paths = sorted(librispeech.glob("*.flac"))[:3]
        clips = [soundfile.read(path, dtype="float32")[0] for path in paths]
        assert_equal(scores(observer, *clips), official(*clips))

    def test_real_architecture(self, tmp_path):
        """94 M parameters: 10 s and a part of a window."""
        make_checkpoint(tmp_path / "checkpoint.pt")
        clips = [voice(WINDOW_SAMPLES + 20_000, seed=3)]
        ours = scores(loaded(tmp_path), *clips)
        assert_equal(ours, official_scores(tmp_path / "checkpoint.pt", *clips))


def test_frames_that_hold_sound():
    """A frame is masked only where its 320 samples are all padding; 499 frames are a full window."""
    assert [frames_of(n) for n in (1, 320, 321, 159_360, 159_361, 160_000)] == [1, 1, 2, 498, 499, 499]


def test_computing_the_padded_frames_too_changes_nothing(observer):
    network = observer._network
    assert network is not None
    window = torch.zeros(1, WINDOW_SAMPLES)
    window[0, :50_000] = torch.from_numpy(voice(50_000))
    held = frames_of(50_000)
    with torch.inference_mode():
        assert torch.allclose(network(window, [held], held), network(window, [held], 499), atol=1e-5)


def test_scores_are_the_same_to_the_last_bit_in_any_company_and_order(observer):
    clips = [voice(length, seed) for seed, length in enumerate((3_600, 200_000, 48_000))]
    alone = [scores(observer, clip)[0] for clip in clips]
    assert scores(observer, *clips) == alone
    assert scores(observer, *clips[::-1]) == alone[::-1]


def test_scores_do_not_depend_on_threads_and_the_callers_number_stays(observer):
    clips = [voice(20_000, seed) for seed in range(3)]
    before = torch.get_num_threads()
    expected = scores(observer, *clips)
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            assert scores(observer, *clips) == expected
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_batches_of_a_gpu_do_not_depend_on_who_is_in_them(observer, monkeypatch):
    """The plan of a GPU, on the CPU: equal to one by one up to rounding, and to itself in other company exactly."""
    clips = [voice(length, seed) for seed, length in enumerate([3_600, 170_000, 20_000] + [4_000] * 9)]
    alone = scores(observer, *clips)
    monkeypatch.setattr(audiobox, "plan", lambda frames, one_by_one, plan=audiobox.plan: plan(frames, False))
    together = scores(observer, *clips)
    for one, other in zip(alone, together, strict=True):
        assert one == pytest.approx(other, abs=1e-5)
    assert scores(observer, *clips[:3]) == together[:3]
    assert scores(observer, clips[1]) == together[1:2]


def test_a_score_is_the_mean_over_windows_weighted_by_their_length(observer):
    clip = voice(25 * RATE)
    parts = scores(observer, *(clip[start : start + WINDOW_SAMPLES] for start in range(0, len(clip), WINDOW_SAMPLES)))
    expected = {key: np.average([part[key] for part in parts], weights=[10, 10, 5]) for key in KEYS}
    assert scores(observer, clip)[0] == pytest.approx(expected, abs=1e-12)
    assert observer.observe([Signal(clip, RATE)])[0]["details"] == {"windows": 3}
    assert observer.observe([]) == []


def test_clips_no_longer_than_what_wavlm_learned_to_guess_are_refused(observer):
    lengths = (80, MIN_SAMPLES, MIN_SAMPLES - 1, 20_000)  # 5 ms, ...
    seen = observer.observe([Signal(voice(length), RATE) for length in lengths])
    assert [result.code if isinstance(result, Refusal) else "ok" for result in seen] == [
        "too_short",
        "ok",
        "too_short",
        "ok",
    ]
    assert seen[0] == Refusal("too_short", "0.005 s; Audiobox Aesthetics needs 0.205 s")
    assert [seen[1]["scores"], seen[3]["scores"]] == scores(observer, voice(MIN_SAMPLES), voice(20_000))
    assert 1 + (MIN_SAMPLES - 400) // 320 == 10  # frames of 400 samples, one every 320


def test_scores_that_are_not_finite_are_refused(tiny, monkeypatch):
    observer = loaded(tiny)
    monkeypatch.setattr(observer, "_network", lambda windows, frames, n: torch.full((1, 4), torch.nan))
    monkeypatch.setattr(observer._network, "device", torch.device("cpu"), raising=False)
    (refusal,) = observer.observe([Signal(voice(4_000), RATE)])
    assert isinstance(refusal, Refusal)
    assert refusal.code == "not_finite"


def test_bf16_is_near_float32_and_signed(tiny, observer):
    clip = voice(48_000)
    reduced = loaded(tiny, "bf16")
    (exact,), (rounded,) = scores(observer, clip), scores(reduced, clip)
    assert rounded == pytest.approx(exact, abs=0.05)
    assert rounded != exact
    assert set(reduced.fingerprint.differences(observer.fingerprint)) == {"precision"}


def test_the_callers_autocast_and_precision_do_not_matter(observer):
    clip = voice(20_000)
    expected = scores(observer, clip)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert scores(observer, clip) == expected
    finally:
        torch.set_float32_matmul_precision(before)


def test_metric_observes_resamples_and_summarises(tiny):
    metric = AudioboxAesthetics(tiny, device="cpu")
    metric.update([voice(24_000, 1), voice(36_000, 2)], sample_rate=24_000)
    metric.update([voice(24_000, 3)], sample_rate=24_000, real=True)
    summaries = metric.compute()
    assert isinstance(summaries, dict)
    assert tuple(summaries) == metric.keys == ("audiobox.CE", "audiobox.CU", "audiobox.PC", "audiobox.PQ")
    first = summaries["audiobox.CE"]
    assert isinstance(first, ScoreSummary)
    assert (first.n, first.unit, first.signature) == (2, "score 1-10", str(metric.observer.fingerprint))


def test_fingerprint_names_what_can_change_a_score(tiny):
    fields = AudioboxObserver(tiny).fingerprint.fields
    assert set(fields) == {"rev", "min", "checkpoint", "precision", "window", "rate", "resampler"}
    assert fields["checkpoint"] == weights.digest_at("audiobox", tiny)[:8]


def test_an_observer_travels_without_its_network(observer):
    copy = pickle.loads(pickle.dumps(observer))
    with pytest.raises(SlmEvalError, match="load the Audiobox observer before"):
        copy.observe([Signal(voice(4_000), RATE)])
    copy.load("cpu")
    assert scores(copy, voice(4_000)) == scores(observer, voice(4_000))


def test_fingerprint_loads_no_torch(tiny):
    code = (
        "import sys; from slm_eval.observing.quality.audiobox.observer import AudioboxObserver;"
        f"print(AudioboxObserver({str(tiny)!r}).fingerprint, 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split()[-1] == "False"


def test_both_published_forms_give_the_same_scores(tiny, observer, tmp_path):
    write_safetensors(tmp_path, torch.load(tiny, weights_only=True))
    clip = voice(30_000)
    assert scores(loaded(tmp_path), clip) == scores(observer, clip)
    file = tmp_path / "model.safetensors"
    assert AudioboxObserver(file).fingerprint == AudioboxObserver(tmp_path).fingerprint
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "target_transform": {}}))
    with pytest.raises(SlmEvalError, match="target_transform lacks mean and std"):
        read(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(SlmEvalError, match=r"config\.json is missing"):
        read(file)


def test_the_set_in_the_cache_is_used(tiny):
    assert "the weights audiobox are missing" in str(AudioboxObserver().missing())
    folder = weights.cache_folder() / "weights" / "audiobox"
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").write_bytes(tiny.read_bytes())
    observer = AudioboxObserver()
    assert observer.missing() is None
    observer.load("cpu")
    assert observer.fingerprint.fields["checkpoint"] == weights.digest("audiobox")[:8]


def write_safetensors(folder: Path, checkpoint: dict[str, Any]) -> None:
    """Write the other published form."""
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    tensors = {name.removeprefix("model."): tensor for name, tensor in checkpoint["state_dict"].items()}
    safetensors.save_file(tensors, folder / "model.safetensors")
    config = {**checkpoint["model_cfg"], "target_transform": checkpoint["target_transform"]}
    (folder / "config.json").write_text(json.dumps(config))


class Code:
    """Unpickling it would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("this ran",))


GREP, FC1 = "model.wavlm_model.encoder.layers.2.self_attn.grep_a", "model.wavlm_model.encoder.layers.1.fc1.weight"
BAD = {
    "a tensor is missing": (lambda c: c["state_dict"].pop(GREP), r"lacks the tensor wavlm_model\.\S+grep_a; use the"),
    "a size cannot be read": (
        lambda c: c["state_dict"].pop("model.wavlm_model.layer_norm.weight"),
        r"the tensor wavlm_model\.layer_norm\.weight is missing",
    ),
    "a tensor is foreign": (lambda c: c["state_dict"].update(more=torch.ones(1)), "holds more, unknown to this model"),
    "a shape is wrong": (
        lambda c: c["state_dict"].update({FC1: torch.ones(4, 4)}),
        r"fc1\.weight has the shape \(4, 4\), expected \(48, 32\)",
    ),
    "not a tensor": (lambda c: c["state_dict"].update({FC1: 3}), "must be a tensor of floating-point numbers"),
    "not finite": (lambda c: c["state_dict"][FC1].fill_(torch.nan), "holds NaN or infinite values"),
    "no scale": (lambda c: c["target_transform"].pop("PQ"), "target_transform lacks mean and std of CE, CU, PC, PQ"),
    "no configuration": (lambda c: c.pop("model_cfg"), "lacks model_cfg: no Audiobox Aesthetics checkpoint"),
    "another model": (lambda c: c["model_cfg"].update(output_dim=2), "output_dim is 2, expected 1"),
    "another depth": (lambda c: c["model_cfg"].update(nth_layer=3), "unknown to this model"),
    "no depth": (lambda c: c["model_cfg"].update(nth_layer="4"), "expected a positive whole number"),
    "code": (lambda c: c.update(extra=Code()), "holds more than tensors; refused"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_checkpoint_is_one_clear_line(case, tiny, tmp_path, capsys):
    damage, message = BAD[case]
    checkpoint = torch.load(tiny, weights_only=True)
    damage(checkpoint)
    path = tmp_path / "checkpoint.pt"
    torch.save(checkpoint, path)
    with pytest.raises(SlmEvalError, match=message) as caught:
        loaded(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert capsys.readouterr().out == ""


def test_a_cut_checkpoint_or_an_empty_folder(tiny, tmp_path):
    cut = tmp_path / "cut.pt"
    cut.write_bytes(tiny.read_bytes()[:5000])
    with pytest.raises(SlmEvalError, match="must be a checkpoint, got a damaged or another file"):
        loaded(cut)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SlmEvalError, match="holds no Audiobox checkpoint: expected model"):
        read(tmp_path / "empty")


def test_what_is_not_there_is_said_before_anything_is_run():
    assert "there is no Audiobox checkpoint at /nowhere/x.pt" in str(AudioboxObserver("/nowhere/x.pt").missing())
    assert "unset SLM_EVAL_OFFLINE to fetch it" in str(AudioboxObserver("someone/model").missing())
    with pytest.raises(SlmEvalError, match="someone/model is not in the Hugging Face cache"):
        AudioboxObserver("someone/model").load("cpu")


def test_a_repository_id_is_found_in_the_hub_cache(tiny, observer, tmp_path, monkeypatch):
    snapshot = tmp_path / "models--someone--model" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--someone--model" / "refs").mkdir()
    (tmp_path / "models--someone--model" / "refs" / "main").write_text("abc")
    write_safetensors(snapshot, torch.load(tiny, weights_only=True))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    cached = AudioboxObserver("someone/model")
    assert cached.missing() is None
    cached.load("cpu")
    assert scores(cached, voice(4_000)) == scores(observer, voice(4_000))


def test_unknown_precision_answers_with_near_ones():
    with pytest.raises(UsageError, match="unknown precision 'float16'; did you mean 'float32'"):
        AudioboxAesthetics(precision="float16")


def test_the_standin_has_the_size_of_the_real_model():
    from slm_eval.observing.quality.audiobox.checkpoint import DEFAULTS
    from slm_eval.observing.quality.audiobox.shapes import Sizes, expected_shapes

    assert sum(int(np.prod(shape)) for shape in expected_shapes(Sizes(), DEFAULTS).values()) == 94_385_064
    assert set(SCALE) == {"CE", "CU", "PC", "PQ"}
