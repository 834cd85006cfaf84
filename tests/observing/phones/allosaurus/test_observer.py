"""Allosaurus beside the official package, and beside itself in other batches."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slm_eval.base.errors import UsageError
from slm_eval.observing.observer import Refusal
from slm_eval.observing.phones.allosaurus import model as model_files
from slm_eval.observing.phones.allosaurus.observer import Allosaurus, Decoder, collapse, to_int16_scale
from tests.conftest import ROOT, noise
from tests.observing.phones.allosaurus.recordings import RATE, loaded, observe, official_phones
from tests.observing.phones.allosaurus.standin import make_model


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
        expected = [line.split() for line in lines]
        assert own["phones"] == [phone for _, _, phone in expected]
        assert own["timestamps"] == [[float(start), float(span)] for start, span, _ in expected]


def test_phones_do_not_depend_on_the_batch(observer: Allosaurus, clips: list[np.ndarray]) -> None:
    several = [clips[number % len(clips)][: 1500 + 37 * number] for number in range(135)]
    alone = observe(observer, several, 1)
    for batch in (3, 8, 32, 128):
        assert observe(observer, several, batch) == alone
    assert observe(observer, several[::-1]) == alone[::-1]


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
    codes = [result.code if isinstance(result, Refusal) else "ok" for result in results]
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
    assert len({plain, *(str(observer.fingerprint) for observer in [*made, Allosaurus(model=other)])}) == 5


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
