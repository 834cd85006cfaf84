"""Allosaurus beside the official package, beside the formulas, and beside itself in other batches."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import torch

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.observing.observer import Refusal, Signal
from slm_eval.observing.phones.allosaurus import model as model_files
from slm_eval.observing.phones.allosaurus.blstm import BLSTM
from slm_eval.observing.phones.allosaurus.frontend import FrontEnd
from slm_eval.observing.phones.allosaurus.observer import Allosaurus, Decoder, collapse, to_int16_scale
from slm_eval.observing.phones.allosaurus.settings import FrontEndConfig, NetworkConfig
from tests.conftest import ROOT, noise
from tests.observing.phones.allosaurus_standin import ARCHIVE, make_model, random_state, write_small_configuration

RATE = 8_000
# Lengths at which the number of frames, or of rows after stacking, changes.
SHORT = (280, 281, 359, 360, 439, 440, 519, 520, 600, 999)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "standin")


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    """8 kHz signals: modulated noise, very short ones, near silence, and real speech where it is there."""
    made = [noise(seconds, RATE, seed) for seed, seconds in enumerate((3.1, 1.7, 0.5, 2.2, 4.03))]
    made += [noise(length / RATE, RATE, length) for length in SHORT]
    quiet = noise(2.0, RATE, 99)
    quiet[4000:12000] = np.round(quiet[4000:12000] * 20) / 32768  # digital silence with single bits of noise
    made += [quiet, quiet * 1e-3]
    speech = sorted((ROOT.parent / "shared/data/librispeech").glob("*.flac"))[:60:20]
    return made + [soxr.resample(soundfile.read(path, dtype="float32")[0], 16_000, RATE)[: 5 * RATE] for path in speech]


@pytest.fixture(scope="module")
def observer(model: Path) -> Allosaurus:
    return loaded(model)


@pytest.fixture(scope="module")
def official(model: Path) -> Iterator[Any]:
    pytest.importorskip("allosaurus")
    sys.path.insert(0, str(ROOT / "benchmarks/peers"))
    from allosaurus_peer import read_recognizer

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # step after step, its threads would mostly wait for each other
    yield read_recognizer(model)
    torch.set_num_threads(threads)


def loaded(model: Path, lang: str | None = None, **options: Any) -> Allosaurus:
    made = Allosaurus(lang, model=model, **options)
    made.ready("cpu")
    return made


def observe(observer: Allosaurus, clips: Sequence[np.ndarray], batch: int = 1000) -> list[Any]:
    signals = [Signal(clip, RATE) for clip in clips]
    return [each for first in range(0, len(clips), batch) for each in observer.observe(signals[first : first + batch])]


def official_phones(official: Any, clip: np.ndarray, folder: Path, lang: str = "ipa", **options: Any) -> str:
    path = folder / "clip.wav"
    soundfile.write(path, to_int16_scale(clip).astype(np.int16), RATE, subtype="PCM_16")
    return str(official.recognize(path, lang, **options))


def test_phones_equal_the_official_package(official: Any, model: Path, clips: list[np.ndarray], tmp_path: Path) -> None:
    for lang, some in (("ipa", clips), ("eng", clips[1:12:3])):
        seen = observe(loaded(model, lang), some)
        for clip, own in zip(some, seen, strict=True):
            assert own["phones"] == official_phones(official, clip, tmp_path, lang).split()
        assert len({phone for own in seen for phone in own["phones"]}) > 10  # the comparison means something


@pytest.mark.parametrize("emit", [0.5, 1.3, 4.0])
def test_emit_and_timestamps_equal_the_official_package(
    official: Any, model: Path, clips: list[np.ndarray], tmp_path: Path, emit: float
) -> None:
    seen = observe(loaded(model, emit=emit, timestamps=True), clips[:4])
    for clip, own in zip(clips[:4], seen, strict=True):
        lines = official_phones(official, clip, tmp_path, emit=emit, timestamp=True).splitlines()
        theirs = [line.split() for line in lines]
        assert own["phones"] == [phone for _, _, phone in theirs]
        assert own["timestamps"] == [[float(start), float(span)] for start, span, _ in theirs]


def test_inventories_equal_the_official_ones(official: Any, model: Path) -> None:
    names = model_files.phones(model)
    inventory = official.lm.inventory
    codes = sorted(inventory.lang2phonefile)
    assert sorted(model_files.languages(model)) == codes
    for code in [*codes[:: max(1, len(codes) // 100)], "eng", "stan1293"]:  # all 4,282 were compared once: equal, 22 s
        logits = inventory.get_mask(code).mask_logits(np.zeros((1, len(names)), dtype=np.float32))[0]
        assert model_files.inventory(model, code, names) == (np.flatnonzero(logits[1:] == 0) + 1).tolist(), code


@pytest.mark.skipif(not ARCHIVE.is_file(), reason="the published inventories are not beside the repository")
def test_english_has_51_phones_of_the_model(model: Path) -> None:
    allowed = model_files.inventory(model, "eng", model_files.phones(model))
    assert allowed is not None
    assert len(allowed) == 51  # of the 67 that the inventory lists
    assert allowed == model_files.inventory(model, "stan1293", model_files.phones(model))


def test_phones_do_not_depend_on_the_batch(observer: Allosaurus, clips: list[np.ndarray]) -> None:
    several = [clips[at % len(clips)][: 1500 + 37 * at] for at in range(135)]
    alone = observe(observer, several, 1)
    for batch in (3, 8, 32, 128):
        assert observe(observer, several, batch) == alone
    assert observe(observer, several[::-1]) == alone[::-1]


def test_logits_do_not_depend_on_the_batch_in_any_bit(model: Path, clips: list[np.ndarray]) -> None:
    front_end, network = FrontEnd(FrontEndConfig(), "cpu"), BLSTM(random_state(), 5, "cpu")
    scaled = [to_int16_scale(clip) for clip in clips]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = [network(front_end([clip]))[0] for clip in scaled]
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            for batch in (5, len(scaled)):
                together = [
                    each
                    for first in range(0, len(scaled), batch)
                    for each in network(front_end(scaled[first : first + batch]))
                ]
                assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)


def test_shapes_that_are_fixed_give_the_same_phones(model: Path, clips: list[np.ndarray]) -> None:
    """What CUDA does, on the CPU."""
    features = FrontEnd(FrontEndConfig(), "cpu")([to_int16_scale(clip) for clip in clips])
    free, fixed = (BLSTM(random_state(), 5, "cpu") for _ in range(2))
    fixed._fixed_shape = True
    for one, other in zip(free(features), fixed(features), strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_network_matches_a_packed_torch_lstm() -> None:
    """The architecture, against torch's own bidirectional LSTM over packed sequences."""
    lengths, config = (150, 129, 64, 64, 3, 1), NetworkConfig(hidden=24, layers=3, phones=11)
    state = random_state(3, hidden=24, layers=3, phones=11)
    assert {name: tuple(each.shape) for name, each in state.items()} == config.shapes()
    random = torch.Generator().manual_seed(1)
    features = [torch.randn(length, 120, generator=random) for length in lengths]
    lstm = torch.nn.LSTM(120, 24, num_layers=3, bidirectional=True)
    lstm.load_state_dict({k.removeprefix("blstm_layer."): v for k, v in state.items() if k.startswith("blstm")})
    with torch.no_grad():
        hidden, _ = lstm(torch.nn.utils.rnn.pack_sequence(features))
        expected, _ = torch.nn.utils.rnn.pad_packed_sequence(hidden)
        expected = expected @ state["phone_layer.weight"].T + state["phone_layer.bias"]
        order = [4, 0, 5, 2, 1, 3]
        for at, logits in zip(order, BLSTM(state, 3, "cpu")([features[at] for at in order]), strict=True):
            assert torch.allclose(logits, expected[: lengths[at], at], atol=1e-4)


