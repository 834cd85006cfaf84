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
    """Make the metrics of ``--metrics`` or ``--preset``, else all there are, with the flags that each takes.

    Args:
        names: comma-separated; a name may carry options, as in ``dnsmos:windows=all``.
        preset: "paper" or None.
        recognizer, lang, n, log_base, seed: of the metrics that have them among their ``flags``; ``n`` is "5", "1-5"
            or "1,2,5".

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
    flags = {
        "recognizer": PAPER_RECOGNIZER if preset else recognizer,
        "lang": lang,
        "n": parse_orders(n),
        "log_base": log_base,
        "seed": seed,
    }
    if preset is None and names is None:
        return every_metric(lambda name: _make(name, flags))
    metrics = [_make(name, flags) for name in (PAPER if names is None else _split(names))]
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


def _make(text: str, flags: dict[str, Any]) -> Metric:
    """Make a metric from ``name`` or ``name:option=value:option=value``."""
    name, *settings = text.split(":")
    make = metric_class(name)
    known = {key for key, value in inspect.signature(make).parameters.items() if value.kind != value.VAR_KEYWORD}
    options: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or key not in known:
            raise UsageError(f"metric {text!r}: expected {name}:option=value with one of {', '.join(sorted(known))}")
        if key in make.flags:
            raise UsageError(f"metric {text!r}: {key} has a flag of its own, {make.flags[key]}")
        options[key] = value
    options |= {option: flags[option] for option in make.flags if option in flags}
    with PLUGINS.others_code(name):
        return make(**options)


def _require_all(metrics: Iterable[Metric], preset: str) -> None:
    missing = [f"{metric.name}: {reason}" for metric in metrics if (reason := metric.observer.missing())]
    if missing:
        raise SlmEvalError(f"--preset {preset} needs all of its metrics; {'; '.join(missing)}")
