"""What metrics of phones have in common: a recogniser for both sides, ready-made phones, and real speech."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from functools import partial
from os import PathLike
from typing import Literal, TypeVar

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.metrics.metric import Metric
from slm_eval.observing.observer import Observation, Observer
from slm_eval.observing.phones.given import GivenPhones
from slm_eval.observing.registry import make_recognizer, why_no_recognizer
from slm_eval.speech.clusters import Clusters
from slm_eval.speech.corpus import Corpus

Phones = Sequence[str]
P = TypeVar("P", bound="PhoneMetric")
SIDES = ("generated", "real")


class PhoneMetric(Metric):
    """A metric of the phones of generated and of real speech. Metrics with one recogniser share what it recognised.

    Args:
        recognizer: "auto", "pocketsphinx", another name that ``slm-eval list`` shows, or an observer of phones.
        real: what to compare with in ``compute``: a path as for ``slm-eval run --real``, or sequences of phones. Else
            real speech is given by ``update(..., real=True)``.
        lang: language of the recogniser, by its own codes; None: its default.
        log_base: "e" for nats, "2" for bits.
        device: where the recogniser runs.

    Raises:
        UsageError: an unknown recogniser, language or base.
    """

    def __init__(
        self,
        recognizer: str | Observer = "auto",
        real: str | PathLike[str] | Sequence[Phones] | None = None,
        *,
        lang: str | None = None,
        log_base: Literal["e", "2"] = "e",
        device: str = "auto",
    ) -> None:
        # "auto" may have to fetch weights to know what it is: not before it is needed.
        automatic = partial(make_recognizer, recognizer, lang)
        super().__init__(automatic if recognizer == "auto" else automatic(), device=device)
        if log_base not in {"e", "2"}:
            raise UsageError(f"log_base must be 'e' or '2', got {log_base!r}")
        self._lang = lang
        self.log_base = log_base
        self._real = real
        self._real_observed: list[Observation] | None = None

    flags = {  # noqa: RUF012 - read only, as in Metric
        "recognizer": "--recognizer",
        "real": "--real",
        "lang": "--lang",
        "log_base": "--log-base",
        "device": "--device",
    }

    @property
    def per_nat(self) -> float:
        """Return how many units are in a nat."""
        return 1.0 if self.log_base == "e" else 1.0 / math.log(2)

    @property
    def unit(self) -> str:
        """Return the unit of information."""
        return "nats" if self.log_base == "e" else "bits"

    def missing(self) -> str | None:
        """Return None when a recogniser is here or can be fetched."""
        return self._observer.missing() if isinstance(self._observer, Observer) else why_no_recognizer(self._lang)

    def for_corpora(self: P, corpora: dict[str, Corpus]) -> P:
        """Return a metric that takes phones as they are given where both sides are ready-made, else this one.

        Raises:
            UsageError: the two sides were recognised differently.
        """
        ready_made = _ready_made(corpora)
        if len(ready_made) < len(corpora):
            return self
        if len(set(ready_made.values())) > 1:
            raise UsageError(f"the corpora were recognised differently: {_listed(ready_made)}")
        return self.observed_by(GivenPhones(next(iter(ready_made.values()))))

    def why_not(self, corpora: dict[str, Corpus]) -> str | None:
        """Return why there is no recogniser here, or None; ready-made phones must come from the one that is used.

        Raises:
            UsageError: the two sides were recognised differently.
        """
        own = str(self.observer.fingerprint)
        for side, recognizer in _ready_made(corpora).items():
            if recognizer not in {None, own}:
                raise UsageError(
                    f"the {side} phones were recognised by {recognizer}, the other side would be by {own}; "
                    "choose the same --recognizer and --lang"
                )
        return self.missing()

    def _observed(self) -> dict[str, list[Observation]]:
        """Return them with the real side that was given at construction."""
        observed = super()._observed()
        if self._real is None:
            return observed
        if self._real_observed is None:  # once: a training loop computes often, and even digesting files takes time
            self._real_observed = self._observe_real()
        return {**observed, "real": [*observed["real"], *self._real_observed]}

    def _observe_real(self) -> list[Observation]:
        if not isinstance(self._real, (str, PathLike)):
            return [{"phones": list(phones)} for phones in self._real or ()]
        from slm_eval.observing.observe import observe
        from slm_eval.observing.options import RunOptions
        from slm_eval.observing.sounds import observations
        from slm_eval.speech.corpus import load_corpus

        corpora = {"real": load_corpus(self._real)}
        reason = self.why_not(corpora) if corpora["real"].has_audio else None
        if reason is not None:
            raise SlmEvalError(f"{self.name} cannot be computed: {reason}")
        clips = observe(corpora, [self.observer], RunOptions(device=self.device))
        return observations(clips["real"], self.observer)


def phones_and_clusters(
    generated: Sequence[Observation], real: Sequence[Observation]
) -> tuple[list[Phones], list[Phones], dict[str, Clusters]]:
    """Return the phones of the clips of both sides, and by side which clips are drawn together."""
    clusters = {side: Clusters.from_clips(seen) for side, seen in zip(SIDES, (generated, real), strict=True)}
    return [seen["phones"] for seen in generated], [seen["phones"] for seen in real], clusters


def by_side(pair: tuple[int, int]) -> dict[str, int]:
    """Return it as summary.json has it."""
    return dict(zip(SIDES, pair, strict=True))


def digest(utterances: Sequence[Phones]) -> str:
    """Digest what generated speech was compared with: values against different real speech are not comparable."""
    lines = sorted("\x1f".join(phones) for phones in utterances)
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _ready_made(corpora: dict[str, Corpus]) -> dict[str, str | None]:
    """Return what recognised the phones of each side that has no audio."""
    return {side: _recognizer_of(corpus) for side, corpus in corpora.items() if not corpus.has_audio}


def _recognizer_of(corpus: Corpus) -> str | None:
    """Return what recognised ready-made phones.

    Raises:
        UsageError: not the same for all of them.
    """
    recognizers = {clip.recognizer for clip in corpus.clips}
    if len(recognizers) > 1:
        raise UsageError(f"{corpus.path} holds phones of different recognizers: {', '.join(map(str, recognizers))}")
    return recognizers.pop()


def _listed(recognizers: dict[str, str | None]) -> str:
    return ", ".join(f"{side} by {recognizer or 'something unnamed'}" for side, recognizer in recognizers.items())
