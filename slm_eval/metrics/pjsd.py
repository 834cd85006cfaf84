"""pJSD-n: Jensen-Shannon divergence between the phone n-gram distributions of generated and real speech.

The metric of arXiv 2604.24416, section 3.4. The value is the plug-in estimate, exactly as the paper defines it. Finite
samples put it above zero even for real against real speech, so it never stands alone: the floor says what real speech
would score at the same sizes, the interval how far the value would move with other clips, and the coverage whether the
samples are large enough for this n at all. The arithmetic is in ``analysis.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

from slm_eval.base.errors import UsageError
from slm_eval.divergence.analysis import Analysis, analyse
from slm_eval.divergence.estimators import LN2
from slm_eval.metrics.metric import NotComputed, Summary
from slm_eval.metrics.phones import PhoneMetric, Phones, by_side, digest, phones_and_clusters
from slm_eval.metrics.recitation import warn_of_recitation
from slm_eval.observing.observer import Observation, Observer
from slm_eval.speech.clusters import warn_of_repeats


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


class pJSD(PhoneMetric):
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
    flags = PhoneMetric.flags | {"n": "--ngrams", "seed": "--seed"}

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
        super().__init__(recognizer, real, lang=lang, log_base=log_base, device=device)
        self.orders = (n,) if isinstance(n, int) else tuple(sorted(set(n)))
        if not self.orders or min(self.orders) < 1:
            raise UsageError(f"n must be one or several numbers from 1, got {n!r}")
        self.seed = seed

    @property
    def keys(self) -> tuple[str, ...]:
        """Return one key per n: "pjsd.5"."""
        return tuple(f"{self.name}.{n}" for n in self.orders)

    @property
    def options(self) -> dict[str, Any]:
        """Return all that is not about recognising phones."""
        return {"n": list(self.orders), "log_base": self.log_base, "seed": self.seed}

    def summarise(
        self, generated: Sequence[Observation], real: Sequence[Observation]
    ) -> dict[str, Summary | NotComputed]:
        """Analyse each n from the same phones (``analysis.analyse``). Clips of one cluster are drawn together."""
        spoken, reference, clusters = phones_and_clusters(generated, real)
        analyses = analyse(
            spoken,
            reference,
            self.orders,
            seed=self.seed,
            generated_clusters=clusters["generated"].labels,
            real_clusters=clusters["real"].labels,
        )
        against = digest(reference)
        drawn = {side: each.to_dict() for side, each in clusters.items()}
        recited = warn_of_recitation(spoken, reference)
        repeated = warn_of_repeats(clusters)
        return {
            f"{self.name}.{n}": self._summary(found, against, drawn, recited, repeated)
            if isinstance(found, Analysis)
            else NotComputed(found.reason)
            for n, found in analyses.items()
        }

    def _summary(
        self,
        found: Analysis,
        against: str,
        clusters: dict[str, dict[str, Any]],
        recited: dict[str, str],
        repeated: tuple[str, ...],
    ) -> DivergenceSummary:
        # How clips are grouped is in the summary, not in the signature: it moves interval and floor, never the value,
        # and values of equal signature are comparable.
        recognizer = self.observer.fingerprint
        signature = recognizer.extend(self.name, n=found.n, base=self.log_base, real=against, phones=recognizer.name)
        per_nat = self.per_nat

        def in_unit(nats: float | None) -> float | None:
            return None if nats is None else nats * per_nat

        return DivergenceSummary(
            key=f"{self.name}.{found.n}",
            value=found.value * per_nat,
            ci95=None if found.ci95 is None else (found.ci95[0] * per_nat, found.ci95[1] * per_nat),
            unit=self.unit,
            higher_is_better=False,
            signature=str(signature),
            warnings=(*found.warnings, *recited.values(), *repeated),
            # A subclass of another name is a number of its own: there is one divergence of each n.
            kind="divergence" if self.name == pJSD.name else "corpus",
            axis=(0.0, LN2 if self.log_base == "e" else 1.0),
            warning_codes=recited,
            floor=in_unit(found.floor),
            floor_sd=in_unit(found.floor_sd),
            p=found.p,
            excess=in_unit(found.excess),
            corrected=in_unit(found.corrected),
            coverage=found.coverage,
            sd=in_unit(found.sd),
            n_ngrams=by_side(found.n_ngrams),
            n_types=by_side(found.n_types),
            n_phones=by_side(found.n_phones),
            n_clips=by_side(found.n_utterances),
            clusters=clusters,
        )
