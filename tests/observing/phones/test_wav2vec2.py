"""wav2vec2 beside transformers' own feature extractor and network, with a small model of random weights."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.observing.observer import Refusal, Signal
from slm_eval.observing.phones.wav2vec2 import model as model_files
from slm_eval.observing.phones.wav2vec2.model import network
from slm_eval.observing.phones.wav2vec2.observer import Wav2Vec2, normalise, phones
from tests.conftest import ROOT, noise

transformers = pytest.importorskip("transformers")
RATE = 16_000
PHONES = 20
LENGTHS = (1.3, 0.4, 2.2, 0.025, 0.0251, 3.7, 1.99, 2.0, 2.01)


def make_model(folder: Path, norm: str = "layer", safe: bool = True) -> Path:
    """Make a network of the published architecture, 100 times smaller, saved by transformers itself."""
    torch.manual_seed(5)
    config = transformers.Wav2Vec2Config(
        vocab_size=PHONES + 4, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        conv_dim=(16,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer", conv_bias=norm == "layer", pad_token_id=1, initializer_range=0.5,
    )  # fmt: skip
    model = transformers.Wav2Vec2ForCTC(config)
    model.lm_head.weight.data *= 4
    model.save_pretrained(folder)
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *(f"p{index}" for index in range(PHONES))]
    (folder / "vocab.json").write_text(json.dumps({phone: index for index, phone in enumerate(vocabulary)}))
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=norm == "layer")
    extractor.save_pretrained(folder)
    if not safe:
        state = {_old_name(name): tensor for name, tensor in model.state_dict().items()}
        torch.save(state, folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    return folder


def _old_name(name: str) -> str:
    """As PyTorch 1 named the two parts of a normalised weight: the published files do."""
    for old, new in model_files._RENAMED.items():
        name = name.replace(new, old)
    return name


@pytest.fixture(scope="module", params=["layer", "group"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / request.param, request.param)


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    return [noise(seconds, RATE, seed) for seed, seconds in enumerate(LENGTHS)]


def loaded(model: Path) -> Wav2Vec2:
    made = Wav2Vec2(model=model)
    made.ready("cpu")
    return made


def observe(observer: Wav2Vec2, clips: Sequence[np.ndarray], batch: int = 1000) -> list[Any]:
    signals = [Signal(clip, RATE) for clip in clips]
    return [
        result for first in range(0, len(clips), batch) for result in observer.observe(signals[first : first + batch])
    ]


def official_phones(folder: Path, clip: np.ndarray) -> list[str]:
    """transformers as its documentation uses it, and CTC as it is defined."""
    extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder)
    network = transformers.Wav2Vec2ForCTC.from_pretrained(folder).eval()
    with torch.no_grad():
        best = network(**extractor(clip, sampling_rate=RATE, return_tensors="pt")).logits[0].argmax(-1).tolist()
    names = {index: phone for phone, index in json.loads((folder / "vocab.json").read_text()).items()}
    return [names[symbol] for symbol, _ in groupby(best) if names[symbol].startswith("p")]


def test_phones_equal_those_of_transformers(model: Path, clips: list[np.ndarray]) -> None:
    seen = [result["phones"] for result in observe(loaded(model), clips)]
    assert seen == [official_phones(model, clip) for clip in clips]
    assert len({phone for own in seen for phone in own}) > 5  # the comparison means something


def test_phones_do_not_depend_on_the_batch(model: Path, clips: list[np.ndarray]) -> None:
    observer = loaded(model)
    alone = observe(observer, clips, 1)
    assert all(observe(observer, clips, batch) == alone for batch in (2, 4, 100))
    assert observe(observer, clips[::-1]) == alone[::-1]


def test_what_a_gpu_computes_together_is_the_same(tmp_path: Path, clips: list[np.ndarray]) -> None:
    """Padded and masked rows of fixed shapes, on the CPU; models without masks never go that way."""
    observer = loaded(make_model(tmp_path / "model"))
    alone = observe(observer, clips)
    observer._rows = 4
    assert observe(observer, clips) == alone
    for row in range(4):
        others = [noise(seconds, RATE, 50 + number) for number, seconds in enumerate((1.9, 1.1, 1.5))]
        logits = observer._logits([*others[:row], clips[0], *others[row:]])[row]
        assert torch.equal(logits, observer._logits([clips[0]])[0])


def test_old_checkpoints_are_read(tmp_path: Path, clips: list[np.ndarray]) -> None:
    new, old = make_model(tmp_path / "new"), make_model(tmp_path / "old", safe=False)
    assert observe(loaded(old), clips[:3]) == observe(loaded(new), clips[:3])


@pytest.mark.parametrize(
    ("symbols", "expected"),
    [
        ([], []),
        ([1, 1], []),
        ([5, 5, 1, 1, 5, 1, 7, 1, 7, 7], ["p1", "p1", "p3", "p3"]),
        ([5, 0, 5, 2, 3, 6], ["p1", "p1", "p2"]),  # special tokens separate, and are dropped
    ],
)
def test_collapse(symbols: list[int], expected: list[str]) -> None:
    names = (None,) * 4 + tuple(f"p{index}" for index in range(PHONES))
    settings = model_files.Settings(names, 1, True, True, (10,), (5,))
    assert phones(np.array(symbols, dtype=np.int64), settings) == expected


def test_normalisation_is_that_of_the_feature_extractor() -> None:
    clip = noise(0.7, RATE) + np.float32(0.3)
    official = transformers.Wav2Vec2FeatureExtractor()(clip, sampling_rate=RATE, return_tensors="np").input_values[0]
    np.testing.assert_array_equal(normalise(clip), official)


def test_frames_are_those_of_the_network(model: Path) -> None:
    observer = loaded(model)
    assert observer._settings is not None
    assert observer._settings.min_samples == 400
    for samples in (400, 719, 720, 16_000, 31_999):
        assert observer._logits([noise(samples / RATE, RATE)]).shape[1] == observer._settings.frames(samples)


def test_short_and_long_clips_are_refused(model: Path) -> None:
    good = noise(0.5, RATE)
    results = observe(loaded(model), [noise(399 / RATE, RATE), good, np.resize(good, 121 * RATE)])
    assert [result.code if isinstance(result, Refusal) else "ok" for result in results] == [
        "too_short",
        "ok",
        "too_long",
    ]


def test_fingerprint(model: Path, tmp_path: Path) -> None:
    plain = str(Wav2Vec2(model=model).fingerprint)
    assert plain.startswith("wav2vec2|rev:1|model:local|weights:")
    assert plain.endswith("|rate:16000|resampler:soxr-hq")
    code = (
        "import sys; from slm_eval.observing.phones.wav2vec2.observer import Wav2Vec2; "
        f"assert str(Wav2Vec2(model={str(model)!r}).fingerprint) == {plain!r}; "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_it_travels_to_another_process(model: Path, clips: list[np.ndarray]) -> None:
    observer = loaded(model)
    copy = pickle.loads(pickle.dumps(observer))
    copy.ready("cpu")
    assert observe(copy, clips[:1]) == observe(observer, clips[:1])


def test_a_language_cannot_be_chosen() -> None:
    with pytest.raises(UsageError, match="cannot be told 'eng'"):
        Wav2Vec2("eng")


def test_missing_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    assert "slm-eval download wav2vec2" in (Wav2Vec2().missing() or "")
    assert "not in the Hugging Face cache; unset SLM_EVAL_OFFLINE" in (Wav2Vec2(model="some/model").missing() or "")
    assert "give a folder" in (Wav2Vec2(model="no such thing").missing() or "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install" in (Wav2Vec2().missing() or "")


def test_models_of_the_hub_are_found_in_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repo = tmp_path / "models--some--model"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("abc")
    make_model(repo / "snapshots" / "abc")
    observer = Wav2Vec2(model="some/model")
    assert observer.missing() is None
    assert "|model:some/model|" in str(observer.fingerprint)
    observer.ready("cpu")
    assert "phones" in observe(observer, [noise(0.5, RATE)])[0]


class _Code:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (os.mkdir, ("code-was-run",))


def _with_code(folder: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"lm_head.weight": _Code()}, buffer)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(buffer.getvalue())


def _change(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def _other_size(folder: Path) -> None:
    _change(folder, hidden_size=64)


def test_a_configuration_cannot_name_code(tmp_path: Path) -> None:
    """transformers fetches and runs what attn_implementation names, where the package kernels is there."""
    folder = make_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    for key in ("attn_implementation", "_attn_implementation", "_attn_implementation_internal"):
        (folder / "config.json").write_text(json.dumps({**config, key: "kernels-community/evil"}))
        assert network(folder, "cpu").config._attn_implementation in {"sdpa", "eager"}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: _change(folder, vocab_size=10**15), "do not describe a CTC model"),
        (lambda folder: _change(folder, conv_stride=[0] * 7), "do not describe a CTC model"),
        (lambda folder: (folder / "model.safetensors").unlink(), "lacks model.safetensors or pytorch_model.bin"),
        (lambda folder: (folder / "vocab.json").unlink(), "lacks vocab.json"),
        (lambda folder: (folder / "vocab.json").write_text('{"a": 99}'), "do not describe a CTC model"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"cut"), "damaged"),
        (lambda folder: (folder / "preprocessor_config.json").write_text('{"sampling_rate": 8000}'), "8000 Hz"),
        (_with_code, "more than tensors"),
        (_other_size, "does not fit config.json"),
    ],
)
def test_bad_model_is_one_clear_line(spoil: Any, message: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_model(tmp_path / "model")
    spoil(folder)
    with pytest.raises(SlmEvalError, match=message) as caught:
        loaded(folder)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "code-was-run").exists()
