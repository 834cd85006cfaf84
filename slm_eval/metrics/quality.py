"""Predicted opinion scores: one class a family, whose observers are in ``observing/quality/``.

A new predictor is an observer there, a class here, and a line in ``registry.py``.
"""

from __future__ import annotations

from pathlib import Path

from slm_eval.metrics.scores import ScoreMetric
from slm_eval.observing.quality.audiobox import observer as audiobox
from slm_eval.observing.quality.dnsmos import observer as dnsmos
from slm_eval.observing.quality.nisqa import observer as nisqa


class DNSMOS(ScoreMetric):
    """Predicted opinion scores on a scale of 1 to 5: P.808 overall, and P.835 signal, background and overall.

    Args:
        windows: "reference" scores the windows that the official code scores; "all" scores every one.
        personalized: use the personalised P.835 network, which also punishes a second talker.
        device: where the networks run when ``update`` is called: "auto", "cpu", "cuda:0".

    Raises:
        UsageError: an unknown value of ``windows``.

    >>> DNSMOS().keys
    ('dnsmos.p808', 'dnsmos.sig', 'dnsmos.bak', 'dnsmos.ovrl')
    """

    name = "dnsmos"
    keys = dnsmos.KEYS
    scale = (1.0, 5.0)

    def __init__(self, windows: str = "reference", personalized: bool = False, device: str = "auto") -> None:
        super().__init__(dnsmos.DNSMOSObserver(windows, personalized), device=device)


class NISQA(ScoreMetric):
    """Predicted opinion scores on a scale of 1 to 5: overall, noisiness, discontinuity, coloration, loudness.

    Args:
        long: "chunks" scores clips of 52.14 s and more in equal parts; "refuse" refuses them as ``too_long``.
        device: where the network runs when ``update`` is called: "auto", "cpu", "cuda:0".

    Raises:
        UsageError: an unknown value of ``long``.

    >>> NISQA().keys
    ('nisqa.mos', 'nisqa.noi', 'nisqa.dis', 'nisqa.col', 'nisqa.loud')
    """

    name = "nisqa"
    keys = nisqa.KEYS
    scale = (1.0, 5.0)

    def __init__(self, long: str = "chunks", device: str = "auto") -> None:
        super().__init__(nisqa.NISQAObserver(long), device=device)


class NISQATTS(ScoreMetric):
    """Predicted naturalness of synthetic speech, on a scale of 1 to 5.

    Args:
        long: "chunks" scores clips of 60.14 s and more in equal parts; "refuse" refuses them as ``too_long``.
        device: where the network runs when ``update`` is called: "auto", "cpu", "cuda:0".

    Raises:
        UsageError: an unknown value of ``long``.

    >>> NISQATTS().keys
    ('nisqa_tts.mos',)
    """

    name = "nisqa_tts"
    keys = nisqa.TTS_KEYS
    scale = (1.0, 5.0)

    def __init__(self, long: str = "chunks", device: str = "auto") -> None:
        super().__init__(nisqa.NISQATTSObserver(long), device=device)


class AudioboxAesthetics(ScoreMetric):
    """Predicted ratings of content enjoyment and usefulness, production complexity and quality, each from 1 to 10.

    Args:
        checkpoint: a file, a folder or a Hugging Face repository id; None is the published one.
        precision: "float32", or "bf16": operands of matrix products rounded to bfloat16, for GPUs.
        device: where the network runs when ``update`` is called: "auto", "cpu", "cuda:0".

    Raises:
        UsageError: an unknown precision.

    >>> AudioboxAesthetics().keys
    ('audiobox.CE', 'audiobox.CU', 'audiobox.PC', 'audiobox.PQ')
    """

    name = "audiobox"
    keys = audiobox.KEYS
    unit = "score 1-10"
    scale = (1.0, 10.0)

    def __init__(self, checkpoint: str | Path | None = None, precision: str = "float32", device: str = "auto") -> None:
        super().__init__(audiobox.AudioboxObserver(checkpoint, precision), device=device)
