"""Does every observer work here, and how fast? Each one sees a built-in signal; what it should see is known."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator

import numpy as np

from slm_eval.base.errors import SlmEvalError
from slm_eval.metrics import registry
from slm_eval.metrics.phones import PhoneMetric
from slm_eval.metrics.registry import make_metric
from slm_eval.observing import registry as recognizers
from slm_eval.observing.observer import Observation, Observer, Refusal, Signal
from slm_eval.observing.registry import make_recognizer
from slm_eval.speech.audio import resample

_RATE = 24_000  # Hz of the built-in signal: resampling is examined too
_SECONDS = 12.0
# Scores differ by less than this between processors and versions of libraries; wrong weights move them by more.
_SCORE_TOLERANCE = 5e-3
# Share of phones in common, by longest matching blocks.
_PHONE_AGREEMENT = 0.9
# Frozen from our own observers (pocketsphinx 5.1.1; DNSMOS weights of speechmos 0.0.1.1, NISQA's as published, torch
# 2.11.0 on a CPU), whose equality with the official packages is what the tests are about. Here they tell whether an
# installation is sound.
_KNOWN_PHONES = (
    "AE IH L UW R EH IY UW AO UW IY AE AE T S UH L UH AE UW AO AH UW IY EY AW "
    "L AE UW AO AH T ER IY AA L UH AE UW EY UW AA UW EH AE AH UW R AE UW AO UH"
)
_KNOWN: dict[str, Observation] = {
    "pocketsphinx": {
        "phones": _KNOWN_PHONES.split(" "),
    },
    "dnsmos": {
        "scores": {
            "dnsmos.p808": 3.03382,
            "dnsmos.sig": 2.65063,
            "dnsmos.bak": 3.85767,
            "dnsmos.ovrl": 2.40029,
        }
    },
    "nisqa": {
        "scores": {
            "nisqa.mos": 1.81799,
            "nisqa.noi": 3.92646,
            "nisqa.dis": 1.84283,
            "nisqa.col": 2.88051,
            "nisqa.loud": 3.51387,
        }
    },
    "nisqa_tts": {"scores": {"nisqa_tts.mos": 2.39517}},
}


def examine(device: str) -> Iterator[tuple[str, bool]]:
    """Yield one line per observer, and whether it is well. What is not installed is no illness.

    Raises:
        UsageError: there is no such device.
    """
    observers = [make_recognizer(name) for name in recognizers.PLUGINS.table]
    metrics = [make_metric(name) for name in registry.PLUGINS.table]
    observers += [metric.observer for metric in metrics if not isinstance(metric, PhoneMetric)]
    for observer in observers:
        missing = observer.missing()
        if missing is not None:
            yield f"{observer.name:<14}not here: {missing}", True
        else:
            yield _examine_one(observer, device)


def built_in_signal() -> np.ndarray:
    """Return a voice-like buzz through moving resonances, from formulas: float32 at 24 kHz, shape (288000,)."""
    time_s = np.arange(round(_SECONDS * _RATE)) / _RATE
    pitch = 120 + 20 * np.sin(2 * np.pi * 0.7 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch) / _RATE
    formants = [
        (500 + 250 * np.sin(2 * np.pi * 1.3 * time_s), 90.0, 1.0),
        (1500 + 700 * np.sin(2 * np.pi * 0.9 * time_s + 1), 130.0, 0.5),
        (2500 + 300 * np.sin(2 * np.pi * 1.7 * time_s + 2), 200.0, 0.25),
    ]
    voice = np.zeros_like(time_s)
    for harmonic in range(1, 30):
        frequency = harmonic * pitch
        gain = sum(level / (1 + ((frequency - centre) / width) ** 2) for centre, width, level in formants)
        voice += gain * np.sin(harmonic * phase)
    syllables = np.clip(np.sin(2 * np.pi * 3.1 * time_s) + 0.6, 0, None)
    return (0.1 * voice * syllables + 1e-3 * np.sin(1e4 * time_s**2)).astype(np.float32)


def _examine_one(observer: Observer, device: str) -> tuple[str, bool]:
    rate = observer.sample_rate or _RATE
    signal = Signal(resample(built_in_signal(), _RATE, rate), rate)
    try:
        observer.ready(device)
        observer.observe([signal])  # the first call pays for memory and kernels
        start = time.perf_counter()
        (seen,) = observer.observe([signal])
        speed = _SECONDS / (time.perf_counter() - start)
    except SlmEvalError as error:
        return f"{observer.name:<14}FAILED: {error}", False
    verdict, good = _compare(observer.name, seen)
    return f"{observer.name:<14}{verdict}, {speed:.0f} x real time", good


def _compare(name: str, seen: Observation | Refusal) -> tuple[str, bool]:
    if isinstance(seen, Refusal):
        return f"FAILED: refuses the built-in signal ({seen.code}, {seen.message})", False
    known = _KNOWN.get(name)
    if known is None:
        return "runs (no known values to compare with)", True
    if "phones" in known:
        agreement = difflib.SequenceMatcher(None, known["phones"], seen["phones"], autojunk=False).ratio()
        good = agreement >= _PHONE_AGREEMENT
        return f"{'ok' if good else 'FAILED'}: {100 * agreement:.0f} % of the known phones", good
    largest = max(abs(seen["scores"][key] - value) for key, value in known["scores"].items())
    good = largest <= _SCORE_TOLERANCE
    return f"{'ok' if good else 'FAILED'}: within {largest:.1e} of the known scores", good
