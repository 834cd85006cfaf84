"""pJSD-n: Jensen-Shannon divergence between the phone n-gram distributions of generated and real speech.

The metric of arXiv 2604.24416, section 3.4. The value is the plug-in estimate, exactly as the paper defines it. Finite
samples put it above zero even for real against real speech, so it never stands alone: the floor says what real speech
would score at the same sizes, the interval how far the value would move with other clips, and the coverage whether the
samples are large enough for this n at all. The arithmetic is in ``analysis.py``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import Any, Literal

from slm_eval.analysis import Analysis, analyse
from slm_eval.clusters import Clusters
from slm_eval.corpus import Corpus
from slm_eval.errors import SlmEvalError, UsageError
from slm_eval.metric import Metric, NotComputed, Summary
from slm_eval.observer import Observation, Observer
from slm_eval.phones.given import GivenPhones
from slm_eval.registry import make_recognizer, why_no_recognizer

Phones = Sequence[str]


@dataclass(frozen=True)
class DivergenceSummary(Summary):
    """pJSD of one n. All in ``unit``, but for p, coverage and counts; see ``analysis.Analysis`` for each field."""

    floor: float | None
    floor_sd: float | None
    p: float | None
    excess: float | None
    corrected: float | None
    coverage: float
    sd: float | None
    n_ngrams: dict[str, int]
    n_types: dict[str, int]
    n_phones: dict[str, int]
    n_clips: dict[str, int]
    clusters: dict[str, dict[str, Any]]  # side -> {"by": "clip", "speaker" or "prompt", "n": how many}


class pJSD(Metric):
    """pJSD-n of generated against real speech, lower is better, from 0 to ln 2 nats (1 bit).

    Args:
        n: phones per n-gram, one number or several.
        recognizer: "auto", "pocketsphinx", another name that ``slm-eval list`` shows, or an observer of phones.
        real: what to compare with in ``compute``: a path as for ``slm-eval run --real``, or sequences of phones. Else
            real speech is given by ``update(..., real=True)``.
        lang: language of the recogniser, by its own codes; None: its default.
        log_base: "e" for nats, "2" for bits.
        seed: of the random draws behind interval, floor and correction.
        device: where the recogniser runs.

    Raises:
        UsageError: an n below 1, an unknown recogniser, language or base.

    >>> metric = pJSD(n=5, real="real/")  # doctest: +SKIP
    >>> metric.update(waveforms, sample_rate=24_000)  # doctest: +SKIP
    >>> metric.compute().value  # doctest: +SKIP
    """

    name = "pjsd"

    def __init__(
        self,
        n: int | Iterable[int] = (1, 2, 3, 4, 5),
        recognizer: str | Observer = "auto",
        real: str | PathLike[str] | Sequence[Phones] | None = None,
        *,
        lang: str | None = None,
        log_base: Literal["e", "2"] = "e",
        seed: int = 0,
        device: str = "auto",
    ) -> None:
        # "auto" may have to fetch weights to know what it is: not before it is needed.
        automatic = partial(make_recognizer, recognizer, lang)
        super().__init__(automatic if recognizer == "auto" else automatic(), device=device)
        self._lang = lang
        self.orders = (n,) if isinstance(n, int) else tuple(sorted(set(n)))
        if not self.orders or min(self.orders) < 1:
            raise UsageError(f"n is one or several numbers from 1, got {n!r}")
        if log_base not in {"e", "2"}:
            raise UsageError(f"log_base is 'e' or '2', got {log_base!r}")
        self.log_base = log_base
        self.seed = seed
        self._real = real
        self._real_observed: list[Observation] | None = None

    def missing(self) -> str | None:
        """None when a recogniser is here or can be fetched."""
        return self._observer.missing() if isinstance(self._observer, Observer) else why_no_recognizer(self._lang)

    @property
    def keys(self) -> tuple[str, ...]:
        """One per n: "pjsd.5"."""
        return tuple(f"{self.name}.{n}" for n in self.orders)

    @property
    def options(self) -> dict[str, Any]:
        """All that is not about recognising phones."""
        return {"n": list(self.orders), "log_base": self.log_base, "seed": self.seed}

    def prepare(self, corpora: dict[str, Corpus]) -> str | None:
        """Ready-made phones need no recogniser, but must come from the one that recognises the other side.

        Raises:
            UsageError: the two sides were recognised differently.
        """
        ready_made = {side: _recognizer_of(corpus) for side, corpus in corpora.items() if not corpus.has_audio}
        if len(ready_made) == len(corpora):
            if len(set(ready_made.values())) > 1:
                raise UsageError(f"the corpora were recognised differently: {_listed(ready_made)}")
            self._observer = GivenPhones(next(iter(ready_made.values())))
            return None
        mine = str(self.observer.fingerprint)
        for side, recognizer in ready_made.items():
            if recognizer not in {None, mine}:
                raise UsageError(
                    f"the {side} phones were recognised by {recognizer}, the other side would be by {mine}; "
                    "choose the same --recognizer and --lang"
                )
        return self.missing()

    def summarise(
        self, generated: Sequence[Observation], real: Sequence[Observation]
    ) -> dict[str, Summary | NotComputed]:
        """Each n from the same phone sequences; see ``analysis.analyse``. Clips of one cluster are drawn together."""
        spoken, reference = ([seen["phones"] for seen in side] for side in (generated, real))
        clusters = Clusters.of(generated), Clusters.of(real)
        analyses = analyse(
            spoken,
            reference,
            self.orders,
            seed=self.seed,
            generated_clusters=clusters[0].labels,
            real_clusters=clusters[1].labels,
        )
        against = _digest(reference)
        drawn = {side: each.to_dict() for side, each in zip(("generated", "real"), clusters, strict=True)}
        return {
            f"{self.name}.{n}": self._summary(found, against, drawn)
            if isinstance(found, Analysis)
            else NotComputed(found.reason)
            for n, found in analyses.items()
        }

    def _observed(self) -> dict[str, list[Observation]]:
        """With the real side that was given at construction."""
        observed = super()._observed()
        if self._real is None:
            return observed
        if self._real_observed is None:  # once: a training loop computes often, and even digesting files takes time
            self._real_observed = self._observe_real()
        return {**observed, "real": [*observed["real"], *self._real_observed]}

    def _observe_real(self) -> list[Observation]:
        if not isinstance(self._real, (str, PathLike)):
            return [{"phones": list(phones)} for phones in self._real or ()]
        from slm_eval.corpus import load_corpus
        from slm_eval.runner import RunOptions, observations, observe

        corpora = {"real": load_corpus(self._real)}
        reason = self.prepare(corpora) if corpora["real"].has_audio else None
        if reason is not None:
            raise SlmEvalError(f"{self.name} cannot be computed: {reason}")
        clips = observe(corpora, [self.observer], RunOptions(device=self.device))
        return observations(clips["real"], self.observer)

    def _summary(self, found: Analysis, against: str, clusters: dict[str, dict[str, Any]]) -> DivergenceSummary:
        # How clips are grouped is in the summary, not in the signature: it moves interval and floor, never the value,
        # and values of equal signature are comparable.
        recognizer = self.observer.fingerprint
        signature = recognizer.extend(self.name, n=found.n, base=self.log_base, real=against, phones=recognizer.name)
        per_nat = 1.0 if self.log_base == "e" else 1.0 / math.log(2)

        def in_unit(nats: float | None) -> float | None:
            return None if nats is None else nats * per_nat

        return DivergenceSummary(
            key=f"{self.name}.{found.n}",
            value=found.value * per_nat,
            ci95=None if found.ci95 is None else (found.ci95[0] * per_nat, found.ci95[1] * per_nat),
            unit="nats" if self.log_base == "e" else "bits",
            higher_is_better=False,
            signature=str(signature),
            warnings=found.warnings,
            floor=in_unit(found.floor),
            floor_sd=in_unit(found.floor_sd),
            p=found.p,
            excess=in_unit(found.excess),
            corrected=in_unit(found.corrected),
            coverage=found.coverage,
            sd=in_unit(found.sd),
            n_ngrams=_by_side(found.n_ngrams),
            n_types=_by_side(found.n_types),
            n_phones=_by_side(found.n_phones),
            n_clips=_by_side(found.n_utterances),
            clusters=clusters,
        )


def _by_side(pair: tuple[int, int]) -> dict[str, int]:
    return {"generated": pair[0], "real": pair[1]}


def _recognizer_of(corpus: Corpus) -> str | None:
    """What recognised ready-made phones.

    Raises:
        UsageError: not the same for all of them.
    """
    recognizers = {clip.recognizer for clip in corpus.clips}
    if len(recognizers) > 1:
        raise UsageError(f"{corpus.path} holds phones of different recognizers: {', '.join(map(str, recognizers))}")
    return recognizers.pop()


def _listed(recognizers: dict[str, str | None]) -> str:
    return ", ".join(f"{side} by {recognizer or 'something unnamed'}" for side, recognizer in recognizers.items())


def _digest(utterances: Sequence[Phones]) -> str:
    """What generated speech was compared with: values against different real speech are not comparable."""
    lines = sorted("\x1f".join(phones) for phones in utterances)
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()[:8]
