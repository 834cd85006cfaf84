"""Finished runs of scores and phones that a test writes down."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slm_eval.run.finished import FinishedRun
from tests.compare.chains import markov, rng

REAL = markov(rng(100), 60)


def make_run(
    name: str,
    scores: dict[str, float | None] | None = None,
    phones: dict[str, Sequence[Any]] | None = None,
    real: Sequence[Sequence[Any]] = REAL,
    labels: dict[str, str] | None = None,
    unit: str = "nats",
    **signature: str,
) -> FinishedRun:
    """A run with one score, one order of pJSD, or both."""
    ids = sorted({**(scores or {}), **(phones or {})})
    clips = [
        {
            "id": clip_id,
            "side": "generated",
            "status": "ok",
            "scores": {} if (scores or {}).get(clip_id) is None else {"mos.x": scores[clip_id]},  # type: ignore[index]
            "phones": None if phones is None or clip_id not in phones else [str(phone) for phone in phones[clip_id]],
            **({} if labels is None else {"speaker": labels[clip_id]}),
        }
        for clip_id in ids
    ]
    against = [
        {"id": f"r{index}", "side": "real", "status": "ok", "scores": {}, "phones": [str(phone) for phone in clip_id]}
        for index, clip_id in enumerate(real)
    ]
    extra = "".join(f"|{key}:{value}" for key, value in signature.items())
    metrics: dict[str, Any] = {}
    if scores is not None:
        metrics["mos.x"] = {
            "value": 0.0, "ci95": None, "sd": 1.0, "n": len(ids), "real": None, "unit": "MOS", "higher_is_better": True,
            "signature": f"mos|rev:1{extra}",
        }  # fmt: skip
    if phones is not None:
        metrics["pjsd.2"] = {
            "value": 0.0, "ci95": None, "unit": unit, "higher_is_better": False, "p": None, "floor": None,
            "floor_sd": None, "excess": None, "corrected": None, "coverage": 1.0,
            "n_ngrams": {"generated": 1, "real": 1}, "signature": f"pjsd|n:2|real:abc{extra}",
        }  # fmt: skip
    corpora = {
        side: {"path": path, "n_total": size, "n_scored": size, "n_failed": 0}
        for side, path, size in (("generated", name, len(ids)), ("real", "real", len(real)))
    }
    summary = {"schema": 1, "version": "made", "corpora": corpora, "metrics": metrics}
    return FinishedRun(name, summary, {"generated": clips, "real": against})


def numbered(values: Sequence[Any]) -> dict[str, Any]:
    return {f"{index:03d}": value for index, value in enumerate(values)}


def write(run: FinishedRun, folder: Path) -> Path:
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps(run.summary))
    lines = [json.dumps(clip) for side in run.clips.values() for clip in side]
    (folder / "clips.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def against_other_speech(spoken: dict[str, Any]) -> FinishedRun:
    run = make_run("a", phones=spoken)
    run.metrics["pjsd.2"]["signature"] = "pjsd|n:2|real:xyz"
    return run
