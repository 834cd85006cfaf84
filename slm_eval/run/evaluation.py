"""What a run found out: every clip with what was observed of it, and the summaries."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from slm_eval._version import __version__
from slm_eval.base.errors import SlmEvalError
from slm_eval.metrics.metric import NotComputed, Summary
from slm_eval.observing.sounds import ClipResult
from slm_eval.speech.corpus import Corpus

if TYPE_CHECKING:
    import pandas

# Schema of summary.json and clips.jsonl: other software reads their names, so changing one is a new schema.
SCHEMA = 1


@dataclass(frozen=True)
class Evaluation:
    """The result of ``evaluate``: ``summaries`` by key, every clip, and what could not be computed."""

    corpora: dict[str, Corpus]
    clips: dict[str, list[ClipResult]]
    summaries: dict[str, Summary]
    not_computed: dict[str, NotComputed]
    environment: dict[str, str | None] = field(default_factory=lambda: environment())

    def __getitem__(self, key: str) -> Summary:
        """Return the summary of a key such as "pjsd.5" or "dnsmos.ovrl".

        Raises:
            SlmEvalError: it was not computed; the message says why.
        """
        if key in self.summaries:
            return self.summaries[key]
        reason = self.not_computed[key].reason if key in self.not_computed else "it was not asked for"
        raise SlmEvalError(f"{key} was not computed: {reason}; computed were {', '.join(self.summaries) or 'none'}")

    def to_dict(self) -> dict[str, Any]:
        """Return the object of summary.json."""
        return {
            "schema": SCHEMA,
            "version": __version__,
            "corpora": {side: self._corpus(side) for side in self.corpora},
            "metrics": {key: summary.to_dict() for key, summary in self.summaries.items()},
            "environment": self.environment,
            "not_computed": {key: absent.reason for key, absent in self.not_computed.items()},
        }

    def to_pandas(self) -> pandas.DataFrame:
        """Return one row per key, with the fields of summary.json as columns.

        Raises:
            SlmEvalError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise SlmEvalError("to_pandas() needs pandas; pip install 'slm-eval[report]'") from error
        return pandas.DataFrame.from_dict(
            {key: summary.to_dict() for key, summary in self.summaries.items()}, orient="index"
        ).rename_axis("metric")

    def _corpus(self, side: str) -> dict[str, Any]:
        corpus, clips = self.corpora[side], self.clips[side]
        failures = Counter(clip.sound.failure.code for clip in clips if clip.sound.failure)
        return {
            "path": corpus.path,
            "n_total": len(clips),
            "n_scored": len(clips) - failures.total(),
            "n_failed": failures.total(),
            "seconds": _total(clip.seconds for clip in clips if not clip.sound.failure),
            "failures": dict(sorted(failures.items())),
            "ignored": corpus.ignored,
            **({} if corpus.provenance is None else {"provenance": corpus.provenance}),
        }


def environment() -> dict[str, str | None]:
    """Return versions that matter for reproducing a number; no times or host names, so that equal runs are equal."""
    packages = ["numpy", "scipy", "torch", "soundfile", "soxr", "speechmos", "onnx", "pocketsphinx"]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(aliased=True, terse=True),
        **{package: _version(package) for package in packages},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _total(seconds: Iterable[float | None]) -> float | None:
    """Return the sum of durations; None where one of them is not known (ready-made phones may not say it)."""
    known = list(seconds)
    return None if None in known else round(sum(length for length in known if length is not None), 3)
