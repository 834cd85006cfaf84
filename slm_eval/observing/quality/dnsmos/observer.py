"""DNSMOS: speech quality without a reference. P.835 (signal, background, overall) and P.808, Reddy et al. 2021-2022.

Equal to the official ``dnsmos_local.py`` and to the package speechmos, with the same weights, several times faster on
long clips, since overlapping windows share their computation (``p835.py``).

A clip is cut into windows of 9.01 s, one per second; a score is the mean over windows. Two things that the reference
does are kept by default, and are worth knowing:

- it skips windows 7-23 and 119-122, because of a rounding error: what lies between 15.01 and 24 s is never heard.
  ``windows="all"`` scores them;
- the last 0.99 to 1.99 s of a clip of 10 s or more lie in no window.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from slm_eval.base.errors import SlmEvalError, UsageError, unknown_name
from slm_eval.base.signature import Signature
from slm_eval.observing.observer import Observation, Observer, Refusal, Signal
from slm_eval.observing.quality.dnsmos import graphs
from slm_eval.speech import audio
from slm_eval.weights.locate import missing

if TYPE_CHECKING:
    from slm_eval.observing.quality.dnsmos.p808 import P808
    from slm_eval.observing.quality.dnsmos.p835 import P835

RATE = 16_000  # Hz
WINDOW_SECONDS = 9.01
WINDOW_SAMPLES = 144_160
# What one value of P.835's last convolution is made of: 44 frames of 20 ms, one every 10 ms, 0.45 s. A shorter clip is
# repeated so often that each of them hears where it begins again: that would be a score of the seam.
MIN_SAMPLES = 7_200
KEYS = ("dnsmos.p808", "dnsmos.sig", "dnsmos.bak", "dnsmos.ovrl")
WINDOW_RULES = ("reference", "all")
# From the raw output of P.835 to the scale of listeners; highest power first, from dnsmos_local.py. By personalized.
_POLYNOMIALS: dict[bool, dict[str, tuple[float, ...]]] = {
    False: {
        "dnsmos.sig": (-0.08397278, 1.22083953, 0.0052439),
        "dnsmos.bak": (-0.13166888, 1.60915514, -0.39604546),
        "dnsmos.ovrl": (-0.06766283, 1.11546468, 0.04602535),
    },
    True: {
        "dnsmos.sig": (-0.01019296, 0.02751166, 1.19576786, -0.24348726),
        "dnsmos.bak": (-0.04976499, 0.44276479, -0.1644611, 0.96883132),
        "dnsmos.ovrl": (-0.00533021, 0.005101, 1.18058466, -0.11236046),
    },
}


class DNSMOSObserver(Observer):
    """Observes the four scores of a clip, the raw means behind them and the number of windows.

    Clips are scored one by one: a window is 39 GFLOP, so that batches of clips would gain nothing and could change
    the last digit. Every size is fixed, and an observation depends on the clip alone.
    """

    name = "dnsmos"
    sample_rate = RATE
    in_worker = False

    def __init__(self, windows: str = "reference", personalized: bool = False) -> None:
        if windows not in WINDOW_RULES:
            raise unknown_name("rule for DNSMOS windows", str(windows), WINDOW_RULES)
        if not isinstance(personalized, bool):
            raise UsageError(f"personalized must be True or False, got {personalized!r}")
        self.windows = windows
        self.personalized = personalized
        self._networks: tuple[P835, P808] | None = None

    @property
    def fingerprint(self) -> Signature:
        """Name options and weights.

        Raises:
            SlmEvalError: the weights are missing, or not the official ones.
        """
        return Signature(
            "dnsmos",
            rev=1,
            min=MIN_SAMPLES,
            windows=self.windows,
            personalized="yes" if self.personalized else "no",
            p835=graphs.digest(graphs.p835_file(self.personalized))[:8],
            p808=graphs.digest(graphs.P808_FILE)[:8],
            rate=RATE,
            resampler=audio.RESAMPLER,
        )

    def missing(self) -> str | None:
        """Return None, or what is missing: the weights of speechmos, or the package onnx that reads them."""
        problem = missing("dnsmos")
        if problem is not None:
            return problem
        if importlib.util.find_spec("onnx") is None:
            return "the package onnx, which reads the DNSMOS weights, is missing; install it with: pip install onnx"
        return None

    def load(self, device: str) -> None:
        """Read both networks onto ``device``.

        Raises:
            SlmEvalError: the weights are missing, or not the official ones.
        """
        problem = self.missing()
        if problem is not None:
            raise SlmEvalError(problem)
        self._networks = (graphs.read_p835(self.personalized).to(device), graphs.read_p808().to(device))

    def observe(self, signals: Sequence[Signal]) -> list[Observation | Refusal]:
        """Score clips of 0.45 s and more; a clip under 9.01 s is repeated, as the reference does.

        Returns:
            Per clip ``{"scores": {key: score}, "details": {"windows": number of windows, "raw": {key: mean}}}``,
            where raw is the mean over windows before the polynomial (P.808 has none). A clip so loud that the
            networks overflow is refused, and a shorter one.
        """
        if self._networks is None:
            raise SlmEvalError("load the DNSMOS observer before observing: observer.load('cpu')")
        return [self._observe(signal) for signal in signals]

    def _observe(self, signal: Signal) -> Observation | Refusal:
        if len(signal.samples) < MIN_SAMPLES:
            return Refusal("too_short", f"{len(signal.samples) / RATE:.3f} s; DNSMOS needs {MIN_SAMPLES / RATE} s")
        samples = lengthen(signal.samples)
        windows = window_indices(len(samples), self.windows)
        p808, raw = self._run(samples, windows)
        raw_scores = {"dnsmos.p808": p808, **dict(zip(("dnsmos.sig", "dnsmos.bak", "dnsmos.ovrl"), raw.T, strict=True))}
        scores = {
            key: float(np.mean(np.polyval(_POLYNOMIALS[self.personalized].get(key, (1.0, 0.0)), values)))
            for key, values in raw_scores.items()
        }
        if not all(map(math.isfinite, scores.values())):
            peak = float(np.abs(signal.samples).max())
            return Refusal("not_finite", f"the scores are not finite: samples reach {peak:g}, expected within about ±1")
        means = {key: float(np.mean(values)) for key, values in raw_scores.items()}
        return {"scores": scores, "details": {"windows": len(windows), "raw": means}}

    def _run(self, samples: np.ndarray, windows: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return P.808, shape (W,), and raw SIG, BAK, OVRL, shape (W, 3), of the windows of a clip; float64."""
        import torch

        from slm_eval.base.precision import exact_float32

        assert self._networks is not None
        p835, p808 = self._networks
        with exact_float32():
            on_device = torch.from_numpy(samples).to(p835.spectrum.device)
            scores = torch.cat([p808(on_device, windows)[:, None], p835(on_device, windows)], 1)
            values = scores.cpu().numpy().astype(np.float64)
        return values[:, 0], values[:, 1:]


