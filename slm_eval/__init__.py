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
    from slm_eval.corpus import load_corpus
    from slm_eval.errors import SlmEvalError
    from slm_eval.evaluation import Evaluation
    from slm_eval.metrics.audiobox import AudioboxAesthetics
    from slm_eval.metrics.dnsmos import DNSMOS
    from slm_eval.metrics.nisqa import NISQA
    from slm_eval.metrics.pjsd import pJSD
    from slm_eval.metrics.plm import PhoneLM
    from slm_eval.runner import RunOptions, evaluate

_WHERE = {
    "DNSMOS": "slm_eval.metrics.dnsmos",
    "NISQA": "slm_eval.metrics.nisqa",
    "AudioboxAesthetics": "slm_eval.metrics.audiobox",
    "Evaluation": "slm_eval.evaluation",
    "PhoneLM": "slm_eval.metrics.plm",
    "RunOptions": "slm_eval.runner",
    "SlmEvalError": "slm_eval.errors",
    "evaluate": "slm_eval.runner",
    "load_corpus": "slm_eval.corpus",
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
