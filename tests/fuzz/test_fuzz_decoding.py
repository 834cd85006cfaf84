"""Half a minute of damaged audio files, always the same ones. ``SLM_EVAL_FUZZ=50`` decodes 100,000 of them.

``python tests/fuzz/decoding.py`` does the same from the command line, and prints a table of formats by outcomes.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from slm_eval.speech.audio import REASONS
from tests.fuzz import decoding

TIMES = int(os.environ.get("SLM_EVAL_FUZZ", "1"))
SEED, FILES = 12, 2_000 * TIMES
SECONDS = 30.0 if TIMES == 1 else float("inf")


def test_every_damaged_file_ends_as_audio_or_as_a_reason() -> None:
    told = list(decoding.fuzz(SEED, range(FILES), SECONDS))
    assert told
    outcomes = Counter(each["outcome"] for each in told)
    assert set(outcomes) <= {"ok", *REASONS}, [each for each in told if each["outcome"] not in {"ok", *REASONS}]
    assert max(each["megabytes"] for each in told) < decoding.MEGABYTES
    assert outcomes["ok"]
    assert outcomes["decode_error"]


def test_a_process_that_ends_or_hangs_is_known_by_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    # Else the test above could not fail by a crash.
    monkeypatch.setattr(decoding, "SECONDS", 1.0)
    program = 'import os, sys, time; print(\'{"number": 7, "format": "x"}\', flush=True); '
    for what, outcome in (("os.abort()", "DEATH"), ("time.sleep(60)", "HANG")):
        monkeypatch.setattr(decoding, "_command", lambda *_, what=what: [decoding.sys.executable, "-c", program + what])
        (told,) = decoding._one_process(0, range(1))
        assert told["number"] == 7
        assert told["outcome"].startswith(outcome)
