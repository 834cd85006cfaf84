"""Write a run: clips.jsonl, then summary.json."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from slm_eval.base.files import dump, write_whole
from slm_eval.run.evaluation import Evaluation
from slm_eval.run.identity import base


def write_run(evaluation: Evaluation, folder: Path, asked: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Write clips.jsonl, then summary.json: a folder with a summary is a finished run.

    The summary holds the digest of clips.jsonl. Where this is killed between the two, over an earlier run, that run's
    summary does not fit the new clips, and reading them says so.

    Args:
        evaluation: what was found out.
        folder: made where needed.
        asked: what identifies the run, of ``identity.describe``.

    Returns:
        The object of summary.json.

    Raises:
        SlmEvalError: the folder cannot be written; files of an earlier run stay as they were.
    """
    digest = hashlib.sha256()

    def lines() -> Iterator[str]:
        for side in evaluation.clips.values():
            for clip in side:
                line = dump(clip.to_dict()) + "\n"
                digest.update(line.encode())
                yield line

    write_whole(folder / "clips.jsonl", lines())
    paths = [corpus.path for corpus in evaluation.corpora.values()]
    run = {"clips_sha256": digest.hexdigest()} | base(folder, paths) | dict(asked or {})
    summary = evaluation.to_dict()
    summary["environment"] = summary["environment"] | {"run": run}
    write_whole(folder / "summary.json", [dump(summary, indent=2), "\n"])
    return summary
