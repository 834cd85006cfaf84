"""Names of metrics and recognisers, and where their classes are. Nothing is imported before it is used.

A third party adds its own by an entry point in the group ``slm_eval.metrics`` or ``slm_eval.recognizers``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from slm_eval.base.errors import SlmEvalError, unknown_name
from slm_eval.base.terminal import notice
from slm_eval.metrics.metric import Metric
from slm_eval.observing.observer import Observer

METRICS = {
    "pjsd": "slm_eval.metrics.pjsd:pJSD",
    "plm": "slm_eval.metrics.plm:PhoneLM",
    "dnsmos": "slm_eval.observing.quality.dnsmos.observer:DNSMOS",
    "nisqa": "slm_eval.observing.quality.nisqa.observer:NISQA",
    "nisqa_tts": "slm_eval.observing.quality.nisqa.observer:NISQATTS",
    "audiobox": "slm_eval.observing.quality.audiobox.observer:AudioboxAesthetics",
}
RECOGNIZERS = {
    "allosaurus": "slm_eval.observing.phones.allosaurus.observer:Allosaurus",
    "pocketsphinx": "slm_eval.observing.phones.pocketsphinx:PocketSphinx",
    "wav2vec2": "slm_eval.observing.phones.wav2vec2.observer:Wav2Vec2",
}
# The order in which "auto" looks for a recogniser that can run here.
_PREFERENCE = ("allosaurus", "pocketsphinx")


def metric_class(name: str) -> Callable[..., Metric]:
    """The class of a metric by its name.

    Raises:
        UsageError: no such metric; the message names near ones.
    """
    return _load("metric", name, METRICS, "slm_eval.metrics", Metric)


def make_metric(metric: str | Metric) -> Metric:
    """A metric with its default options, by name; a metric is returned as it is."""
    if isinstance(metric, Metric):
        return metric
    make = metric_class(metric)
    with others_code("metric", metric):
        return make()


def every_metric(make: Callable[[str], Metric] = make_metric) -> list[Metric]:
    """Make all metrics there are. One of another package that cannot be made is left out, and a line says why."""
    made = []
    for name in metric_names():
        try:
            made.append(make(name))
        except SlmEvalError as error:
            if name in METRICS:
                raise
            notice(f"left out: {error}")
    return made


@contextmanager
def others_code(kind: str, name: str) -> Iterator[None]:
    """What goes wrong in the code of another package is one line that names it, and no traceback of ours.

    Raises:
        SlmEvalError: in place of any error, where the name is not one of ours.
    """
    try:
        yield
    except SlmEvalError:
        raise
    except (Exception, SystemExit) as error:
        if name in METRICS or name in RECOGNIZERS:
            raise
        where = _table({}, f"slm_eval.{kind}s")[name]
        raise SlmEvalError(
            f"the {kind} {name!r} of another package ({where}) cannot be used: {type(error).__name__}: {error}; "
            "update or remove that package"
        ) from error


def recognizer_class(name: str) -> Callable[..., Observer]:
    """The class of a recogniser by its name.

    Raises:
        UsageError: no such recogniser; the message names near ones.
    """
    return _load("recognizer", name, RECOGNIZERS, "slm_eval.recognizers", Observer)


def metric_names() -> list[str]:
    """Built-in metrics, then those of other packages."""
    return list(_table(METRICS, "slm_eval.metrics"))


def recognizer_names() -> list[str]:
    """Built-in recognisers, then those of other packages."""
    return list(_table(RECOGNIZERS, "slm_eval.recognizers"))


def availability() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """For metrics and recognisers: each name, and "ready" or what is missing. Downloads nothing."""
    makers: list[tuple[str, list[str], Callable[[str], Metric | Observer]]] = [
        ("metrics", metric_names(), make_metric),
        ("recognizers", recognizer_names(), make_recognizer),
    ]
    for title, names, make in makers:
        yield title, [(name, _state(make, title, name)) for name in names]


def _state(make: Callable[[str], Metric | Observer], title: str, name: str) -> str:
    try:
        with others_code(title.removesuffix("s"), name):
            return make(name).missing() or "ready"
    except SlmEvalError as error:
        return str(error)


def make_recognizer(name: str | Observer = "auto", lang: str | None = None) -> Observer:
    """A recogniser by name; "auto" is the first of ``_PREFERENCE`` that is here or can be fetched, which is then done.

    Raises:
        UsageError: no such recogniser, or one that does not know ``lang``.
        SlmEvalError: "auto", and none can run here.
    """
    if isinstance(name, Observer):
        return name
    if name != "auto":
        make = recognizer_class(name)
        with others_code("recognizer", name):
            return make(lang=lang)
    reasons = []
    for candidate in _PREFERENCE:
        try:
            recognizer = make_recognizer(candidate, lang)
            reason = recognizer.missing()
            if reason is None:
                recognizer.fetch()
                return recognizer
        except SlmEvalError as error:
            reason = str(error)
        reasons.append(f"{candidate}: {reason}")
    raise SlmEvalError(f"no phone recogniser can run here ({'; '.join(reasons)})")


def why_no_recognizer(lang: str | None) -> str | None:
    """None where "auto" has one to begin with, without fetching it; else why it has none."""
    reasons = []
    for candidate in _PREFERENCE:
        try:
            reason = make_recognizer(candidate, lang).missing()
        except SlmEvalError as error:
            reason = str(error)
        if reason is None:
            return None
        reasons.append(f"{candidate}: {reason}")
    return "; ".join(reasons)


def _table(built_in: dict[str, str], group: str) -> dict[str, str]:
    return {**{entry.name: entry.value for entry in entry_points(group=group)}, **built_in}


def _load(kind: str, name: str, built_in: dict[str, str], group: str, base: type) -> Any:
    table = _table(built_in, group)
    if name not in table:
        raise unknown_name(kind, name, table)
    module, _, attribute = table[name].partition(":")
    with others_code(kind, name):
        found = getattr(import_module(module), attribute)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise SlmEvalError(f"{kind} {name!r} is {table[name]}, which is no subclass of {base.__name__}")
    return found
