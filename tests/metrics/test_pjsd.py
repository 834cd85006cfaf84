"""pJSD as a metric of a run."""

from __future__ import annotations

import inspect

from slm_eval.metrics.pjsd import pJSD


def test_every_argument_of_pjsd_is_about_hearing_or_among_its_options() -> None:
    about_hearing = {"recognizer", "real", "lang", "device"}
    assert set(pJSD(n=2, recognizer="pocketsphinx").options) == set(inspect.signature(pJSD).parameters) - about_hearing
