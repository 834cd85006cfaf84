"""Recognisers by name, and "auto": the first that can run here."""

from __future__ import annotations

import pytest

from slm_eval.base.errors import SlmEvalError
from slm_eval.metrics.pjsd import pJSD
from slm_eval.observing import registry
from tests.fakes import SpellingObserver


class Elsewhere(SpellingObserver):
    """A recogniser that "auto" prefers, with weights that cannot be fetched."""

    name = "allosaurus"

    def __init__(self, lang: str | None = None) -> None:
        super().__init__()

    def fetch(self) -> None:
        raise SlmEvalError("no network")


def test_auto_takes_the_next_recognizer_when_weights_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.RECOGNIZERS, "allosaurus", f"{__name__}:Elsewhere")
    assert registry.make_recognizer("auto").name == "pocketsphinx"
    assert pJSD().missing() is None
    monkeypatch.setattr(registry, "_PREFERENCE", ("allosaurus",))
    with pytest.raises(SlmEvalError, match=r"no phone recogniser can run here \(allosaurus: no network\)"):
        registry.make_recognizer("auto")
    assert registry.why_no_recognizer(None) is None  # it could be fetched: that it cannot shows when it is tried