def lengthen(samples: np.ndarray) -> np.ndarray:
    """Double a clip of under 9.01 s until it is as long; leave others. float32, contiguous, own memory if doubled.

    >>> len(lengthen(np.zeros(72_000, np.float32)))  # 4.5 s become 18 s
    288000
    """
    repeats = 1
    while repeats * len(samples) < WINDOW_SAMPLES:
        repeats *= 2
    return np.ascontiguousarray(np.tile(samples, repeats) if repeats > 1 else samples, dtype=np.float32)


def window_indices(n_samples: int, rule: str = "reference") -> list[int]:
    """Return the windows of a clip, in the order of time: window w starts at w seconds.

    Args:
        n_samples: of the clip at 16 kHz, at least 144160.
        rule: "all", or "reference", which leaves out those that the reference's arithmetic makes a sample short.

    >>> window_indices(30 * 16_000)
    [0, 1, 2, 3, 4, 5, 6]
    """
    hops = int(math.floor(n_samples / RATE) - WINDOW_SECONDS) + 1
    if rule == "all":
        return list(range(hops))
    # The reference's expression in its double precision: (7 + 9.01) * 16000 is 256159.99999999997.
    return [idx for idx in range(hops) if int((idx + WINDOW_SECONDS) * RATE) - idx * RATE >= WINDOW_SAMPLES]
