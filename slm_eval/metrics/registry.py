"""Names of metrics, and where their classes are. A new metric is a line here, and a class in this room."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.plugins import Plugins
from slm_eval.base.terminal import notice
from slm_eval.metrics.metric import Metric

METRICS = {
    "pjsd": "slm_eval.metrics.pjsd:pJSD",
    "plm": "slm_eval.metrics.plm:PhoneLM",
    "dnsmos": "slm_eval.metrics.quality:DNSMOS",
    "nisqa": "slm_eval.metrics.quality:NISQA",
    "nisqa_tts": "slm_eval.metrics.quality:NISQATTS",
    "audiobox": "slm_eval.metrics.quality:AudioboxAesthetics",
}
PLUGINS = Plugins("metric", "slm_eval.metrics", METRICS)


def metric_class(name: str) -> type[Metric]:
    """Return the class of a metric.

    Raises:
        UsageError: no such metric; the message names near ones.
    """
    return PLUGINS.load(name, Metric)


def make_metric(metric: str | Metric) -> Metric:
    """Make a metric with its default options, by name; return a metric as it is."""
    if isinstance(metric, Metric):
        return metric
    make: Callable[..., Metric] = metric_class(metric)
    with PLUGINS.others_code(metric):
        return make()


def make_again(name: str, options: Mapping[str, Any]) -> Metric:
    """Make the metric of a finished run or a shard, from its name and its ``options``.

    Raises:
        UsageError: no metric of that name is installed here.
        SlmEvalError: another package's metric cannot be made so; the message names it.
    """
    if name not in PLUGINS.table:  # nobody typed it, so there are no near names to offer
        raise UsageError(f"the metric {name!r} is of a package that is not installed here; install that package")
    make = metric_class(name)
    with PLUGINS.others_code(name):
        return make(**options)


def every_metric(make: Callable[[str], Metric] = make_metric) -> list[Metric]:
    """Make all metrics there are. One of another package that cannot be made is left out, and a line says why."""
    made = []
    for name in PLUGINS.table:
        try:
            made.append(make(name))
        except SlmEvalError as error:
            if name in METRICS:
                raise
            notice(f"left out: {error}")
    return made
