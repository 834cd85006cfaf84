"""A run of phones for the tests."""

from __future__ import annotations

from typing import Any

from slm_eval.run.finished import FinishedRun


def made(generated: list[list[str]], real: list[list[str]], **more: Any) -> FinishedRun:
    """Return a run of phones, a second of audio for every ten."""
    clips = {
        side: [
            {
                "id": str(number),
                "side": side,
                "seconds": len(phones) / 10,
                "status": "ok",
                "scores": {},
                "phones": phones,
                **more,
            }
            for number, phones in enumerate(spoken)
        ]
        for side, spoken in (("generated", generated), ("real", real))
    }
    return FinishedRun("made", {"metrics": {}}, clips)
