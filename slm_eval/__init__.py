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
    from slm_eval.metrics.pjsd import pJSD
    from slm_eval.metrics.plm import PhoneLM
    from slm_eval.observing.quality.audiobox.observer import AudioboxAesthetics
    from slm_eval.observing.quality.dnsmos.observer import DNSMOS
    from slm_eval.observing.quality.nisqa.observer import NISQA
    from slm_eval.run.evaluate import RunOptions, evaluate
    from slm_eval.run.evaluation import Evaluation
    from slm_eval.speech.corpus import load_corpus

_WHERE = {
    "DNSMOS": "slm_eval.observing.quality.dnsmos.observer",
    "NISQA": "slm_eval.observing.quality.nisqa.observer",
    "AudioboxAesthetics": "slm_eval.observing.quality.audiobox.observer",
    "Evaluation": "slm_eval.run.evaluation",
    "PhoneLM": "slm_eval.metrics.plm",
    "RunOptions": "slm_eval.run.evaluate",
    "SlmEvalError": "slm_eval.base.errors",
    "evaluate": "slm_eval.run.evaluate",
    "load_corpus": "slm_eval.speech.corpus",
    "pJSD": "slm_eval.metrics.pjsd",
}

__all__ = [
    "DNSMOS",
    "NISQA",
    "AudioboxAesthetics",
    "Evaluation",
    "PhoneLM",
    "RunOptions",
    "SlmEvalError",
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
