"""plm.n: how predictable generated phones are to an n-gram model of real speech, beside real phones it has not seen.

Where pJSD compares all n-grams alike, however rare, a model weighs each by how sure it is of it: at the size of a test
set this tells more small differences (``docs/metrics/plm.md``). It is read from both sides: above real speech, phones
follow each other as real ones do not; below it, they were recited, repeated, or are too uniform. The arithmetic is in
``crossentropy.py`` and ``phone_model.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

from slm_eval.base.errors import UsageError
from slm_eval.divergence.resampling import Undefined
from slm_eval.metrics.crossentropy import MORE_PREDICTABLE, TOO_PREDICTABLE, CrossEntropy, cross_entropy
from slm_eval.metrics.means import Estimate, Withheld
from slm_eval.metrics.metric import NotComputed, Summary
from slm_eval.metrics.phones import PhoneMetric, Phones, by_side, digest, phones_and_clusters
from slm_eval.metrics.recitation import warn_of_recitation
from slm_eval.observing.observer import Observation, Observer
from slm_eval.speech.clusters import warn_of_repeats


@dataclass(frozen=True)
class HeldOut:
    """Cross-entropy of real speech, each clip by a model that has not seen it."""

    value: float
    ci95: tuple[float, float] | None
    n: int  # clips


@dataclass(frozen=True)
class Gap:
    """Generated less real; p is of both being equally predictable, two-sided."""

    value: float
    ci95: tuple[float, float] | None
    p: float | None


@dataclass(frozen=True)
class CrossEntropySummary(Summary):
    """Cross-entropy of the generated clips in nats or bits per phone; see ``crossentropy.CrossEntropy``."""

    real: HeldOut
    difference: Gap
    n_phones: dict[str, int]  # that were scored: all but the first n - 1 of a clip
    n_clips: dict[str, int]
    n_unknown: int
    clusters: dict[str, dict[str, Any]]  # side -> {"by": "clip", "speaker" or "prompt", "n": how many}


class PhoneLM(PhoneMetric):
    """Cross-entropy of generated phones under a smoothed phone n-gram model of real speech.

    Args:
        n: phones of a window: one is predicted from the n - 1 before it.
        recognizer, real, lang, log_base, device: as for ``PhoneMetric``.

    Raises:
        UsageError: n is not a number from 1, an unknown recogniser, language or base.

    >>> metric = PhoneLM(real="real/")  # doctest: +SKIP
    >>> metric.update(waveforms, sample_rate=24_000)  # doctest: +SKIP
    >>> metric.compute().difference  # doctest: +SKIP
    """

    name = "plm"

    def __init__(
        self,
        n: int | str = 3,
        recognizer: str | Observer = "auto",
        real: str | PathLike[str] | Sequence[Phones] | None = None,
        *,
        lang: str | None = None,
        log_base: Literal["e", "2"] = "e",
        device: str = "auto",
    ) -> None:
        super().__init__(recognizer, real, lang=lang, log_base=log_base, device=device)
        if not str(n).isdecimal() or int(n) < 1:
            raise UsageError(f"n of plm must be a number from 1, got {n!r}")
        self.n = int(n)

    @property
    def keys(self) -> tuple[str, ...]:
        """Return one key, such as "plm.3"."""
        return (f"{self.name}.{self.n}",)

    @property
    def options(self) -> dict[str, Any]:
        """Return all that is not about recognising phones."""
        return {"n": self.n, "log_base": self.log_base}

    def summarise(
        self, generated: Sequence[Observation], real: Sequence[Observation]
    ) -> dict[str, Summary | NotComputed]:
        """See ``crossentropy.cross_entropy``. Clips of one cluster are drawn together, and never model each other."""
        (key,) = self.keys
        spoken, reference, clusters = phones_and_clusters(generated, real)
        numbered = {side: each.numbered for side, each in clusters.items()}
        found = cross_entropy(
            spoken, reference, self.n, generated_clusters=numbered["generated"], real_clusters=numbered["real"]
        )
        if isinstance(found, Undefined):
            return {key: NotComputed(found.reason)}
        recognizer = self.observer.fingerprint
        signature = recognizer.extend(
            self.name,
            n=self.n,
            base=self.log_base,
            smoothing="witten-bell",
            real=digest(reference),
            folds=found.folds,
            phones=recognizer.name,
        )
        recited = warn_of_recitation(spoken, reference)
        warnings = (*found.warnings, *recited.values(), *warn_of_repeats(clusters))
        codes = ({TOO_PREDICTABLE: MORE_PREDICTABLE} if found.too_predictable else {}) | recited
        drawn = {side: each.to_dict() for side, each in clusters.items()}
        return {key: self._summary(key, found, str(signature), warnings, codes, drawn)}

    def _summary(
        self,
        key: str,
        found: CrossEntropy,
        signature: str,
        warnings: tuple[str, ...],
        codes: dict[str, str],
        clusters: dict[str, dict[str, Any]],
    ) -> CrossEntropySummary:
        return CrossEntropySummary(
            key=key,
            value=found.generated.value * self.per_nat,
            ci95=self._interval(found.generated),
            unit=f"{self.unit}/phone",
            higher_is_better=False,
            signature=signature,
            warnings=warnings,
            kind="cross_entropy" if self.name == PhoneLM.name else "corpus",  # as in pJSD
            warning_codes=codes,
            real=HeldOut(found.real.value * self.per_nat, self._interval(found.real), found.n_clips[1]),
            difference=Gap(
                found.difference.value * self.per_nat,
                self._interval(found.difference),
                None if found.difference.withheld else found.difference.p_value(),
            ),
            n_phones=by_side(found.n_windows),
            n_clips=by_side(found.n_clips),
            n_unknown=found.n_unknown,
            clusters=clusters,
        )

    def _interval(self, estimate: Estimate) -> tuple[float, float] | None:
        ends = estimate.interval()
        return None if isinstance(ends, Withheld) else (ends[0] * self.per_nat, ends[1] * self.per_nat)
