"""NISQA: speech quality without a reference. Mittag et al. 2021 (https://arxiv.org/abs/2104.09494) and Mittag & Möller
2020 (NISQA-TTS), equal to the package ``nisqa`` with the same weights, several times faster.

- ``nisqa``: overall quality and four dimensions (noisiness, discontinuity, coloration, loudness; higher is better in
  all), meant for transmitted speech; their author says that the dimensions cannot be used for synthetic speech.
- ``nisqa_tts``: naturalness of synthetic speech.

A clip is heard at its own sample rate and level; nothing is resampled or normalised, and both change the scores. The
reference raises an error on clips from 52.14 s (``nisqa_tts``: 60.14 s) and under 0.14 s. Short ones are refused here;
long ones are cut into parts of equal length, the fewest that the reference would take, and get the mean of the parts'
scores, weighted by length. ``long="refuse"`` refuses them too.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from slm_eval.base.errors import SlmEvalError, unknown_name
from slm_eval.base.signature import Signature
from slm_eval.base.tensors import load_tensors
from slm_eval.observing.observer import Observation, Observer, Refusal, Signal
from slm_eval.weights.locate import digest, locate, missing

if TYPE_CHECKING:
    from slm_eval.observing.quality.nisqa.network import Network

KEYS = ("nisqa.mos", "nisqa.noi", "nisqa.dis", "nisqa.col", "nisqa.loud")  # the order of the network's output
TTS_KEYS = ("nisqa_tts.mos",)
LONG_RULES = ("chunks", "refuse")
MIN_HOPS = 14  # the 15 frames of one segment
# At lower rates a hop is no sample long; at higher ones 20 ms are more than the 4096 samples of the transform.
RATES = (100, 204_800)


class _NISQAObserver(Observer):
    """What both observers have in common; a subclass names its weights, scores and limits.

    Clips are scored one by one, each at its own rate: an observation depends on the clip alone.
    """

    sample_rate = None
    in_worker = False
    keys: ClassVar[tuple[str, ...]]
    fmax: ClassVar[float]  # Hz, of the highest mel band
    max_hops: ClassVar[int]  # a clip of so many hops of 10 ms is too long for the reference

    def __init__(self, long: str = "chunks") -> None:
        if long not in LONG_RULES:
            raise unknown_name("rule for long clips", str(long), LONG_RULES)
        self.long = long
        self._network: Network | None = None

    @property
    def fingerprint(self) -> Signature:
        """Return the signature of the weights and the options; raises SlmEvalError where the weights are missing."""
        return Signature(
            self.name,
            rev=1,
            min=f"{MIN_HOPS}hops",
            long=self.long,
            weights=digest(self.name)[:8],
            rate="native",
        )

    def missing(self) -> str | None:
        return missing(self.name)

    def fetch(self) -> None:
        """Download the weights where they are not here."""
        locate(self.name)

    def load(self, device: str) -> None:
        """Read the network onto ``device``.

        Raises:
            SlmEvalError: the weights are missing, damaged, or of another network.
        """
        path = locate(self.name)
        tensors = load_tensors(path).get("model_state_dict")
        try:
            self._network = self._build(tensors).to(device).eval()
        # A dictionary of other things: no such tensors, of other shapes, or no tensors at all.
        except (KeyError, TypeError, AttributeError, RuntimeError) as error:
            what = str(error).splitlines()[0][:120]
            raise SlmEvalError(
                f"{path} must be a checkpoint of {self.name}, got another file ({what}); delete it and get it again"
            ) from error

    @abstractmethod
    def _build(self, tensors: object) -> Network:
        """Return the network, from the tensors of its checkpoint."""

    def observe(self, signals: Sequence[Signal]) -> list[Observation | Refusal]:
        """Score clips, each at its own rate.

        Returns:
            Per clip ``{"scores": {key: score}, "details": {"parts": how many it was cut into}}``, or a refusal:
            ``too_short`` under 14 hops of 10 ms, ``too_long`` where long clips are to be refused, ``not_finite`` where
            it is so loud that the network overflows, ``decode_error`` at a rate that cannot be analysed.
        """
        if self._network is None:
            raise SlmEvalError(f"load the {self.name} observer before observing: observer.load('cpu')")
        refusals = [self._refusal(signal) for signal in signals]
        accepted = [signal for signal, refusal in zip(signals, refusals, strict=True) if refusal is None]
        cuts = [part_bounds(len(signal.samples), signal.sample_rate, self.max_hops) for signal in accepted]
        parts = [
            Signal(signal.samples[begin:end], signal.sample_rate)
            for signal, bounds in zip(accepted, cuts, strict=True)
            for begin, end in bounds
        ]
        scores = iter(self._score(parts))
        seen = iter([self._combine(signal, bounds, scores) for signal, bounds in zip(accepted, cuts, strict=True)])
        return [next(seen) if refusal is None else refusal for refusal in refusals]

    def _combine(
        self, signal: Signal, bounds: list[tuple[int, int]], scores: Iterator[np.ndarray]
    ) -> Observation | Refusal:
        """Return the mean over a clip's parts, whose scores come next, weighted by length."""
        mean = np.average([next(scores) for _ in bounds], axis=0, weights=[end - begin for begin, end in bounds])
        if not np.isfinite(mean).all():
            peak = float(np.abs(signal.samples).max())
            return Refusal("not_finite", f"the scores are not finite: samples reach {peak:g}, expected within about ±1")
        return {"scores": dict(zip(self.keys, mean.tolist(), strict=True)), "details": {"parts": len(bounds)}}

    def _refusal(self, signal: Signal) -> Refusal | None:
        """Return why a clip cannot be scored, as far as its length and rate tell."""
        rate = signal.sample_rate
        if not RATES[0] <= rate <= RATES[1]:
            return Refusal("decode_error", f"sampled at {rate} Hz; {self.name} hears {RATES[0]} to {RATES[1]} Hz")
        seconds, hops = len(signal.samples) / rate, len(signal.samples) // hop_samples(rate)
        if hops < MIN_HOPS:
            return Refusal("too_short", f"{seconds:.3f} s are {hops} hops of 10 ms; {self.name} needs {MIN_HOPS}")
        if self.long == "refuse" and hops >= self.max_hops:
            limit = f"{self.name} takes less than {self.max_hops / 100:g} s; long='chunks' scores it in parts"
            return Refusal("too_long", f"the clip has {seconds:.2f} s, {limit}")
        return None

    def _score(self, parts: Sequence[Signal]) -> list[np.ndarray]:
        """Return the scores of clips that the reference would take, float64, in order."""
        import torch

        from slm_eval.base.precision import exact_float32
        from slm_eval.observing.quality.nisqa.mel import log_mel
        from slm_eval.observing.quality.nisqa.one_thread_each import map_clips

        assert self._network is not None
        network = self._network
        device = next(network.parameters()).device

        def score(part: Signal) -> np.ndarray:
            samples = torch.from_numpy(np.ascontiguousarray(part.samples, dtype=np.float32)).to(device)
            scores = network(log_mel(samples, part.sample_rate, self.fmax))
            return scores.cpu().numpy().astype(np.float64)

        with exact_float32():
            return map_clips(score, parts, device)


