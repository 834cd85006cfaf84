"""slm-eval: how well does a spoken language model speak?

    from slm_eval import pJSD, DNSMOS, evaluate
    evaluate("generated/", "real/", metrics=[pJSD(n=(1, 5)), DNSMOS()]).to_pandas()

Names are loaded when they are first used: importing the package loads neither torch nor numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from slm_eval._version import __version__

if TYPE_CHECKING:
    from slm_eval.base.errors import SlmEvalError
    from slm_eval.base.signature import Signature
    from slm_eval.metrics.metric import Metric, NotComputed, Summary
    from slm_eval.metrics.pjsd import pJSD
    from slm_eval.metrics.plm import PhoneLM
    from slm_eval.metrics.quality import DNSMOS, NISQA, NISQATTS, AudioboxAesthetics
    from slm_eval.metrics.scores import ScoreMetric
    from slm_eval.observing.observer import Observer, Refusal, Signal
    from slm_eval.observing.options import RunOptions
    from slm_eval.run.evaluate import evaluate
    from slm_eval.run.evaluation import Evaluation
    from slm_eval.speech.corpus import load_corpus

_WHERE = {
    "DNSMOS": "slm_eval.metrics.quality",
    "NISQA": "slm_eval.metrics.quality",
    "NISQATTS": "slm_eval.metrics.quality",
    "AudioboxAesthetics": "slm_eval.metrics.quality",
    "Evaluation": "slm_eval.run.evaluation",
    "Metric": "slm_eval.metrics.metric",
    "NotComputed": "slm_eval.metrics.metric",
    "Observer": "slm_eval.observing.observer",
    "PhoneLM": "slm_eval.metrics.plm",
    "Refusal": "slm_eval.observing.observer",
    "RunOptions": "slm_eval.observing.options",
    "ScoreMetric": "slm_eval.metrics.scores",
    "Signal": "slm_eval.observing.observer",
    "Signature": "slm_eval.base.signature",
    "SlmEvalError": "slm_eval.base.errors",
    "Summary": "slm_eval.metrics.metric",
    "evaluate": "slm_eval.run.evaluate",
    "load_corpus": "slm_eval.speech.corpus",
    "pJSD": "slm_eval.metrics.pjsd",
}

__all__ = [
    "DNSMOS",
    "NISQA",
    "NISQATTS",
    "AudioboxAesthetics",
    "Evaluation",
    "Metric",
    "NotComputed",
    "Observer",
    "PhoneLM",
    "Refusal",
    "RunOptions",
    "ScoreMetric",
    "Signal",
    "Signature",
    "SlmEvalError",
    "Summary",
    "__version__",
    "evaluate",
    "load_corpus",
    "pJSD",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'slm_eval' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