def formulas(samples: np.ndarray) -> np.ndarray:
    """The front end in float64, frame by frame, from the formulas: no code is shared with the module."""
    window = [(0.5 - 0.5 * np.cos(2 * np.pi * i / 199)) ** 0.85 for i in range(200)]
    mel = [1127 * np.log(1 + hertz / 700) for hertz in (40, 3800)]
    edges = [mel[0] + (mel[1] - mel[0]) * i / 41 for i in range(42)]
    rows = []
    for start in range(0, len(samples) - 199, 80):
        frame = samples[start : start + 200].astype(np.float64)
        frame = frame - frame.mean()
        frame = np.array([0.03 * frame[0], *(frame[i] - 0.97 * frame[i - 1] for i in range(1, 200))]) * window
        turns = np.exp(-2j * np.pi * np.outer(np.arange(128), np.arange(200)) / 256)
        power = np.abs(turns @ frame) ** 2
        bands = np.zeros(40)
        for band in range(40):
            left, centre, right = edges[band : band + 3]
            for k in range(128):
                at = 1127 * np.log(1 + k * 8000 / 256 / 700)
                if left < at < right:
                    weight = (at - left) / (centre - left) if at <= centre else (right - at) / (right - centre)
                    bands[band] += weight * power[k]
        logs = np.log(np.where(bands == 0, np.finfo(float).eps, bands))
        cepstra = [
            sum(logs[k] * np.cos(np.pi * n * (2 * k + 1) / 80) for k in range(40)) * (2 / 40 if n else 1 / 40) ** 0.5
            for n in range(40)
        ]
        rows.append([c * (1 + 11 * np.sin(np.pi * n / 22)) for n, c in enumerate(cepstra)])
    x = np.array(rows)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    return np.array([np.concatenate([x[t - 1], x[t], x[(t + 1) % len(x)]]) for t in range(0, len(x), 3)])


