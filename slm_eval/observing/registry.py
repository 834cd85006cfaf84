"""Names of phone recognisers, and where their classes are. A new one is a line here, and a module in ``phones/``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from slm_eval.base.errors import SlmEvalError
from slm_eval.base.plugins import Plugins
from slm_eval.observing.observer import Observer

RECOGNIZERS = {
    "allosaurus": "slm_eval.observing.phones.allosaurus.observer:Allosaurus",
    "pocketsphinx": "slm_eval.observing.phones.pocketsphinx:PocketSphinx",
    "wav2vec2": "slm_eval.observing.phones.wav2vec2.observer:Wav2Vec2",
}
PLUGINS = Plugins("recognizer", "slm_eval.recognizers", RECOGNIZERS)
# The order in which "auto" looks for a recogniser that can run here.
_PREFERENCE = ("allosaurus", "pocketsphinx")


def recognizer_class(name: str) -> Callable[..., Observer]:
    """Return the class of a recogniser.

    Raises:
        UsageError: no such recogniser; the message names near ones.
    """
    return PLUGINS.load(name, Observer)


def make_recognizer(name: str | Observer = "auto", lang: str | None = None) -> Observer:
    """Make a recogniser by name; "auto" is the first of ``_PREFERENCE`` that is here, or can be fetched and then is.

    Raises:
        UsageError: no such recogniser, or one that does not know ``lang``.
        SlmEvalError: "auto", and none can run here.
    """
    if isinstance(name, Observer):
        return name
    if name != "auto":
        make = recognizer_class(name)
        with PLUGINS.others_code(name):
            return make(lang=lang)
    reasons = {}
    for candidate in _PREFERENCE:
        try:
            recognizer = make_recognizer(candidate, lang)
            reason = recognizer.missing()
            if reason is None:
                recognizer.fetch()
                return recognizer
        except SlmEvalError as error:
            reason = str(error)
        reasons[candidate] = reason
    raise SlmEvalError(f"no phone recogniser can run here ({_listed(reasons)})")


def why_no_recognizer(lang: str | None) -> str | None:
    """Return None where "auto" has one to begin with, without fetching it; else why it has none."""
    reasons: dict[str, str] = {}
    for candidate in _PREFERENCE:
        try:
            reason = make_recognizer(candidate, lang).missing()
        except SlmEvalError as error:
            reason = str(error)
        if reason is None:
            return None
        reasons[candidate] = reason
    return _listed(reasons)


def _listed(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