class NISQAObserver(_NISQAObserver):
    """Observes overall quality and the four dimensions."""

    name = "nisqa"
    keys = KEYS
    fmax = 20_000.0
    max_hops = 5214  # 1300 segments, one every 4 frames

    def _build(self, tensors: object) -> Network:
        from slm_eval.observing.quality.nisqa.network import NISQANetwork

        return NISQANetwork(tensors)  # type: ignore[arg-type]  # load says what is wrong with other content


class NISQATTSObserver(_NISQAObserver):
    """Observes naturalness."""

    name = "nisqa_tts"
    keys = TTS_KEYS
    fmax = 8_000.0
    max_hops = 6014  # 6000 segments, one every frame

    def _build(self, tensors: object) -> Network:
        from slm_eval.observing.quality.nisqa.network import NISQATTSNetwork

        return NISQATTSNetwork(tensors)  # type: ignore[arg-type]  # load says what is wrong with other content


def hop_samples(sample_rate: int) -> int:
    """Return 10 ms in samples, rounded as the reference does."""
    return int(sample_rate * 0.01)


def part_bounds(n_samples: int, sample_rate: int, max_hops: int) -> list[tuple[int, int]]:
    """Return begin and end, in samples, of the parts in which a clip is scored: equal, and as few as the limit allows.

    >>> part_bounds(120 * 16_000, 16_000, 5214)
    [(0, 640000), (640000, 1280000), (1280000, 1920000)]
    """
    longest = max_hops * hop_samples(sample_rate) - 1
    count = math.ceil(n_samples / longest)
    edges = [n_samples * part // count for part in range(count + 1)]
    return list(pairwise(edges))