@pytest.mark.parametrize("samples", [440, 1333, 4000])
def test_front_end_matches_the_formulas(samples: int) -> None:
    clip = to_int16_scale(noise(samples / RATE, RATE, samples))
    (features,) = FrontEnd(FrontEndConfig(), "cpu")([clip])
    expected = formulas(clip)
    assert features.shape == expected.shape
    assert features.dtype == torch.float32
    # sqrt(E[x^2] - E[x]^2) in float32 costs digits where a coefficient varies little beside its mean.
    assert np.abs(features.numpy() - expected).max() < 1e-3


def test_front_end_equals_the_official_one_in_nearly_every_bit(official: Any, clips: list[np.ndarray]) -> None:
    from allosaurus.audio import Audio

    scaled = [to_int16_scale(clip) for clip in clips]
    unequal = total = 0
    for clip, own in zip(scaled, FrontEnd(FrontEndConfig(), "cpu")(scaled), strict=True):
        theirs = official.pm.compute(Audio(clip.astype(np.int16), RATE))
        assert np.abs(own.numpy() - theirs).max() < 1e-4
        unequal, total = unequal + int((own.numpy() != theirs).sum()), total + theirs.size
    assert unequal / total < 1e-3


@pytest.mark.parametrize(
    ("best", "emitted"),
    [
        ([], []),
        ([0, 0], []),
        ([5], [5]),
        ([0, 5, 5, 0], [5]),
        ([5, 5, 0, 0, 5, 0, 7, 0, 7, 7], [5, 7]),  # CTC: 5 5 7 7
        ([1, 2, 1, 0, 1, 2], [1, 2, 1, 2]),
    ],
)
def test_collapse(best: list[int], emitted: list[int]) -> None:
    array = np.array(best, dtype=np.int64)
    assert array[collapse(array)].tolist() == emitted


def test_emit_depends_on_the_sign_of_the_blank() -> None:
    names = ["", "a"]
    positive, negative = np.array([[2.0, 1.5]], dtype=np.float32), np.array([[-2.0, -1.5]], dtype=np.float32)
    phones = [
        [Decoder(names, None, emit, False)(logits.copy())["phones"] for emit in (1.0, 2.0)]
        for logits in (positive, negative)
    ]
    assert phones == [[[], ["a"]], [["a"], []]]


def test_frozen_phones(model: Path, observer: Allosaurus) -> None:
    """Indices that allosaurus 1.0.2 (torch 2.11, CPU) gave for this clip and the stand-in weights of seed 0."""
    names = model_files.phones(model)
    (seen,) = observe(observer, [noise(1.5, RATE, seed=7)])
    assert [names.index(phone) for phone in seen["phones"]] == FROZEN


FROZEN = [64, 176, 162, 135, 153, 189]


def test_short_and_constant_clips_are_refused(observer: Allosaurus) -> None:
    inaudible = np.full(4000, 1e-6, dtype=np.float32)
    inaudible[1] = 0.0
    periodic = np.tile(noise(80 / RATE, RATE), 50)  # every frame is the same
    good = noise(1.0, RATE)
    results = observe(observer, [good[:279], inaudible, good, periodic])
    codes = [each.code if isinstance(each, Refusal) else "ok" for each in results]
    assert codes == ["too_short", "silent", "ok", "silent"]
    assert results[2] == observe(observer, [good])[0]


def test_clips_beyond_full_scale_are_clipped_as_in_a_file() -> None:
    assert to_int16_scale(np.array([2.0, 1.0, -1.0, -3.0, 0.6 / 32768], dtype=np.float32)).tolist() == [
        32767.0, 32767.0, -32768.0, -32768.0, 1.0
    ]  # fmt: skip


def test_fingerprint_says_what_changes_phones(model: Path, tmp_path: Path) -> None:
    plain = str(Allosaurus(model=model).fingerprint)
    assert plain.startswith("allosaurus|rev:1|min:280|model:")
    assert plain.endswith("|lang:ipa|emit:1|rate:8000|resampler:soxr-hq")
    other = make_model(tmp_path / "other", seed=1)
    made = [Allosaurus("eng", model=model), Allosaurus(model=model, emit=2), Allosaurus(model=model, timestamps=True)]
    assert len({plain, *(str(each.fingerprint) for each in [*made, Allosaurus(model=other)])}) == 5


