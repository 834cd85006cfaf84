"""Ready-made phones are summarised as they are, and leave the metric that was asked for as it was."""

from __future__ import annotations

import json
from pathlib import Path

from slm_eval import evaluate, pJSD
from tests.fakes import SpellingObserver


def test_an_evaluation_of_ready_made_phones_leaves_its_metric_alone(tmp_path: Path) -> None:
    for side in ("generated", "real"):
        lines = ({"id": f"{at}", "phones": ["a", "b"], "recognizer": "theirs|rev:1"} for at in range(2))
        (tmp_path / f"{side}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    recognizer = SpellingObserver()
    metric = pJSD(n=1, recognizer=recognizer)
    found = evaluate(tmp_path / "generated.jsonl", tmp_path / "real.jsonl", [metric])
    assert "phones:theirs" in found["pjsd.1"].signature
    assert metric.observer is recognizer
    metric.update([[0.1, -0.1] * 4000] * 2, 8_000)  # it still hears
    assert metric.state_dict()["fingerprint"] == "spelling"
