"""Metrics: the cheap half. Observations of the generated and of the real clips in, summaries out.

``Metric`` is also the object that other projects use in a training loop: ``update`` observes waveforms, ``compute``
summarises what was seen, ``merge``, ``reset`` and ``state_dict`` do what their names say. A new metric family is one
file in ``metrics/`` with a subclass; the per-clip predictors share ``ScoreMetric``.
"""

from __future__ import annotations

import copy
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, TypeVar

from slm_eval.base.errors import SlmEvalError
from slm_eval.base.signature import Signature
from slm_eval.observing.observer import Observation, Observer, Refusal, Signal
from slm_eval.speech.audio import AudioError, check, resample
from slm_eval.speech.corpus import Corpus
from slm_eval.speech.waveforms import to_mono, to_rate

# What a number is, and so how it is shown, compared and ranked: the mean of a score of every clip, a divergence or a
# cross-entropy of phones, or any other number of two corpora. Only the first three say more than every summary does.
KINDS = ("score", "divergence", "cross_entropy", "corpus")

M = TypeVar("M", bound="Metric")


@dataclass(frozen=True)
class Summary:
    """One number with what is needed to trust it. ``to_dict`` gives the JSON object of summary.json.

    Whoever reads a finished run, where the metric's package may not be, knows of it what stands here.

    Attributes:
        value: finite.
        ci95: the 95 % interval; None with the reason among the warnings.
        higher_is_better: None where neither is.
        signature: how it was computed: numbers of equal signature are comparable.
        warnings: one line each.
        kind: one of ``KINDS``.
        digits: decimal places that are shown.
        axis: the ends of the scale that it is drawn on, where what lies beyond is drawn too; None: one that fits.
        warning_codes: code -> its line among the warnings, of those that programs act on.
        made_by: the metric's name and options, from which it is made again; a run writes it.
    """

    key: str
    value: float
    ci95: tuple[float, float] | None
    unit: str
    higher_is_better: bool | None
    signature: str
    warnings: tuple[str, ...]
    kind: str = field(default="corpus", kw_only=True)
    digits: int = field(default=4, kw_only=True)
    axis: tuple[float, float] | None = field(default=None, kw_only=True)
    warning_codes: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    made_by: Mapping[str, Any] | None = field(default=None, kw_only=True)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values only; the key is left out, since it is where the object is stored."""
        fields = asdict(self)
        del fields["key"]
        return fields


@dataclass(frozen=True)
class NotComputed:
    """Why a number does not exist. One line for the user."""

    reason: str
    unavailable: bool = False  # its weights or inputs are not there, so that it was never begun


class Metric(ABC):
    """What a user asks for by name, computed from the observations of one observer.

    Args:
        observer: turns clips into the observations that ``summarise`` reads; or a function that makes it when it is
            first needed, where making it is not cheap.
        device: where the observer's model runs when ``update`` is called: "auto", "cpu", "cuda:0".
    """

    name: ClassVar[str]
    # Arguments of the constructor that have a flag of their own in `slm-eval run`: argument -> flag.
    flags: ClassVar[Mapping[str, str]] = {}

    def __init__(self, observer: Observer | Callable[[], Observer], *, device: str = "auto") -> None:
        self._observer = observer
        self.device = device
        self.reset()

    @property
    def observer(self) -> Observer:
        """Return what observes the clips."""
        if not isinstance(self._observer, Observer):
            self._observer = self._observer()
        return self._observer

    def observed_by(self: M, observer: Observer) -> M:
        """Return the same metric with another observer, which has seen nothing yet."""
        other = copy.copy(self)
        other._observer = observer
        other.reset()
        return other

    @property
    @abstractmethod
    def keys(self) -> tuple[str, ...]:
        """Return the keys of the summaries, as in summary.json."""

    @property
    def options(self) -> dict[str, Any]:
        """Return the arguments of the constructor that ``summarise`` depends on, as JSON values.

        Shards of a run are merged where the observer's model may not be: the metric is made again from these.
        """
        return {}

    def for_corpora(self: M, corpora: dict[str, Corpus]) -> M:
        """Return the metric that is computed on these corpora: this one, or one with another observer."""
        return self

    def why_not(self, corpora: dict[str, Corpus]) -> str | None:
        """Return None when this metric can be computed on these corpora here, else one line that says why not."""
        for side, corpus in corpora.items():
            if not corpus.has_audio:
                return f"the {side} corpus {corpus.path} is ready-made phones: there is no audio to score"
        return self.missing()

    def missing(self) -> str | None:
        """Return None when what it needs is here or can be fetched, else one line that says what to do. No network."""
        return self.observer.missing()

    @abstractmethod
    def summarise(
        self, generated: Sequence[Observation], real: Sequence[Observation]
    ) -> dict[str, Summary | NotComputed]:
        """Return one entry per key. The order of the observations does not change the result.

        An observation has the "speaker" and the "prompt" of its clip where they are known (``Clusters.from_clips``).
        """

    def values(self, generated: Sequence[Observation], real: Sequence[Observation]) -> Mapping[str, float]:
        """Return the values alone, by key; a key that cannot be computed is left out.

        ``slm-eval compare`` calls this some hundred times. A metric whose ``summarise`` does more than these values
        need, such as draws for an interval, says here how to get them without.
        """
        summaries = self.summarise(generated, real)
        return {key: each.value for key, each in summaries.items() if isinstance(each, Summary)}

    def update(self, waveforms: Sequence[Any], sample_rate: int, *, real: bool = False) -> None:
        """Observe waveforms.

        Args:
            waveforms: a list of arrays or tensors of samples, of shape (n,) or (channels, n), of any lengths:
                floating-point within about ±1, or integers of 8, 16 or 32 bits. Channels are averaged.
            sample_rate: of these samples, in Hz.
            real: whether these are real speech, to compare with, rather than generated speech.

        Raises:
            UsageError: what was passed is no waveform: another shape, scale or type, or no sampling rate.
            SlmEvalError: a waveform cannot be scored; the message gives its position and the reason. None is added.
        """
        rate = to_rate(sample_rate)
        signals = [_signal(index, waveform, rate, self.observer) for index, waveform in enumerate(waveforms)]
        self.observer.ready(self.device)
        results = self.observer.observe(signals)
        for index, result in enumerate(results):
            if isinstance(result, Refusal):
                raise SlmEvalError(f"waveform {index} cannot be scored: {result.code}, {result.message}")
        side = "real" if real else "generated"
        self._observations[side].extend(result for result in results if not isinstance(result, Refusal))

    def compute(self) -> Summary | dict[str, Summary]:
        """Return the summary of what was observed, or a dict of summaries by key where there are several keys.

        Under ``torch.distributed`` it covers the observations of all ranks, and every rank gets the same result.

        Raises:
            SlmEvalError: a number cannot be computed from what was observed; the message says why.
        """
        observed = self._observed()
        summaries: dict[str, Summary] = {}
        for key, summary in self.summarise(observed["generated"], observed["real"]).items():
            if isinstance(summary, NotComputed):
                raise SlmEvalError(f"{key} cannot be computed: {summary.reason}")
            summaries[key] = summary
        return summaries if len(self.keys) > 1 else summaries[self.keys[0]]

    def merge(self, other: Metric) -> None:
        """Add what another metric of the same configuration observed.

        Raises:
            SlmEvalError: the other one observes differently; the message names the options that differ.
        """
        self._require_same(str(other.observer.fingerprint))
        for side, observations in other._observations.items():
            self._observations[side].extend(observations)

    def reset(self) -> None:
        """Forget what was observed; keep the model."""
        self._observations: dict[str, list[Observation]] = {"generated": [], "real": []}

    def state_dict(self) -> dict[str, Any]:
        """Return what was observed, with the observer's fingerprint: plain values, safe to save as JSON or by torch."""
        return {
            "fingerprint": str(self.observer.fingerprint),
            "observations": {side: list(observations) for side, observations in self._observations.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict()``.

        Raises:
            SlmEvalError: the state was observed with other options.
        """
        self._require_same(state["fingerprint"])
        self._observations = {side: list(observations) for side, observations in state["observations"].items()}

    def _observed(self) -> dict[str, list[Observation]]:
        """Return what ``compute`` summarises: the observations of all ranks."""
        return _gather(self._observations)

    def _require_same(self, fingerprint: str) -> None:
        differences = self.observer.fingerprint.differences(Signature.parse(fingerprint))
        if differences:
            listed = ", ".join(f"{field}: {ours} against {others}" for field, (ours, others) in differences.items())
            raise SlmEvalError(f"these observations were made differently and cannot be put together ({listed})")


def _signal(index: int, waveform: Any, sample_rate: int, observer: Observer) -> Signal:
    """Return a waveform of the caller as the observer wants it, after the same checks as for files."""
    samples = to_mono(waveform, f"waveform {index}")
    try:
        check(samples)
    except AudioError as error:
        raise SlmEvalError(f"waveform {index} cannot be scored: {error.code}, {error}") from error
    rate = observer.sample_rate or sample_rate
    return Signal(resample(samples, sample_rate, rate), rate)


def _gather(observations: dict[str, list[Observation]]) -> dict[str, list[Observation]]:
    """Return the observations of all ranks, where torch.distributed is running; else what was given."""
    # A process that never imported torch.distributed is in no process group: do not import torch to find that out.
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not (distributed.is_available() and distributed.is_initialized()):
        return observations
    ranks: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(ranks, observations)
    return {side: [observation for rank in ranks for observation in rank[side]] for side in observations}