def test_fingerprint_needs_no_torch(model: Path) -> None:
    code = (
        "import sys; from slm_eval.observing.phones.allosaurus.observer import Allosaurus; "
        f"print(Allosaurus('eng', model={str(model)!r}).fingerprint); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_it_travels_to_another_process(observer: Allosaurus) -> None:
    copy = pickle.loads(pickle.dumps(observer))
    assert str(copy.fingerprint) == str(observer.fingerprint)
    copy.ready("cpu")
    clip = noise(1.0, RATE)
    assert observe(copy, [clip]) == observe(observer, [clip])


def test_unknown_language_names_near_ones(model: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown language .* 'engl'; did you mean .*'eng'"):
        Allosaurus("engl", model=model)
    assert Allosaurus("ENG", model=model).lang == "eng"


@pytest.mark.parametrize("emit", [0.0, -1.0, float("nan"), float("inf")])
def test_emit_that_means_nothing_is_refused(emit: float) -> None:
    with pytest.raises(UsageError, match="emit"):
        Allosaurus(emit=emit)


def test_without_weights_it_says_how_to_get_them() -> None:
    reason = Allosaurus().missing()
    assert reason is not None
    assert "slm-eval download allosaurus" in reason


class _Code:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (os.mkdir, ("code-was-run",))


def _without(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


def _truncate(folder: Path) -> None:
    (folder / "model.pt").write_bytes((folder / "model.pt").read_bytes()[:5000])


def _with_code(folder: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"phone_layer.weight": _Code()}, buffer)
    (folder / "model.pt").write_bytes(buffer.getvalue())


def _wrong_shape(folder: Path) -> None:
    torch.save(random_state(0, hidden=8), folder / "model.pt")


def _other_front_end(folder: Path) -> None:
    config = json.loads((folder / "pm_config.json").read_text())
    (folder / "pm_config.json").write_text(json.dumps({**config, "feature_window": 5}))


def _endless_layers(folder: Path) -> None:
    config = json.loads((folder / "am_config.json").read_text())
    (folder / "am_config.json").write_text(json.dumps({**config, "layer_size": 10**9}))


def _inventory_elsewhere(folder: Path) -> None:
    """An index that leads to any file of the machine, a pipe for one."""
    (folder / "inventory" / "index.json").write_text(
        json.dumps([{"ISO6393": "eng", "GlottoCode": "stan1293", "phonelists": "../../secret"}])
    )


def _fewer_phones(folder: Path) -> None:
    (folder / "phone.txt").write_text("a 1\nb 2\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without("model.pt"), "lacks model.pt"),
        (_without("phone.txt"), "lacks phone.txt"),
        (_without("inventory/index.json"), "lacks inventory/index.json"),
        (_truncate, "damaged"),
        (_with_code, "more than tensors"),
        (_wrong_shape, "should have shape"),
        (_other_front_end, "feature_window is 5"),
        (_fewer_phones, "230 phones"),
        (lambda folder: (folder / "am_config.json").write_text("{"), "cannot read"),
        (lambda folder: (folder / "am_config.json").write_text("[" * 100_000), "nested more than 64 deep"),
        (_endless_layers, "sizes must be whole numbers up to 10000"),
        (_inventory_elsewhere, "'../../secret' is no name of a file"),
        (lambda folder: (folder / "pm_config.json").write_text("{}"), "no front-end configuration"),
        (lambda folder: (folder / "inventory/index.json").write_text("[{}]"), "no index of inventories"),
    ],
)
def test_bad_model_directory_is_one_clear_line(spoil: Any, message: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "model"
    write_small_configuration(folder, layers=1)
    torch.save(random_state(0, layers=1), folder / "model.pt")
    spoil(folder)
    with pytest.raises(SlmEvalError, match=message) as caught:
        loaded(folder, "eng")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "code-was-run").exists()


def test_no_model_directory_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SlmEvalError, match="there is no Allosaurus model directory"):
        Allosaurus(model=tmp_path / "nothing")


def test_model_of_several_gpus_and_training_layers_is_read(model: Path, tmp_path: Path, observer: Allosaurus) -> None:
    shutil.copytree(model, tmp_path / "copy")
    state = torch.load(model / "model.pt")
    renamed = {f"module.{name}": each for name, each in state.items()}
    torch.save({**renamed, "allophone_layer_dict.eng": torch.zeros(3)}, tmp_path / "copy" / "model.pt")
    clip = noise(1.0, RATE)
    assert observe(loaded(tmp_path / "copy"), [clip]) == observe(observer, [clip])
