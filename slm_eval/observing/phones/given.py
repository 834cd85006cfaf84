"""Phones that came with the corpus (``phones.jsonl``): a recogniser that never hears anything."""

from __future__ import annotations

from collections.abc import Sequence

from slm_eval.base.errors import SlmEvalError
from slm_eval.base.signature import Signature
from slm_eval.observing.observer import Observation, Observer, Refusal, Signal


class GivenPhones(Observer):
    """Stands for whatever recognised ready-made phones.

    Args:
        recognizer: fingerprint of what did, as ``slm-eval phones`` notes it; None where the file does not say.
    """

    name = "given"
    sample_rate = None
    observes_phones = True

    def __init__(self, recognizer: str | None) -> None:
        self.recognizer = recognizer

    @property
    def fingerprint(self) -> Signature:
        """Return the signature of the recogniser, so that ready-made phones and phones of a run are comparable."""
        return Signature.parse(self.recognizer) if self.recognizer else Signature(self.name)

    def observe(self, signals: Sequence[Signal]) -> list[Observation | Refusal]:
        """Refuse audio: it is never called with any."""
        raise SlmEvalError("ready-made phones cannot be recognised again; choose a recognizer")
