"""Which metrics a run asks for, from the words of the command line."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.metrics.metric import Metric
from slm_eval.metrics.registry import PLUGINS, every_metric, metric_class

# Sections 3.4 and 3.5 of the paper: pJSD on Allosaurus phones, DNSMOS, NISQA, Audiobox Aesthetics.
PAPER = ("pjsd", "dnsmos", "nisqa", "audiobox")
PAPER_RECOGNIZER = "allosaurus"


def choose_metrics(
    names: str | None, preset: str | None, *, recognizer: str, lang: str | None, n: str, log_base: str, seed: int
) -> list[Metric]:
    """Make the metrics of ``--metrics`` or ``--preset``, else all; metrics of phones get the options about them.

    Args:
        names: comma-separated; a name may carry options, as in ``dnsmos:windows=all``.
        preset: "paper" or None.
        recognizer, lang, log_base: options of the metrics of phones.
        n, seed: options of pJSD; ``n`` is "5", "1-5" or "1,2,5".

    Raises:
        UsageError: an unknown name or option, or a preset together with names.
        SlmEvalError: a metric of the preset cannot run here.
    """
    if preset is not None and names is not None:
        raise UsageError(f"--preset {preset} says which metrics to compute; leave --metrics {names} out")
    if preset is not None and recognizer not in {"auto", PAPER_RECOGNIZER}:
        raise UsageError(
            f"--preset {preset} recognises phones with {PAPER_RECOGNIZER}; leave --recognizer {recognizer} out"
        )
    about_pjsd = {
        "recognizer": PAPER_RECOGNIZER if preset else recognizer,
        "lang": lang,
        "n": parse_orders(n),
        "log_base": log_base,
        "seed": seed,
    }
    if preset is None and names is None:
        return every_metric(lambda name: _make(name, about_pjsd))
    metrics = [_make(name, about_pjsd) for name in (PAPER if names is None else _split(names))]
    if preset is not None:
        _require_all(metrics, preset)
    return metrics


def parse_orders(text: str) -> tuple[int, ...]:
    """Read "1-5", "5" or "1,2,5" as numbers.

    Raises:
        UsageError: anything else.
    """
    orders: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()) or not 1 <= int(first) <= int(last or first) <= 99:
            raise UsageError(f"--ngrams {text!r}: expected values of n from 1, such as 5, 1-5 or 1,2,5")
        orders.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(orders))


def _split(names: str) -> list[str]:
    split = [name.strip() for name in names.split(",") if name.strip()]
    if not split:
        raise UsageError(f"--metrics {names!r}: expected names of metrics, such as pjsd,dnsmos")
    return split


def _make(text: str, about_pjsd: dict[str, Any]) -> Metric:
    """Make a metric from ``name`` or ``name:option=value:option=value``."""
    name, *settings = text.split(":")
    make = metric_class(name)
    known = {key for key, value in inspect.signature(make).parameters.items() if value.kind != value.VAR_KEYWORD}
    options: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or key not in known:
            raise UsageError(f"metric {text!r}: expected {name}:option=value with one of {', '.join(sorted(known))}")
        options[key] = value
    if name == "pjsd":
        if settings:
            raise UsageError(f"metric {text!r}: options of pjsd have flags: --ngrams, --recognizer, --lang, --log-base")
        options = about_pjsd
    if name == "plm":
        if options.keys() - {"n"}:
            raise UsageError(
                f"metric {text!r}: of plm only n is an option; the others have flags: --recognizer, --lang, --log-base"
            )
        options |= {option: about_pjsd[option] for option in ("recognizer", "lang", "log_base")}
    with PLUGINS.others_code(name):
        return make(**options)


def _require_all(metrics: Iterable[Metric], preset: str) -> None:
    missing = [f"{metric.name}: {reason}" for metric in metrics if (reason := metric.observer.missing())]
    if missing:
        raise SlmEvalError(f"--preset {preset} needs all of its metrics; {'; '.join(missing)}")
